"""Frames: what was sent arrives, however it is cut; whatever else comes is a `FrameError` with a sentence."""

from __future__ import annotations

import random
import struct
import tracemalloc
from typing import Any, Literal

import msgpack
import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from consensus.transport.frames import (
    FRAME_BYTES_MAX,
    HANDSHAKE_BYTES_MAX,
    FrameError,
    FrameReader,
    FrameTooLong,
    FrameWriter,
)

pytestmark = pytest.mark.unit

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.binary(max_size=300)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)
MESSAGES = st.dictionaries(st.sampled_from(["term", "entries", "x"]), PLAIN).map(
    lambda fields: {"type": "append_entries", **fields}
)


def frame_of(body: bytes) -> bytes:
    return struct.pack(">II", len(body), crc32c(body)) + body


def read(data: bytes, body_bytes_max: int = FRAME_BYTES_MAX) -> list[dict[str, Any]]:
    reader = FrameReader(body_bytes_max)
    reader.add(data)
    return reader.take()


def outcome(data: bytes) -> list[dict[str, Any]] | Literal["refused"]:
    try:
        return read(data)
    except FrameError as error:
        return "refused" if str(error) else []


@given(st.lists(MESSAGES, max_size=6), st.randoms(use_true_random=False))
def test_messages_arrive_in_order_however_the_stream_is_cut(
    messages: list[dict[str, Any]], rng: random.Random
) -> None:
    writer, reader = FrameWriter(), FrameReader(FRAME_BYTES_MAX)
    stream = b"".join(writer.encode(message) for message in messages)
    received: list[dict[str, Any]] = []
    place = 0
    while place < len(stream):
        size = rng.choice([1, 3, 8, 60, 1000])
        reader.add(stream[place : place + size])
        received += reader.take(rng.choice([None, 1]))
        place += size
    received += reader.take()
    assert received == messages


@given(MESSAGES, st.data())
def test_a_flipped_bit_never_yields_another_message(message: dict[str, Any], data: st.DataObject) -> None:
    frame = bytearray(FrameWriter().encode(message))
    bit = data.draw(st.integers(0, len(frame) * 8 - 1))
    frame[bit // 8] ^= 1 << bit % 8
    assert outcome(bytes(frame)) in ([], "refused")  # none: a greater length, it waits for more


@given(MESSAGES, st.data())
def test_a_truncated_frame_yields_nothing_and_is_no_error(
    message: dict[str, Any], data: st.DataObject
) -> None:
    frame = FrameWriter().encode(message)
    assert read(frame[: data.draw(st.integers(0, len(frame) - 1))]) == []


@given(st.binary(min_size=8, max_size=400))
def test_rubbish_is_a_frame_error_or_waits(rubbish: bytes) -> None:
    assert outcome(rubbish) in ([], "refused")


@given(st.binary(max_size=200))
def test_any_body_with_a_right_checksum_is_a_message_or_a_frame_error(body: bytes) -> None:
    said = outcome(frame_of(body))
    assert said == "refused" or isinstance(said[0]["type"], str)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (msgpack.packb([1, 2]), "map with a type"),
        (msgpack.packb({"kind": "ping"}), "map with a type"),
        (msgpack.packb({"type": 7}), "map with a type"),
        (msgpack.packb({"type": "x", 5: 1}), "int is not allowed"),
        (msgpack.packb({"type": "x"}) + b"\x00", "no msgpack"),
        (b"\xc1", "no msgpack"),
        (b"", "no msgpack"),
        (b"\x81\xa4type\xa1\xff", "no msgpack"),
        (b"\x91" * 4000, "no msgpack"),
        (b"\xdf\xff\xff\xff\xff", "no msgpack"),
        (msgpack.packb({"type": "x", "at": msgpack.Timestamp(1)}), "no msgpack"),
        (msgpack.packb({"type": "x", "at": msgpack.ExtType(4, b"")}), "extension type 4"),
        (msgpack.packb({"type": "x", "at": msgpack.ExtType(4, b"abc")}), "no msgpack"),
        (b"\x80\x04\x95cposix\nsystem\n", "no msgpack"),
    ],
)
def test_a_body_that_is_no_plain_map_is_refused_in_words(body: bytes, said: str) -> None:
    with pytest.raises(FrameError, match=said):
        read(frame_of(body))


@pytest.mark.parametrize("limit", [HANDSHAKE_BYTES_MAX, FRAME_BYTES_MAX])
def test_a_length_above_the_limit_is_refused_before_its_bytes_come(limit: int) -> None:
    head = struct.pack(">II", limit + 1, 0)
    with pytest.raises(FrameTooLong, match=str(limit + 1)):
        read(head, limit)
    assert read(struct.pack(">II", limit, 0), limit) == []


def test_a_list_that_claims_a_million_items_takes_no_memory_for_them() -> None:
    nested = b"\xdd\x00\x0f\xff\xff" * 500  # lists in lists
    tracemalloc.start()
    try:
        with pytest.raises(FrameError):
            read(frame_of(nested))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 100_000


def test_a_message_above_the_limit_is_not_sent() -> None:
    writer = FrameWriter()
    assert read(writer.encode({"type": "x", "data": bytes(FRAME_BYTES_MAX - 30)}))
    with pytest.raises(FrameError, match="'x' takes"):
        writer.encode({"type": "x", "data": bytes(FRAME_BYTES_MAX)})


@pytest.mark.parametrize("foreign", [object(), 2**64, {1, 2}, msgpack.FormatError()])
def test_what_is_no_plain_data_is_not_sent_and_leaves_the_writer_as_it_was(foreign: object) -> None:
    writer = FrameWriter()
    with pytest.raises(FrameError, match="no plain data"):
        writer.encode({"type": "x", "before": b"half", "data": foreign})
    assert read(writer.encode({"type": "y"})) == [{"type": "y"}]


def test_frames_behind_the_first_wait_until_the_limit_is_raised() -> None:
    writer, reader = FrameWriter(), FrameReader()
    reader.add(writer.encode({"type": "confirm"}) + writer.encode({"type": "x", "data": bytes(50_000)}))
    assert reader.take(1) == [{"type": "confirm"}]
    reader.body_bytes_max = FRAME_BYTES_MAX
    assert [message["type"] for message in reader.take()] == ["x"]
