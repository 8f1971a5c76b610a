"""Whatever the payload takes comes back equal, and no bytes make it raise anything but PayloadError."""

from __future__ import annotations

import contextlib
from datetime import timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor import PayloadError, decode_arguments, decode_value, encode_arguments, encode_value

pytestmark = pytest.mark.unit

ZONES = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.datetimes(timezones=ZONES)
    | st.decimals(allow_nan=False)
    | st.uuids()
)
KEYS = st.text(max_size=8) | st.integers(-(2**63), 2**64 - 1)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4)
)


@given(VALUES)
def test_a_value_comes_back_equal(value: object) -> None:
    assert decode_value(encode_value(value)) == value


@given(st.lists(VALUES, max_size=3), st.dictionaries(st.text(max_size=8), VALUES, max_size=3))
def test_arguments_come_back_equal(args: list[object], kwargs: dict[str, object]) -> None:
    assert decode_arguments(encode_arguments(args, kwargs)) == (args, kwargs)


@given(st.binary(max_size=60))
def test_any_bytes_decode_or_raise_payload_error(data: bytes) -> None:
    with contextlib.suppress(PayloadError):
        decode_arguments(data)
