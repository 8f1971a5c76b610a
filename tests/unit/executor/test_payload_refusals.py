"""What cannot be sent is refused with the type and the path."""

from __future__ import annotations

from datetime import datetime

import pytest

from executor import PAYLOAD_BYTES_MAX, PayloadError, decode_arguments, encode_arguments, encode_value

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, {2}]}, r"value\['a'\]\[1\]: a builtins.set"),
        (2**64, "more than 64 bits"),
        ([datetime(2026, 1, 1)], r"value\[0\]: the datetime has no time zone"),
        ({(1, 2): 3}, "a dict key is a tuple"),
        ("\ud800", "not valid Unicode"),
        (b"x" * (PAYLOAD_BYTES_MAX + 1), "the limit is 900000"),
    ],
)
def test_refused_with_path_and_type(value: object, text: str) -> None:
    with pytest.raises(PayloadError, match=text):
        encode_value(value)


def test_a_value_that_contains_itself_is_refused() -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(PayloadError, match="contains itself"):
        encode_arguments([value], {})


def test_a_value_is_not_taken_for_arguments() -> None:
    with pytest.raises(PayloadError, match="no encoded arguments"):
        decode_arguments(encode_value([1, 2]))
