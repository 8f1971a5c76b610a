"""The network of the tests does what its rules say, by direction, and tells apart who dials."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from consensus.transport.frames import FrameWriter
from consensus.transport.handshake import Hello, Identity, encode_word
from tests.chaos.addresses import free_addresses
from tests.chaos.proxy import Proxy, Rule, source_in_hello

pytestmark = pytest.mark.integration

LONG_S = 10.0
A_MOMENT_S = 0.15  # only ever waited for what must NOT come


def hello(node: str, to: str) -> bytes:
    word = Hello(own=Identity(cluster="c", node=node), to=to)
    return FrameWriter().encode(encode_word(word))


class Receiver:
    """Bound in a node's place: keeps what each connection brings."""

    def __init__(self, address: str) -> None:
        host, port = address.split(":")
        self.accepted: queue.Queue[socket.socket] = queue.Queue()
        self._door = socket.create_server((host, int(port)))
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                self.accepted.put(self._door.accept()[0])
            except OSError:
                return

    def next(self) -> socket.socket:
        connection = self.accepted.get(timeout=LONG_S)
        connection.settimeout(LONG_S)
        return connection

    def close(self) -> None:
        if self._door.fileno() < 0:
            return
        self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        self._thread.join(LONG_S)
        while not self.accepted.empty():
            self.accepted.get().close()


class World:
    def __init__(self) -> None:
        self.a, self.b, bind_a, bind_b = free_addresses(4)
        self.receivers = {self.a: Receiver(bind_a), self.b: Receiver(bind_b)}
        self.proxy = Proxy({self.a: bind_a, self.b: bind_b})
        self.proxy.start()
        self._sockets: list[socket.socket] = []

    def dial(self, sender: str, receiver: str) -> socket.socket:
        host, port = receiver.split(":")
        connection = socket.create_connection((host, int(port)), LONG_S)
        self._sockets.append(connection)
        connection.sendall(hello(sender, receiver))
        return connection

    def connect(self, sender: str, receiver: str) -> tuple[socket.socket, socket.socket]:
        """Both ends of a connection whose hello has arrived."""
        near = self.dial(sender, receiver)
        far = self.receivers[receiver].next()
        self._sockets.append(far)
        expect(far, hello(sender, receiver))
        return near, far

    def close(self) -> None:
        self.proxy.stop()
        for each in self._sockets:
            each.close()
        for receiver in self.receivers.values():
            receiver.close()


def expect(connection: socket.socket, data: bytes) -> None:
    got = b""
    while len(got) < len(data):
        more = connection.recv(len(data) - len(got))
        assert more, f"hung up after {got!r}"
        got += more
    assert got == data


def expect_silence(connection: socket.socket) -> None:
    connection.settimeout(A_MOMENT_S)
    with pytest.raises(TimeoutError):
        connection.recv(1)
    connection.settimeout(LONG_S)


def send_until_full(connection: socket.socket, most: int = 1 << 30) -> int:
    """How many bytes all buffers on the way took."""
    connection.settimeout(1.0)
    sent = 0
    while sent < most:
        try:
            sent += connection.send(bytes(1 << 16))
        except TimeoutError:
            return sent
    pytest.fail(f"{most} bytes did not fill the buffers")


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    try:
        yield world
    finally:
        world.close()


def test_bytes_pass_both_ways_and_an_end_is_passed_on(world: World) -> None:
    near, far = world.connect(world.a, world.b)
    near.sendall(b"there")
    expect(far, b"there")
    far.sendall(b"back")
    expect(near, b"back")
    near.close()
    assert far.recv(1) == b""


def test_a_one_way_cut_holds_one_direction_and_gives_it_back_after_healing(world: World) -> None:
    near, far = world.connect(world.a, world.b)

    world.proxy.set_rule(world.a, world.b, Rule(cut=True))
    near.sendall(b"lost?")
    far.sendall(b"answer")

    expect(near, b"answer")
    expect_silence(far)
    world.proxy.heal()
    expect(far, b"lost?")


