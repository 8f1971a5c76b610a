"""Links over real sockets: two nodes find one another, strangers are refused by name and disturb nobody, the dead are found."""

from __future__ import annotations

import itertools
import logging
import os
import queue
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consensus.errors import ConsensusError, PortInUse
from consensus.transport.dialling import PATIENCE_S
from consensus.transport.handshake import Confirm, Hello, Identity, Reason
from consensus.transport.links import IDLE_S, Connected, Disconnected, Received, SocketLinks
from consensus.transport.reception import HANDSHAKE_S, STRANGERS_MAX
from consensus.transport.stream import OUT_BYTES_MAX
from tests.integration.raw_peer import CLUSTER, WITHIN_S, Clock, Loop, RawPeer, free_addresses

pytestmark = pytest.mark.integration


def linked_pair(loop: Loop, clock: Callable[[], float] = time.monotonic) -> tuple[str, str]:
    """Two nodes with a link; the greater one called, it goes by `clock`."""
    lesser, greater = free_addresses()
    loop.add(lesser, SocketLinks(lesser, cluster=CLUSTER))
    loop.add(greater, SocketLinks(greater, cluster=CLUSTER, clock=clock)).dial(lesser)
    loop.until(lambda: loop.events[lesser] and loop.events[greater])
    assert (loop.events[lesser], loop.events[greater]) == ([Connected(greater)], [Connected(lesser)])
    return lesser, greater


def assert_works(loop: Loop, one: str, other: str) -> None:
    """A message each way, over the link that is there."""
    for source, target in ((one, other), (other, one)):
        mark = {"type": "ping", "mark": random.random()}
        assert loop.nodes[source].send(target, mark)
        loop.until(lambda target=target, mark=mark: mark in loop.messages(target))


def test_messages_arrive_whole_and_in_order_both_ways(loop: Loop) -> None:
    # Given
    lesser, greater = linked_pair(loop)
    rng = random.Random(4)
    sent = [
        {"type": "append_entries", "n": n, "data": rng.randbytes(rng.choice([0, 9, 300, 70_000, 1_000_000]))}
        for n in range(60)
    ]
    # When
    for message in sent:
        for source, target in ((lesser, greater), (greater, lesser)):
            while not loop.nodes[source].send(target, message):
                loop.turn(0.0)
    # Then
    loop.until(lambda: len(loop.messages(lesser)) == len(loop.messages(greater)) == 60)
    assert loop.messages(lesser) == loop.messages(greater) == sent


def test_two_nodes_that_call_one_another_at_once_settle_on_one_link(loop: Loop) -> None:
    for seed in range(100):
        # Given: clocks that stand still, so that only the first calls count; the patience of the lesser id has ended
        rng = random.Random(seed)
        nodes = lesser, greater = free_addresses()
        times = {lesser: 0.0, greater: 0.0}
        for node in nodes:
            loop.add(
                node, SocketLinks(node, cluster=CLUSTER, clock=lambda node=node, times=times: times[node])
            )
        loop.nodes[lesser].dial(greater)
        times[lesser] = PATIENCE_S
        greater_calls_at = rng.choice([0, 0, 0, 1, 2, 3, 4, 6])
        # When: in any interleaving
        end = time.monotonic() + WITHIN_S
        turns_after = 0
        for turn in itertools.count():
            if turn == greater_calls_at:
                loop.nodes[greater].dial(lesser)
            node = rng.choice(nodes)
            loop.events[node] += loop.nodes[node].receive(0.0)
            turns_after += bool(loop.events[lesser] and loop.events[greater])
            assert time.monotonic() < end, f"seed {seed}: {loop.events}"
            if turns_after == 30:
                break
        # Then
        assert loop.events.pop(lesser) == [Connected(greater)], seed
        assert loop.events.pop(greater) == [Connected(lesser)], seed
        loop.close()
        loop.nodes.clear()


def test_no_call_begins_while_a_welcome_is_unanswered(loop: Loop) -> None:
    """Else both connections could become the link, each replacing the other."""
    # Given
    lesser, greater = free_addresses()
    loop.add(greater, SocketLinks(greater, cluster=CLUSTER))
    caller = RawPeer(loop, greater)
    caller.say(Hello(own=Identity(cluster=CLUSTER, node=lesser), to=greater))
    assert (caller.hear() or {})["type"] == "welcome"
    with socket.create_server(("127.0.0.1", int(lesser.rpartition(":")[2]))) as called:
        called.setblocking(False)
        # When
        loop.nodes[greater].dial(lesser)
        for _ in range(30):
            loop.turn()
        # Then
        with pytest.raises(BlockingIOError):
            called.accept()
        caller.close()
        loop.until(lambda: _accepts(called))


