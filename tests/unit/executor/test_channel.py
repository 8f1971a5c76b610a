"""Frames through a socket that never waits: nothing is lost when it is full, when the other end dies, or when a copy of it lives on."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from executor.runners.channel import Channel
from executor.runners.frames import FrameReader, Message, encode_frame

pytestmark = pytest.mark.unit


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    yield channel, theirs
    channel.close()
    theirs.close()


def test_what_a_full_socket_does_not_take_is_kept_and_goes_out_later_in_order(
    ends: tuple[Channel, socket.socket],
) -> None:
    channel, theirs = ends
    sent: list[Message] = [["run", number, bytes(100_000)] for number in range(20)]
    for message in sent:
        channel.put(message)
        channel.flush()
    assert channel.unsent_bytes > 0
    reader, received = FrameReader(), list[Message]()
    while len(received) < len(sent):
        received += reader.feed(theirs.recv(65_536))
        channel.flush()
    assert received == sent
    assert channel.unsent_bytes == 0


def test_all_that_was_written_before_the_end_is_heard(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    written: list[Message] = [["done", [number], bytes(1000)] for number in range(100)]
    theirs.sendall(
        b"".join(encode_frame(message) for message in written) + b"\x00\x00"
    )  # cut off amid a frame
    theirs.close()
    assert channel.receive_all() == written
    assert not channel.is_open


def test_a_copy_of_the_other_end_does_not_keep_who_asks_for_all(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    copy = theirs.dup()
    theirs.sendall(encode_frame(["last"]))
    theirs.close()
    assert channel.receive_all() == [["last"]]
    copy.close()


def test_the_end_shows_itself_once_everything_was_heard(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    assert (channel.receive(), channel.is_open) == ([], True)
    theirs.sendall(encode_frame(["hello"]))
    theirs.close()
    assert (channel.receive(), channel.is_open) == ([["hello"]], True)
    assert (channel.receive(), channel.is_open) == ([], False)


def test_nonsense_closes_it(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    theirs.sendall(b"\xff" * 100)
    assert (channel.receive(), channel.is_open) == ([], False)


def test_what_cannot_be_sent_any_more_is_dropped(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    theirs.close()
    channel.put(["run"])
    channel.flush()
    assert channel.unsent_bytes == 0
