"""What stands in Kafka is read back as it was written, and foreign bytes get a reason."""

import pytest

from cluster.envelope import (
    KEY_MAX,
    KIND_CHARACTERS_MAX,
    RECORD_BYTES_MAX,
    RETRY_OF,
    VERSION,
    VERSION_WITHOUT_OPTIONS,
    Columns,
    Envelope,
    decode_columns,
    decode_envelope,
    decode_key,
    decode_keys,
    encode_envelope,
    encode_key,
)
from cluster.errors import RecordError

pytestmark = pytest.mark.unit


def test_an_envelope_is_read_back_as_it_was_written() -> None:
    envelope = Envelope(handler="send", kind="big", arguments=b"\x92\x90\x80", after=3, submitted_ms=17)
    assert decode_envelope(encode_envelope(envelope)) == envelope


def test_a_key_is_eight_bytes_in_the_order_of_numbers() -> None:
    assert decode_key(encode_key(5)) == 5
    assert encode_key(255) < encode_key(256)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"QT",
        b"hello world",
        b"QT\x01\xc1",
        b"QT\x01\x93\x01\x02\x03",
        b"QT\x02\x94\xa1h\xc4\x00\x00\x00",
        b"QT\x03\x95\xa1h\xa1k\xc4\x01a\x00\x00",  # of the third version, without its options
        b"QT\x03\x96\xa1h\xa1k\xc4\x01a\x00\x00\x90",
    ],
)
def test_a_record_that_is_no_envelope_gets_a_reason(value: bytes | None) -> None:
    with pytest.raises(RecordError):
        decode_envelope(value)


def test_a_newer_version_is_refused_by_name() -> None:
    with pytest.raises(RecordError, match="version 9"):
        decode_envelope(b"QT\x09\x90")


def test_a_record_of_the_first_version_is_still_read() -> None:
    """As it was written before there were kinds: [handler, arguments, after, submitted_ms]."""
    value = b"QT\x01\x94\xa4send\xc4\x03\x92\x90\x80\x03\x11"
    assert decode_envelope(value) == Envelope(
        handler="send", arguments=b"\x92\x90\x80", after=3, submitted_ms=17
    )


def test_options_are_read_back_also_those_that_this_node_does_not_know() -> None:
    envelope = Envelope(
        handler="send",
        kind="big",
        arguments=b"a",
        after=1,
        submitted_ms=17,
        options={RETRY_OF: 5, "later": [1]},
    )
    assert decode_envelope(encode_envelope(envelope)) == envelope


def test_a_record_without_options_is_written_as_nodes_before_could_read_it() -> None:
    assert encode_envelope(Envelope(handler="h", arguments=b"a"))[2] == VERSION_WITHOUT_OPTIONS
    assert encode_envelope(Envelope(handler="h", arguments=b"a", options={RETRY_OF: 1}))[2] == VERSION


def test_among_many_one_with_options_has_them_read_one_by_one() -> None:
    plain = encode_envelope(Envelope(handler="h", arguments=b"a"))
    assert (
        decode_columns([plain, encode_envelope(Envelope(handler="h", arguments=b"a", options={"x": 1}))])
        is None
    )


def test_a_kind_is_a_name_and_no_data() -> None:
    with pytest.raises(RecordError, match=str(KIND_CHARACTERS_MAX)):
        encode_envelope(Envelope(handler="h", kind="k" * (KIND_CHARACTERS_MAX + 1), arguments=b""))


def test_many_envelopes_are_read_at_once_as_one_by_one() -> None:
    envelopes = [Envelope(handler=f"h{n}", kind="k", arguments=b"a", submitted_ms=n) for n in range(3)]
    assert decode_columns([encode_envelope(one) for one in envelopes]) == Columns(
        ("h0", "h1", "h2"), ("k", "k", "k"), (b"a", b"a", b"a"), (0, 1, 2)
    )


@pytest.mark.parametrize(
    "odd",
    [
        None,
        b"",
        b"QT\x01\x94\xa4send\xc4\x03\x92\x90\x80\x03\x11",
        b"QT\x02\x95\xa1h\xa1k\xa1a\x00\x00",
        b"QT\x02\x95\xa1h\xa1k\xc4",
        b"QT\x02\x95\xa1h\xa1k\xc4\x00\x00\x00\x00",
        b"QT\x02\xc0",
        b"QT\x03\x95\xa1h\xa1k\xc4\x01a\x00\x00",  # of a later version, though it looks the same
    ],
)
def test_among_many_one_that_is_not_plain_has_them_read_one_by_one(odd: bytes | None) -> None:
    good = encode_envelope(Envelope(handler="h", arguments=b"a"))
    assert decode_columns([good, odd, good]) is None


def test_many_keys_are_read_at_once_or_one_by_one() -> None:
    assert decode_keys([encode_key(1), encode_key(KEY_MAX)]) == (1, KEY_MAX)
    for odd in (None, b"short", bytes(8), b"\xff" * 8, bytes(7) + b"\x01\x00"):
        assert decode_keys([encode_key(1), odd]) is None
    assert decode_keys([bytes(7), b"\x01" * 9]) is None  # 16 bytes, but no two keys


@pytest.mark.parametrize("key", [None, b"short", bytes(8), b"\xff" * 8])
def test_a_foreign_record_key_gets_a_reason(key: bytes | None) -> None:
    with pytest.raises(RecordError):
        decode_key(key)


def test_a_task_over_the_size_limit_is_refused_with_both_numbers() -> None:
    with pytest.raises(RecordError, match=str(RECORD_BYTES_MAX)):
        encode_envelope(Envelope(handler="big", arguments=bytes(RECORD_BYTES_MAX)))
