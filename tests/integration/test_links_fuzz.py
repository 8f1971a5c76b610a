"""Whatever callers say, and whatever answers a call: no exception leaves `receive`, and true peers still get in."""

from __future__ import annotations

import random
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest

from consensus.transport.authority import make_authority, make_node_certificate
from consensus.transport.certificates import TlsFiles
from consensus.transport.dialling import PATIENCE_S, REDIAL_S
from consensus.transport.frames import FrameWriter
from consensus.transport.handshake import (
    Confirm,
    Hello,
    Identity,
    Reason,
    Refusal,
    Welcome,
    Word,
    encode_word,
)
from consensus.transport.links import Connected, SocketLinks
from consensus.transport.reception import HANDSHAKE_S
from tests.integration.raw_peer import CLUSTER, Clock, Loop, RawPeer, free_addresses

pytestmark = pytest.mark.integration
STRANGERS = 250


def something(rng: random.Random, own: str, other: str) -> bytes:
    """Words in any order, frames of anything, cut and flipped; now and then what other servers say."""
    names = [own, other, "127.0.0.1:9", "nowhere"]
    identity = Identity(
        cluster=rng.choice([CLUSTER, CLUSTER, "elsewhere"]),
        node=rng.choice(names),
        protocol_min=rng.choice([0, 1, 1, 1, 7]),
        protocol_max=rng.choice([1, 1, 1, 9]),
        format=rng.choice([0, 1, 2, 2, 2, 3, 60_000]),
    )
    words: list[Word] = [
        Hello(own=identity, to=rng.choice(names)),
        Welcome(own=identity, protocol=rng.choice([0, 1, 1, 2])),
        Confirm(),
        Refusal(reason=rng.choice(list(Reason)), sentence="because\x1b[2J"),
    ]
    writer = FrameWriter()
    parts = []
    for _ in range(rng.choice([1, 1, 2, 3, 8])):
        data = writer.encode(
            rng.choice([encode_word(rng.choice(words)), {"type": "append_entries", "term": 10**9}])
        )
        match rng.randrange(8):
            case 0:
                data = rng.randbytes(rng.choice([1, 7, 8, 9, 400, 70_000]))
            case 1:
                data = data[: rng.randrange(len(data))]
            case 2:
                place = rng.randrange(len(data))
                data = data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
            case 3:
                data = rng.choice(
                    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x03\x00\x02\x02\x28", b"\x16\x03\x01"]
                )
        parts.append(data)
    return b"".join(parts)


@pytest.mark.parametrize("with_tls", [False, True])
def test_no_caller_gets_in_by_chance_or_stops_the_loop(loop: Loop, tmp_path: Path, with_tls: bool) -> None:
    # Given
    rng = random.Random(f"callers {with_tls}")
    own, peer = free_addresses()
    clock = Clock()
    tls = None
    if with_tls:
        make_authority(tmp_path)
        make_node_certificate(tmp_path, own)
        tls = TlsFiles.of_node(tmp_path, own)
    links = loop.add(own, SocketLinks(own, cluster=CLUSTER, tls=tls, clock=clock))
    host, _, port = own.rpartition(":")
    # When
    for _ in range(STRANGERS):
        with socket.create_connection((host, int(port)), 5) as stranger:
            for _ in range(rng.choice([1, 2, 3])):
                with suppress(OSError):  # it may be thrown out already
                    stranger.sendall(something(rng, own, peer))
                loop.turn(0.0)
            loop.turn(0.001)
        if rng.random() < 0.1:
            clock.ahead_s += HANDSHAKE_S
    # Then: plain, some guessed a whole greeting; with TLS nobody can
    assert not with_tls or loop.events[own] == []
    if not with_tls:
        newcomer = RawPeer(loop, own)
        newcomer.join("127.0.0.1:1")
        loop.until(lambda: Connected("127.0.0.1:1") in loop.events[own])
        newcomer.close()
    assert links.receive(0.0) is not None


@pytest.mark.parametrize("with_tls", [False, True])
def test_whatever_answers_a_call_does_not_stop_the_loop(loop: Loop, tmp_path: Path, with_tls: bool) -> None:
    # Given
    rng = random.Random(f"answers {with_tls}")
    own, peer = free_addresses()
    clock = Clock()
    tls = None
    if with_tls:
        make_authority(tmp_path)
        make_node_certificate(tmp_path, own)
        tls = TlsFiles.of_node(tmp_path, own)
    loop.add(own, SocketLinks(own, cluster=CLUSTER, tls=tls, clock=clock)).dial(peer)
    answered = 0
    with socket.create_server(("127.0.0.1", int(peer.rpartition(":")[2]))) as server:
        server.setblocking(False)
        end = time.monotonic() + 60
        # When
        while answered < STRANGERS:
            assert time.monotonic() < end
            clock.ahead_s += rng.choice([REDIAL_S, PATIENCE_S])
            loop.turn(0.001)
            with suppress(BlockingIOError):
                called, _ = server.accept()
                answered += 1
                with called:
                    called.setblocking(True)
                    with suppress(OSError):
                        called.sendall(something(rng, own, peer))
                    loop.turn(0.001)
                loop.turn(0.001)
    # Then
    assert not with_tls or loop.events[own] == []
