"""The links port in virtual time: one network between all nodes, with all that networks do.

A link is what a TCP connection is: dialled, handshaken, in order, closed by a reset or after silence; each of its two directions is a
`Path` with a delay and a bandwidth. Faults act on paths: loss, duplication and reordering of single messages (worse than TCP, which only
loses a suffix), delay, and cuts, during which messages are either lost or held back and delivered late. Messages travel as msgpack bytes,
so that nodes share no objects, tuples arrive as lists, and sizes are real. What is under way to a peer is bounded in bytes, as a socket is.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

import msgpack

from consensus.transport.links import Connected, Disconnected, Received
from tests.simulation.clock import NodeClock, Timeline

MESSAGE_S = 15e-6  # what sending or receiving a message costs a processor
BYTE_S = 4e-9
FRAME_BYTES_MAX = 1 << 20
UNDER_WAY_BYTES_MAX = 8 << 20
DIAL_EVERY_S = 0.5
DEAD_LINK_S = 3.5
DUPLICATE_LATE_S = 3.0  # a second copy may come when everybody has moved on
USUAL_DELAY_S = (0.0003, 0.0012)
USUAL_BYTES_PER_S = 100e6

Event = Connected | Disconnected | Received


class Host(Protocol):
    """What the network asks of a node."""

    @property
    def clock(self) -> NodeClock: ...

    def reachable(self) -> bool:
        """Runs and is not paused: it can accept a connection."""

    def arrived(self) -> None:
        """Something lies in its inbox."""


@dataclass(slots=True, eq=False)
class Path:
    """One direction between two nodes. Numbers are changed by faults and put back by `calm`."""

    delay_s: tuple[float, float] = USUAL_DELAY_S
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: bool = False
    bytes_per_s: float = USUAL_BYTES_PER_S
    cuts: int = 0  # how many faults cut it at present
    holds: bool = False  # a cut keeps messages for later instead of losing them
    free_at_s: float = 0.0
    last_arrival_s: float = 0.0
    under_way_bytes: int = 0
    held: list[bytes] = field(default_factory=list)

    def calm(self) -> None:
        self.delay_s, self.loss, self.duplicate, self.reorder = USUAL_DELAY_S, 0.0, 0.0, False
        self.bytes_per_s = USUAL_BYTES_PER_S


class SimLinks:
    """One life of one node's links."""

    def __init__(self, network: Network, node: str) -> None:
        self._network, self._node = network, node
        self.dialled: set[str] = set()
        self.connected: dict[str, int] = {}  # peer -> number of the connection, as this end believes
        self.inbox: list[tuple[Event | bytes, str]] = []
        self.closed = False

    def send(self, peer: str, message: dict[str, Any]) -> bool:
        return self._network.transmit(self._node, peer, message)

    def dial(self, peer: str) -> None:
        if peer not in self.dialled and peer != self._node:
            self.dialled.add(peer)
            self._network.keep_dialling(self, self._node, peer)

    def forget(self, peer: str) -> None:
        self.dialled.discard(peer)
        self._network.close_link(self._node, peer)

    def receive(self, wait_s: float) -> list[Event]:
        """Never waits: the simulator steps the node again when something comes."""
        taken, self.inbox = self.inbox, []
        return [self._network.opened(self._node, peer, item) for item, peer in taken]

    def wake(self) -> None:
        self._network.hosts[self._node].arrived()

    def close(self) -> None:
        if not self.closed:
            self._network.detach(self._node, at_once=True)