def test_a_rule_follows_the_sender_not_who_dialled(world: World) -> None:
    near, far = world.connect(world.b, world.a)  # b dialled: what a sends to b are answers here

    world.proxy.set_rule(world.a, world.b, Rule(cut=True))
    far.sendall(b"from a")
    near.sendall(b"from b")

    expect(far, b"from b")
    expect_silence(near)


def test_a_cut_is_a_black_hole_not_a_reset_also_for_an_end(world: World) -> None:
    near, far = world.connect(world.a, world.b)
    world.proxy.cut([world.a], [world.b])
    near.sendall(b"last words")
    near.close()
    expect_silence(far)
    world.proxy.heal()
    expect(far, b"last words")
    assert far.recv(1) == b""


def test_who_dials_into_a_cut_is_heard_after_healing_or_never_if_it_gave_up(world: World) -> None:
    world.proxy.set_rule(world.b, world.a, Rule(cut=True))  # the answer to a dial would be lost
    given_up = world.dial(world.a, world.b)
    given_up.close()
    patient = world.dial(world.a, world.b)
    patient.sendall(b"more")
    with pytest.raises(queue.Empty):
        world.receivers[world.b].accepted.get(timeout=A_MOMENT_S)

    world.proxy.heal()

    far = world.receivers[world.b].next()
    expect(far, hello(world.a, world.b) + b"more")
    with pytest.raises(queue.Empty):
        world.receivers[world.b].accepted.get(timeout=A_MOMENT_S)
    far.close()


def test_a_reset_ends_both_ends_aloud_and_only_this_pair(world: World) -> None:
    near, far = world.connect(world.a, world.b)
    assert world.proxy.reset(world.b, world.a) == 1
    for end in (near, far):
        end.settimeout(LONG_S)
        with pytest.raises(ConnectionResetError):
            end.recv(1)
    assert world.proxy.reset(world.b, world.a) == 0


def test_delay_is_a_lower_bound_and_keeps_the_order(world: World) -> None:
    near, far = world.connect(world.a, world.b)
    world.proxy.set_rule(world.a, world.b, Rule(delay_s=0.1, jitter_s=0.05))
    began = time.monotonic()
    for number in range(20):
        near.sendall(bytes([number]))
    expect(far, bytes(range(20)))
    assert 0.1 <= time.monotonic() - began < 1.0  # each is late, but they do not wait for one another


def test_bandwidth_is_a_bound(world: World) -> None:
    near, far = world.connect(world.a, world.b)
    world.proxy.set_rule(world.a, world.b, Rule(bandwidth_bytes_s=1_000_000))
    began = time.monotonic()
    sending = threading.Thread(target=near.sendall, args=(bytes(300_000),))
    sending.start()
    expect(far, bytes(300_000))
    sending.join()
    assert time.monotonic() - began >= 0.2  # the last chunk is paid for after it has arrived


def test_who_dials_a_dead_node_or_says_no_hello_is_hung_up_on(world: World) -> None:
    world.receivers[world.b].close()
    dead = world.dial(world.a, world.b)
    dead.settimeout(LONG_S)
    with pytest.raises(ConnectionResetError):
        dead.recv(1)
    host, port = world.a.split(":")
    with socket.create_connection((host, int(port)), LONG_S) as stranger:
        stranger.sendall(FrameWriter().encode({"type": "rubbish"}))
        with pytest.raises(ConnectionResetError):
            stranger.recv(1)


def test_a_hello_is_read_from_pieces() -> None:
    data = hello("a:1", "b:2")
    assert [source_in_hello(data[:size]) for size in (0, 7, 8, len(data) - 1)] == [None] * 4
    assert source_in_hello(data + b"more") == "a:1"


def test_a_stopped_reader_fills_bounded_buffers_and_loses_nothing(world: World) -> None:
    near, far = world.connect(world.a, world.b)
    world.proxy.set_rule(world.a, world.b, Rule(cut=True))
    sent = send_until_full(near)
    world.proxy.heal()
    far.settimeout(LONG_S)
    got = 0
    while got < sent:
        got += len(far.recv(1 << 16))
    assert got == sent
