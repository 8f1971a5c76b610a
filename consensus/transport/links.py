"""Links to peers: what the Raft layer needs of a network, and its form over TCP (shell).

One thread calls everything here and waits only inside `receive`: a message takes no detour between threads. `send` writes to the
socket at once, `receive` decodes what came straight for its caller. `reception.py` turns connections into links in the same loop.

The newest link of a peer replaces the older one: the peer may have restarted, and the old connection would be found dead only after
`IDLE_S`. `handshake.py` says why two nodes that call one another at once still end with one link.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from consensus.transport.certificates import TlsFiles, tls_contexts
from consensus.transport.connection import Connection, State
from consensus.transport.frames import FRAME_BYTES_MAX, FrameError, FrameWriter
from consensus.transport.handshake import Identity, Reason
from consensus.transport.listener import Listener
from consensus.transport.reception import Reception
from consensus.transport.resolver import Resolver
from consensus.transport.stream import OUT_BYTES_MAX, READ_BYTES

IDLE_S = 3.5  # without a byte from the peer: three pings of the Raft layer did not come
LOOK_S = 0.1  # how exactly deadlines are kept
AWAY_S = 0.5  # a look that is so late finds silence where nobody listened: this process was stopped, or its disk was slow


@dataclass(frozen=True, slots=True)
class Connected:
    """A new link. What was sent over an older one may or may not have arrived."""

    peer: str


@dataclass(frozen=True, slots=True)
class Disconnected:
    peer: str


@dataclass(frozen=True, slots=True)
class Received:
    peer: str
    message: dict[str, Any]


LinkEvent = Connected | Disconnected | Received


class Links(Protocol):
    """Peers are named by node id ("host:port"). One thread calls everything but `wake`. The order of messages is kept within a link."""

    def send(self, peer: str, message: dict[str, Any]) -> bool:
        """Never blocks. False: no link, or too much is waiting for it; the message is dropped. A message that was given here must
        not be changed afterwards."""
        ...

    def dial(self, peer: str) -> None:
        """Keeps a link to this peer. Idempotent."""
        ...

    def forget(self, peer: str) -> None:
        """No longer calls it; an open link is closed."""
        ...

    def receive(self, wait_s: float) -> list[LinkEvent]:
        """Waits until something came, `wake()`, or `wait_s`."""
        ...

    def wake(self) -> None:
        """Any thread: ends the current or the next `receive`."""
        ...

    def close(self) -> None: ...


class SocketLinks:
    """`listen` is the id of this node, the address that its peers call, and where it listens unless `bind` says otherwise
    (behind a proxy). Raises `PortInUse`, `CertificateError`."""

    def __init__(
        self,
        listen: str,
        *,
        cluster: str,
        tls: TlsFiles | None = None,
        bind: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        contexts = None if tls is None else tls_contexts(tls, listen)
        self._listener = Listener(bind or listen)
        self._clock = clock
        self._now = self._look_at = self._looked_at = clock()
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)
        self._woken.setblocking(False)
        self._is_woken = self._is_closed = self._was_away = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._writer = FrameWriter()
        self._encoded: tuple[dict[str, Any], bytes] = ({}, b"")  # the same message often goes to every peer
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._links: dict[str, Connection] = {}
        self._events: list[LinkEvent] = []
        self._resolver = Resolver(clock, self._name_found)
        self._reception = Reception(
            Identity(cluster=cluster, node=listen),
            self._listener,
            selector=self._selector,
            resolver=self._resolver,
            links=self._links,
            buffer=self._buffer,
            contexts=contexts,
        )

    def send(self, peer: str, message: dict[str, Any]) -> bool:
        link = self._links.get(peer)
        if link is None or link.stream.unsent_bytes >= OUT_BYTES_MAX:
            return False
        if self._encoded[0] is not message:
            self._encoded = (message, self._writer.encode(message))
        frame = self._encoded[1]
        try:
            taken = link.stream.write(frame)
        except OSError as error:
            self._lose(link, f"{error.strerror or error}")
            return False
        if link.stream.unsent_bytes:
            link.watch(self._selector)
        return taken

    def dial(self, peer: str) -> None:
        self._reception.calls.dial(peer, self._clock())
        self._look_at = 0.0

    def forget(self, peer: str) -> None:
        self._reception.calls.forget(peer)
        if peer in self._links:
            self._lose(self._links[peer], "")

    def receive(self, wait_s: float) -> list[LinkEvent]:
        if self._is_closed:
            return []
        until = self._now = self._clock()
        if wait_s > 0:
            until += wait_s
        while True:
            timeout_s = 0.0 if self._events else max(0.0, min(until, self._look_at) - self._now)
            ready = self._selector.select(timeout_s)
            self._now = now = self._clock()
            is_woken = False
            for key, mask in ready:
                connection = key.data
                if connection is not None:
                    self._serve(connection, mask)
                elif key.fileobj is self._woken:
                    is_woken = True
                    # The read may take in the byte of one who wakes just now. Were the flag cleared before it, that one
                    # would set it again, for a byte that is gone: nobody could wake this node any more.
                    self._woken.recv(64)
                    self._is_woken = False
                else:
                    self._reception.accept(now)
            if now >= self._look_at:
                self._look(now)
            if self._events or is_woken or now >= until:
                events, self._events = self._events, []
                return events

    def wake(self) -> None:
        if not self._is_woken:
            self._is_woken = True
            try:
                self._waker.send(b"w")
            except OSError:
                return  # full: it wakes anyway; closed: nobody waits

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._resolver.stop()
        self._reception.close()
        for link in self._links.values():
            link.close(self._selector)
        self._links.clear()
        self._events.clear()
        self._selector.close()
        for sock in (self._listener.sock, self._waker, self._woken):
            sock.close()

    def _name_found(self) -> None:
        """On the DNS thread."""
        self._look_at = 0.0  # lost in a race, it costs LOOK_S
        self.wake()

    def _serve(self, connection: Connection, mask: int) -> None:
        if connection.state is State.LINKED:
            try:
                if mask & selectors.EVENT_WRITE and connection.stream.unsent_bytes:
                    connection.stream.flush()
                    connection.watch(self._selector)
                if mask & selectors.EVENT_READ:
                    data = connection.stream.read(self._buffer)
                    if data is None:
                        self._lose(connection, "it hung up")
                        return
                    connection.heard_at = self._now
                    if data:
                        connection.reader.add(data)
                        self._take(connection)
            except BlockingIOError:
                return
            except OSError as error:
                self._lose(connection, f"{error.strerror or error}")
        elif connection.state is not State.CLOSED and self._reception.serve(connection, mask, self._now):
            self._link(connection)

    def _take(self, link: Connection) -> None:
        """Hands on what is complete."""
        peer = link.peer
        try:
            self._events += [Received(peer, message) for message in link.reader.take()]
        except FrameError as error:
            self._lose(link, str(error))

    def _link(self, connection: Connection) -> None:
        peer = connection.peer
        older = self._links.get(peer)
        if older is not None:
            self._lose(older, "")
        self._links[peer] = connection
        connection.heard_at = self._now
        connection.reader.body_bytes_max = FRAME_BYTES_MAX
        connection.watch(self._selector)
        self._events.append(Connected(peer))
        self._take(connection)

    def _lose(self, link: Connection, why: str) -> None:
        peer = link.peer
        if self._links.get(peer) is not link:
            return
        del self._links[peer]
        link.close(self._selector)
        self._events.append(Disconnected(peer))
        self._reception.calls.lost(peer, self._now)
        if why:
            self._reception.say(peer, Reason.LOST, f"the link to {peer} ended: {why}")

    def _look(self, now: float) -> None:
        was_away = now - self._looked_at > AWAY_S and not self._was_away
        self._was_away = was_away  # excused once: then what had come meanwhile has been read
        self._looked_at, self._look_at = now, now + LOOK_S
        if not was_away:
            for link in list(self._links.values()):
                if link.heard_at is not None and now - link.heard_at >= IDLE_S:
                    self._lose(link, f"nothing came for {IDLE_S:g} s")
        self._reception.look(now)
