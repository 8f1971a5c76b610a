"""Frames, cut anywhere, arrive as they were sent; bytes that are no frames are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.errors import FrameError
from executor.runners.frames import FRAME_BYTES_MAX, FrameReader, encode_frame

pytestmark = pytest.mark.unit

values = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.binary(max_size=300), st.text(max_size=20)
)
messages = st.lists(
    st.builds(lambda kind, rest: [kind, *rest], st.text(max_size=8), st.lists(values, max_size=5)), max_size=8
)


@given(messages, st.data())
def test_messages_come_out_as_they_went_in_wherever_the_stream_is_cut(
    sent: list[list[object]], data: st.DataObject
) -> None:
    stream = b"".join(encode_frame(message) for message in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    reader = FrameReader()
    received: list[list[object]] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        received += reader.feed(stream[start:end])
    assert received == sent


@given(messages)
def test_byte_by_byte_nothing_comes_early_and_nothing_late(sent: list[list[object]]) -> None:
    reader = FrameReader()
    for message in sent:
        frame = encode_frame(message)
        for at in range(len(frame) - 1):
            assert reader.feed(frame[at : at + 1]) == []
        assert reader.feed(frame[-1:]) == [message]


@pytest.mark.parametrize(
    "stream",
    [
        (FRAME_BYTES_MAX + 1).to_bytes(4, "big"),
        b"\x00\x00\x00\x01\xc1",  # a byte that msgpack never uses
        b"\x00\x00\x00\x01\x90",  # an empty list
        b"\x00\x00\x00\x02\x91\x01",  # a list that starts with a number
        b"\x00\x00\x00\x00",
    ],
)
def test_bytes_that_are_no_frames_are_refused_also_when_they_come_in_pieces(stream: bytes) -> None:
    with pytest.raises(FrameError):
        FrameReader().feed(stream)
    reader = FrameReader()
    with pytest.raises(FrameError):
        [reader.feed(stream[at : at + 1]) for at in range(len(stream))]


def test_a_frame_above_the_limit_is_not_sent() -> None:
    with pytest.raises(FrameError, match="exceeds the limit"):
        encode_frame(["run", bytes(FRAME_BYTES_MAX)])
