"""What stands in Kafka is read back as it was written, and foreign bytes get a reason."""

import pytest

from cluster.envelope import (
    RECORD_BYTES_MAX,
    Envelope,
    decode_envelope,
    decode_key,
    encode_envelope,
    encode_key,
)
from cluster.errors import RecordError

pytestmark = pytest.mark.unit


def test_an_envelope_is_read_back_as_it_was_written() -> None:
    envelope = Envelope(handler="send", arguments=b"\x92\x90\x80", after=3, submitted_ms=17)
    assert decode_envelope(encode_envelope(envelope)) == envelope


def test_a_key_is_eight_bytes_in_the_order_of_numbers() -> None:
    assert decode_key(encode_key(5)) == 5
    assert encode_key(255) < encode_key(256)


@pytest.mark.parametrize(
    "value", [None, b"", b"QT", b"hello world", b"QT\x01\xc1", b"QT\x01\x93\x01\x02\x03"]
)
def test_a_record_that_is_no_envelope_gets_a_reason(value: bytes | None) -> None:
    with pytest.raises(RecordError):
        decode_envelope(value)


def test_a_newer_version_is_refused_by_name() -> None:
    with pytest.raises(RecordError, match="version 9"):
        decode_envelope(b"QT\x09\x90")


@pytest.mark.parametrize("key", [None, b"short", bytes(8), b"\xff" * 8])
def test_a_foreign_record_key_gets_a_reason(key: bytes | None) -> None:
    with pytest.raises(RecordError):
        decode_key(key)


def test_a_task_over_the_size_limit_is_refused_with_both_numbers() -> None:
    with pytest.raises(RecordError, match=str(RECORD_BYTES_MAX)):
        encode_envelope(Envelope(handler="big", arguments=bytes(RECORD_BYTES_MAX)))