def _accepts(listener: socket.socket) -> bool:
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def test_a_node_that_nobody_knows_yet_calls_even_with_the_lesser_id(loop: Loop) -> None:
    lesser, greater = free_addresses()
    clock = Clock()
    loop.add(greater, SocketLinks(greater, cluster=CLUSTER))
    loop.add(lesser, SocketLinks(lesser, cluster=CLUSTER, clock=clock)).dial(greater)
    for _ in range(30):
        loop.turn()
    assert loop.events[greater] == []
    clock.ahead_s = PATIENCE_S + 0.1
    loop.until(lambda: loop.events[greater] == [Connected(lesser)])


def test_a_second_link_of_the_same_peer_replaces_the_older_one(loop: Loop) -> None:
    # Given
    own, peer = free_addresses()
    loop.add(own, SocketLinks(own, cluster=CLUSTER))
    first = RawPeer(loop, own)
    first.join(peer)
    loop.until(lambda: loop.events[own] == [Connected(peer)])
    # When
    second = RawPeer(loop, own)
    second.say(Hello(own=Identity(cluster=CLUSTER, node=peer), to=own))
    assert second.hear() is not None
    # Then: until it confirms, the first one serves
    first.send_message({"type": "still"})
    loop.until(lambda: loop.messages(own) == [{"type": "still"}])
    second.say(Confirm())
    second.send_message({"type": "new"})
    loop.until(lambda: {"type": "new"} in loop.messages(own))
    assert loop.events[own][-3:] == [Disconnected(peer), Connected(peer), Received(peer, {"type": "new"})]
    loop.until(first.is_closed)
    second.close()
    first.close()


OTHER = Identity(cluster=CLUSTER, node="127.0.0.1:9")


@pytest.mark.parametrize(
    ("first_bytes", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: somewhere\r\n\r\n", Reason.TOO_LONG),
        (struct.pack(">II", 2**32 - 1, 0), Reason.TOO_LONG),
        (struct.pack(">II", 4097, 0), Reason.TOO_LONG),
        (struct.pack(">II", 3, 7) + b"abc", Reason.RUBBISH),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Reason.TLS_UNEXPECTED),
        (replace(OTHER, cluster="elsewhere"), Reason.ANOTHER_CLUSTER),
        (replace(OTHER, protocol_min=8, protocol_max=9), Reason.PROTOCOL),
        (replace(OTHER, format=99), Reason.FORMAT),
        ("own id", Reason.OWN_ID),
        ("another node", Reason.ANOTHER_NODE),
        ("a confirmation first", Reason.RUBBISH),
        ("a message first", Reason.RUBBISH),
        ("nothing", Reason.SILENT),
        ("half a frame", Reason.SILENT),
    ],
)
def test_a_stranger_is_refused_by_name_told_why_and_disturbs_nobody(
    loop: Loop, caplog: pytest.LogCaptureFixture, first_bytes: Any, reason: Reason
) -> None:
    # Given
    clock = Clock()
    own, peer = free_addresses()
    loop.add(own, SocketLinks(own, cluster=CLUSTER, clock=clock))
    loop.add(peer, SocketLinks(peer, cluster=CLUSTER)).dial(own)
    loop.until(lambda: loop.events[own] and loop.events[peer])
    caplog.set_level(logging.WARNING)
    for _ in range(3):
        # When
        stranger = RawPeer(loop, own)
        match first_bytes:
            case bytes():
                stranger.send(first_bytes)
            case Identity():
                stranger.say(Hello(own=first_bytes, to=own))
            case "own id":
                stranger.say(Hello(own=replace(OTHER, node=own), to=own))
            case "another node":
                stranger.say(Hello(own=OTHER, to="127.0.0.1:1"))
            case "a confirmation first":
                stranger.say(Confirm())
            case "a message first":
                stranger.send_message({"type": "append_entries", "term": 99})
            case "half a frame":
                stranger.send(b"\x00\x00\x00")
        if reason is Reason.SILENT:
            loop.turn(0.02)
            clock.ahead_s += HANDSHAKE_S + 0.1
        # Then
        refusal = stranger.refusal()
        assert refusal.reason is reason
        assert len(refusal.sentence) > 20
        assert stranger.hear() is None
        stranger.close()
        assert_works(loop, own, peer)
    assert [event for event in loop.events[own] if not isinstance(event, Received)] == [Connected(peer)]
    assert [record.args[1] for record in caplog.records if record.args] == [
        reason.value
    ]  # once, not three times