class Network:
    def __init__(self, timeline: Timeline, rng: Random) -> None:
        self.timeline, self.rng = timeline, rng
        self.hosts: dict[str, Host] = {}
        self.watch: Callable[[str, str, dict[str, Any]], None] = lambda _from, _to, _message: None
        self.messages = 0
        self.bytes = 0
        self.digest = 0  # of all that was ever delivered, for the trace hash
        self.paths: dict[tuple[str, str], Path] = {}
        self._links: dict[str, SimLinks] = {}  # of nodes that are up
        self._open: dict[tuple[str, str], int] = {}  # (lower id, higher id) -> number of the connection
        self._connections = 0

    # -- nodes come and go

    def attach(self, node: str, host: Host) -> SimLinks:
        self.hosts[node] = host
        links = SimLinks(self, node)
        self._links[node] = links
        return links

    def detach(self, node: str, *, at_once: bool) -> None:
        """The node is gone. `at_once`: its peers hear of it (a killed process), else only after silence (no power)."""
        links = self._links.pop(node, None)
        if links is None:
            return
        links.closed = True
        for pair in [pair for pair in self._open if node in pair]:
            peer = pair[1] if pair[0] == node else pair[0]
            number = self._open.pop(pair)
            delay_s = self.rng.uniform(*USUAL_DELAY_S) if at_once else DEAD_LINK_S
            self.timeline.after(
                delay_s, lambda peer=peer, number=number: self._hear_of_end(peer, node, number)
            )

    def path(self, sender: str, receiver: str) -> Path:
        found = self.paths.get((sender, receiver))
        if found is None:
            found = self.paths[(sender, receiver)] = Path()
        return found

    def is_open(self, one: str, other: str) -> bool:
        return _pair(one, other) in self._open

    # -- faults

    def cut(self, sender: str, receiver: str, *, holds: bool) -> None:
        path = self.path(sender, receiver)
        path.cuts += 1
        path.holds = holds
        self.timeline.after(DEAD_LINK_S, lambda: self._end_if_silent(sender, receiver))

    def mend(self, sender: str, receiver: str) -> None:
        path = self.path(sender, receiver)
        path.cuts = max(0, path.cuts - 1)
        if path.cuts == 0:
            number = self._open.get(_pair(sender, receiver))
            held, path.held = path.held, []
            for data in held:
                self._depart(sender, receiver, path, data, self.timeline.now_s, number)

    def close_link(self, one: str, other: str) -> None:
        """A reset: both ends hear of it; what was under way is lost."""
        number = self._open.pop(_pair(one, other), None)
        if number is not None:
            for sender, receiver in ((one, other), (other, one)):
                self.path(sender, receiver).held.clear()
                self.path(sender, receiver).under_way_bytes = 0
                self._hear_of_end(receiver, sender, number)

    def paused(self, node: str, still_paused: Callable[[], bool]) -> None:
        """A node that says nothing for long loses its links."""

        def judge() -> None:
            if still_paused():
                for pair in [pair for pair in self._open if node in pair]:
                    self.close_link(*pair)

        self.timeline.after(DEAD_LINK_S, judge)

    def calm(self) -> None:
        """All faults of the network end."""
        for (sender, receiver), path in self.paths.items():
            path.calm()
            while path.cuts:
                self.mend(sender, receiver)

    # -- messages

    def transmit(self, sender: str, receiver: str, message: dict[str, Any]) -> bool:
        links = self._links.get(sender)
        number = None if links is None else links.connected.get(receiver)
        if number is None:
            return False
        data: bytes = msgpack.packb(message)
        if len(data) > FRAME_BYTES_MAX:
            raise AssertionError(
                f"a {message.get('type')} of {len(data)} bytes: frames end at {FRAME_BYTES_MAX}"
            )
        path = self.path(sender, receiver)
        if path.under_way_bytes + len(data) > UNDER_WAY_BYTES_MAX:
            return False
        self.watch(sender, receiver, message)
        clock = self.hosts[sender].clock
        clock.compute(MESSAGE_S + len(data) * BYTE_S)
        self.messages += 1
        self.bytes += len(data)
        if self._open.get(_pair(sender, receiver)) != number:
            return True  # the peer is gone and this end has not heard of it
        path.under_way_bytes += len(data)
        if path.cuts:
            if path.holds:
                path.held.append(data)
            return True
        self._depart(sender, receiver, path, data, clock.now_s(), number)
        return True

    def _depart(
        self, sender: str, receiver: str, path: Path, data: bytes, now_s: float, number: int | None
    ) -> None:
        path.free_at_s = max(now_s, path.free_at_s) + len(data) / path.bytes_per_s
        rng = self.rng
        if path.loss and rng.random() < path.loss:
            path.under_way_bytes -= len(data)
            return
        arrival_s = path.free_at_s + rng.uniform(*path.delay_s)
        if not path.reorder:
            arrival_s = path.last_arrival_s = max(arrival_s, path.last_arrival_s + 1e-9)
        self.timeline.at(arrival_s, lambda: self._arrive(sender, receiver, data, number))
        if path.duplicate and rng.random() < path.duplicate:
            path.under_way_bytes += len(data)
            late_s = rng.uniform(0.0, DUPLICATE_LATE_S) if rng.random() < 0.3 else 0.0
            again_s = max(arrival_s, path.free_at_s + rng.uniform(*path.delay_s)) + late_s
            self.timeline.at(again_s, lambda: self._arrive(sender, receiver, data, number))

    def _arrive(self, sender: str, receiver: str, data: bytes, number: int | None) -> None:
        links = self._links.get(receiver)
        if links is None or self._open.get(_pair(sender, receiver)) != number:
            return  # the connection that carried it is gone
        self.digest = zlib.crc32(data, self.digest)
        links.inbox.append((data, sender))
        self.hosts[receiver].arrived()

    def opened(self, receiver: str, sender: str, item: Event | bytes) -> Event:
        if not isinstance(item, bytes):
            return item
        path = self.path(sender, receiver)
        path.under_way_bytes = max(0, path.under_way_bytes - len(item))
        self.hosts[receiver].clock.compute(MESSAGE_S + len(item) * BYTE_S)
        return Received(sender, msgpack.unpackb(item, strict_map_key=False))

    # -- connections

    def keep_dialling(self, links: SimLinks, node: str, peer: str) -> None:
        if links.closed or peer not in links.dialled:
            return
        if not self.is_open(node, peer) and self._can_connect(node, peer):
            self._connections += 1
            self._open[_pair(node, peer)] = self._connections
            for one, other in ((node, peer), (peer, node)):
                path = self.path(one, other)
                path.under_way_bytes = 0
                path.held.clear()
                self._tell_connected(one, other, self._connections)
        pause_s = DIAL_EVERY_S * self.rng.uniform(0.9, 1.1)
        self.timeline.after(pause_s, lambda: self.keep_dialling(links, node, peer))

    def _can_connect(self, node: str, peer: str) -> bool:
        """A handshake needs both directions and two running nodes."""
        return (
            peer in self._links
            and self.hosts[node].reachable()
            and self.hosts[peer].reachable()
            and not self.path(node, peer).cuts
            and not self.path(peer, node).cuts
        )

    def _end_if_silent(self, sender: str, receiver: str) -> None:
        if self.path(sender, receiver).cuts:
            self.close_link(sender, receiver)

    def _tell_connected(self, node: str, peer: str, number: int) -> None:
        links = self._links[node]
        if peer in links.connected:  # it had not heard of the former connection's end
            links.inbox.append((Disconnected(peer), peer))
        links.connected[peer] = number
        links.inbox.append((Connected(peer), peer))
        self.hosts[node].arrived()

    def _hear_of_end(self, node: str, peer: str, number: int) -> None:
        links = self._links.get(node)
        if links is not None and links.connected.get(peer) == number:
            del links.connected[peer]
            links.inbox.append((Disconnected(peer), peer))
            self.hosts[node].arrived()


def _pair(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one < other else (other, one)