def test_a_caller_of_another_cluster_reads_why_in_its_own_log(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    lesser, greater = free_addresses()
    loop.add(lesser, SocketLinks(lesser, cluster="one"))
    loop.add(greater, SocketLinks(greater, cluster="two")).dial(lesser)
    loop.until(lambda: "refuses this node" in caplog.text)
    assert f"{lesser} refuses this node: node {lesser} belongs to cluster 'one'" in caplog.text
    assert loop.events == {lesser: [], greater: []}


def test_an_address_that_leads_to_another_node_is_named(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    """As through a wrong port mapping: `bind` makes the id and the real address differ."""
    lesser, middle, greater = free_addresses(3)
    loop.add("wrong", SocketLinks(middle, cluster=CLUSTER, bind=lesser))
    loop.add(greater, SocketLinks(greater, cluster=CLUSTER)).dial(lesser)
    loop.until(lambda: "refuses this node" in caplog.text)
    assert f"this is node {middle}, not {lesser}" in caplog.text


def test_rubbish_on_a_link_ends_it_and_it_comes_back(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    own, peer = free_addresses()
    loop.add(own, SocketLinks(own, cluster=CLUSTER))
    for _ in range(2):
        raw = RawPeer(loop, own)
        raw.join(peer)
        raw.send_message({"type": "good"})
        raw.send(struct.pack(">II", 5, 1) + b"wrong")
        assert raw.hear() is None
        raw.close()
    lost = [event for event in loop.events[own] if not isinstance(event, Received)]
    assert lost == [Connected(peer), Disconnected(peer)] * 2
    assert "does not match its checksum" in caplog.text


def test_a_peer_that_dies_and_returns_is_called_again(loop: Loop) -> None:
    lesser, greater = linked_pair(loop)
    for _ in range(3):
        loop.nodes.pop(lesser).close()
        loop.until(lambda: loop.events[greater][-1] == Disconnected(lesser))
        loop.add(lesser, SocketLinks(lesser, cluster=CLUSTER))
        loop.until(lambda: loop.events[greater][-1] == Connected(lesser), within_s=3.0)
        assert_works(loop, lesser, greater)


def test_a_link_is_dead_after_a_while_without_a_byte_and_alive_with_one(loop: Loop) -> None:
    # Given
    clock = Clock()
    own, peer = free_addresses()
    loop.add(own, SocketLinks(own, cluster=CLUSTER, clock=clock))
    raw = RawPeer(loop, own)
    raw.join(peer)
    loop.until(lambda: loop.events[own] == [Connected(peer)])
    # When bytes came, though time jumped while nobody read them (a stopped process)
    raw.send_message({"type": "ping"})
    clock.ahead_s += 3 * IDLE_S
    loop.turn()
    # Then
    loop.until(lambda: loop.messages(own) == [{"type": "ping"}])
    assert Disconnected(peer) not in loop.events[own]
    # When none came
    clock.ahead_s += IDLE_S + 0.1
    # Then
    loop.until(lambda: loop.events[own][-1] == Disconnected(peer))
    assert raw.hear() is None
    raw.close()


def test_a_peer_that_does_not_read_fills_a_bounded_queue_and_loses_nothing_of_it(loop: Loop) -> None:
    # Given
    own, peer = free_addresses()
    links = loop.add(own, SocketLinks(own, cluster=CLUSTER))
    raw = RawPeer(loop, own)
    raw.join(peer)
    loop.until(lambda: loop.events[own] == [Connected(peer)])
    # When
    sent = 0
    while links.send(peer, {"type": "x", "n": sent, "data": bytes(50_000)}):
        sent += 1
        links.receive(0.0)
    # Then
    assert links._links[peer].stream.unsent_bytes <= OUT_BYTES_MAX
    assert not links.send(peer, {"type": "x"} | {"data": bytes(1_000_000)})
    started = time.monotonic()
    links.receive(0.05)  # waits: a full queue must not make the loop spin
    assert time.monotonic() - started > 0.04
    # And when it reads again
    for n in range(sent):
        message = raw.hear()
        assert message is not None
        assert message["n"] == n
    assert links.send(peer, {"type": "again"})
    assert raw.hear() == {"type": "again"}
    raw.close()


def test_a_flood_of_silent_strangers_stays_bounded_and_disturbs_no_link(loop: Loop) -> None:
    # Given: a slow clock, so that no deadline helps
    lesser, greater = free_addresses()
    loop.add(lesser, SocketLinks(lesser, cluster=CLUSTER, clock=lambda: time.monotonic() / 20))
    loop.add(greater, SocketLinks(greater, cluster=CLUSTER)).dial(lesser)
    loop.until(lambda: loop.events[lesser] and loop.events[greater])
    host, _, port = lesser.rpartition(":")
    strangers: list[socket.socket] = []
    # When
    for _ in range(5 * STRANGERS_MAX):
        stranger = socket.create_connection((host, int(port)), 5)
        stranger.setblocking(False)
        stranger.send(os.urandom(3))
        strangers.append(stranger)
        loop.turn(0.0)
    # Then
    assert_works(loop, lesser, greater)

    def still_open() -> int:
        count = 0
        for stranger in strangers:
            try:
                count += stranger.recv(1) != b""
            except BlockingIOError:
                count += 1
            except OSError:
                continue
        return count

    loop.until(lambda: still_open() <= STRANGERS_MAX)
    assert [e for events in loop.events.values() for e in events if isinstance(e, Disconnected)] == []
    # And a true peer still gets in among them
    newcomer = RawPeer(loop, lesser)
    newcomer.join("127.0.0.1:1")
    loop.until(lambda: Connected("127.0.0.1:1") in loop.events[lesser])
    for sock in [*strangers, newcomer]:
        sock.close()


def test_a_wake_from_another_thread_ends_the_wait_also_when_it_came_before(loop: Loop) -> None:
    (own,) = free_addresses(1)
    links = loop.add(own, SocketLinks(own, cluster=CLUSTER))
    links.wake()
    links.wake()
    started = time.monotonic()
    assert links.receive(30.0) == []
    waker = threading.Timer(0.05, links.wake)
    waker.start()
    assert links.receive(30.0) == []
    waker.join()
    assert time.monotonic() - started < 5
    assert links.receive(0.0) == []


def test_no_wake_is_lost_however_many_threads_call(loop: Loop) -> None:
    """Each waits until the loop has seen what it left there; a lost wake would let it wait for the loop's own time."""
    # Given
    (own,) = free_addresses(1)
    links = loop.add(own, SocketLinks(own, cluster=CLUSTER))
    left_there: queue.SimpleQueue[threading.Event] = queue.SimpleQueue()
    too_late = threading.Event()
    finished = threading.Semaphore(0)

    def leave_and_wake() -> None:
        for _ in range(1500):
            seen = threading.Event()
            left_there.put(seen)
            links.wake()
            if not seen.wait(5.0):
                too_late.set()
                break
        finished.release()
        links.wake()

    threads = [threading.Thread(target=leave_and_wake) for _ in range(3)]
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        # When
        for thread in threads:
            thread.start()
        ended = 0
        while ended < len(threads):
            links.receive(20.0)
            while not left_there.empty():
                left_there.get().set()
            ended += finished.acquire(blocking=False)
    finally:
        sys.setswitchinterval(interval_s)
        for thread in threads:
            thread.join()
    # Then
    assert not too_late.is_set()


def test_a_name_server_that_hangs_never_holds_up_receive(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given
    clock = Clock()
    lesser, greater = linked_pair(loop, clock)
    port = free_addresses(1)[0].rpartition(":")[2]
    named = f"a.name.of.a.node:{port}"
    loop.add(named, SocketLinks(named, cluster=CLUSTER, bind=f"127.0.0.1:{port}"))
    answer, real = threading.Event(), socket.getaddrinfo

    def hanging(host: str, *arguments: Any, flags: int = 0, **options: Any) -> Any:
        if flags & socket.AI_NUMERICHOST:
            return real(host, *arguments, flags=flags, **options)
        answer.wait(30)
        return real("127.0.0.1", *arguments, flags=flags, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    # When
    loop.nodes[greater].dial(named)
    clock.ahead_s = PATIENCE_S + 0.1
    started = time.monotonic()
    for _ in range(5):
        assert_works(loop, lesser, greater)
    assert time.monotonic() - started < 5
    assert loop.events[named] == []
    # Then
    answer.set()
    loop.until(lambda: Connected(named) in loop.events[greater])


def test_every_address_of_a_name_is_tried_at_once(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a name with three addresses; the node listens on the last
    port = int(free_addresses(1)[0].rpartition(":")[2])
    called, caller = f"a.name:{port}", f"b.name:{free_addresses(1)[0].rpartition(':')[2]}"
    loop.add(called, SocketLinks(called, cluster=CLUSTER, bind=f"127.0.0.1:{port}"))
    bound = caller.replace("b.name", "127.0.0.1")
    loop.add(caller, SocketLinks(caller, cluster=CLUSTER, bind=bound, clock=lambda: time.monotonic() / 20))
    real = socket.getaddrinfo

    def three(host: str, port: int, *arguments: Any, flags: int = 0, **options: Any) -> Any:
        if flags & socket.AI_NUMERICHOST:
            return real(host, port, *arguments, flags=flags, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{n}", port)) for n in (3, 2, 1)]

    monkeypatch.setattr(socket, "getaddrinfo", three)
    # When
    loop.nodes[caller].dial(called)
    # Then: within one call, for its clock hardly moves
    loop.until(lambda: loop.events[caller] == [Connected(called)])


@pytest.mark.parametrize(
    "peer", ["nowhere", "a b\0:7", ":", "x:99999", "no.such.name.invalid:7", "ü" * 80 + ":7"]
)
def test_a_peer_that_is_no_address_is_said_and_harms_nobody(
    loop: Loop, caplog: pytest.LogCaptureFixture, peer: str
) -> None:
    lesser, greater = linked_pair(loop)
    clock = Clock()
    (third,) = free_addresses(1)
    loop.add(third, SocketLinks(third, cluster=CLUSTER, clock=clock)).dial(peer)
    clock.ahead_s = PATIENCE_S + 0.1
    loop.until(lambda: "cannot be called" in caplog.text)
    assert_works(loop, lesser, greater)


def test_a_port_in_use_and_a_foreign_address_are_named(loop: Loop) -> None:
    (own,) = free_addresses(1)
    loop.add(own, SocketLinks(own, cluster=CLUSTER))
    with pytest.raises(PortInUse, match=own):
        SocketLinks(own, cluster=CLUSTER)
    with pytest.raises(ConsensusError, match="address of this machine"):
        SocketLinks("192.0.2.1:7000", cluster=CLUSTER)
    with pytest.raises(ConsensusError, match="expected host:port"):
        SocketLinks("nowhere", cluster=CLUSTER)


def test_a_forgotten_peer_is_closed_and_not_called_again(loop: Loop) -> None:
    clock = Clock()
    lesser, greater = linked_pair(loop, clock)
    loop.nodes[greater].forget(lesser)
    loop.until(lambda: loop.events[lesser][-1] == Disconnected(greater))
    assert loop.events[greater][-1] == Disconnected(lesser)
    for _ in range(10):
        clock.ahead_s += 1.0
        loop.turn()
    assert loop.events[lesser][-1] == Disconnected(greater)
    assert not loop.nodes[greater].send(lesser, {"type": "x"})


def test_closing_twice_is_harmless_and_nothing_works_afterwards(loop: Loop) -> None:
    lesser, greater = linked_pair(loop)
    for _ in range(2):
        loop.nodes[greater].close()
    assert loop.nodes[greater].receive(1.0) == []
    assert not loop.nodes[greater].send(lesser, {"type": "x"})
    loop.nodes[greater].wake()
    loop.until(lambda: loop.events[lesser][-1] == Disconnected(greater))


NO_DESCRIPTORS = """
import resource, sys, os
from consensus.transport.links import SocketLinks, Connected, Received
own, peer = sys.argv[1:]
links = SocketLinks(own, cluster="test")
open_now = len(os.listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + 3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
print("listening", flush=True)
while True:
    for event in links.receive(1.0):
        if isinstance(event, Received):
            links.send(event.peer, {"type": "echo", "cpu_s": sum(os.times()[:2])})
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="MISSING PART: /proc, to count descriptors")
def test_without_file_descriptors_it_keeps_listening_and_its_link_works(loop: Loop) -> None:
    # Given
    own, peer = free_addresses()
    process = subprocess.Popen(
        [sys.executable, "-c", NO_DESCRIPTORS, own, peer],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    strangers: list[RawPeer] = []
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"listening\n"
        loop.add(peer, SocketLinks(peer, cluster=CLUSTER)).dial(own)
        loop.until(lambda: loop.events[peer] == [Connected(own)])
        # When
        strangers += [RawPeer(loop, own) for _ in range(10)]
        # Then
        started = time.monotonic()
        for n in range(20):
            assert loop.nodes[peer].send(own, {"type": "ping"})
            loop.until(lambda n=n: len(loop.messages(peer)) > n and time.monotonic() > started + n / 20)
        first, last = loop.messages(peer)[0], loop.messages(peer)[-1]
        assert last["cpu_s"] - first["cpu_s"] < 0.2  # it did not spin for that second
        for stranger in strangers:
            stranger.close()
        newcomer = RawPeer(loop, own)
        strangers.append(newcomer)
        newcomer.join("127.0.0.1:1")
    finally:
        process.kill()
        _, errors = process.communicate()
        for stranger in strangers:
            stranger.close()
    assert b"accepting pauses" in errors
    assert b"Traceback" not in errors
