"""Names to addresses on a thread of its own: a name server that does not answer must never hold up consensus (shell).

Numeric addresses need no thread. What was found is used for 5 s, so that a peer that moved is found again soon.
"""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

CACHED_S = 5.0
ADDRESSES_MAX = 8  # of one name
NAMES_MAX = 256  # peers are few; a bound all the same

SocketAddress = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]


@dataclass(frozen=True, slots=True)
class Found:
    addresses: tuple[SocketAddress, ...]
    trouble: str  # why there is none


class Resolver:
    """`look_up` is called by one thread and never waits; `found()` is called on the DNS thread when an answer came."""

    def __init__(self, clock: Callable[[], float], found: Callable[[], None]) -> None:
        self._clock, self._found = clock, found
        self._known: dict[str, tuple[float, Found]] = {}
        self._asked: set[str] = set()
        self._questions: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def look_up(self, peer: str) -> Found | None:
        """None: not yet known, ask again after `found()`."""
        try:
            host, port = split_address(peer)
        except ValueError as error:
            return Found((), str(error))
        numeric = _ask(host, port, socket.AI_NUMERICHOST)
        if numeric.addresses:
            return numeric
        known = self._known.get(peer)
        if known is not None and self._clock() - known[0] < CACHED_S:
            return known[1]
        if peer not in self._asked and len(self._asked) < NAMES_MAX:
            self._asked.add(peer)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="quorate-dns", daemon=True)
                self._thread.start()
            self._questions.put(peer)
        return None

    def stop(self) -> None:
        """Does not wait: the thread may hang in a name server's time-out for long, and holds nothing."""
        self._questions.put(None)

    def _run(self) -> None:
        while (peer := self._questions.get()) is not None:
            answer = _ask(*split_address(peer), 0)
            if len(self._known) >= NAMES_MAX:
                self._known.clear()
            self._known[peer] = (self._clock(), answer)
            self._asked.discard(peer)
            self._found()


def split_address(address: str) -> tuple[str, int]:
    """ "host:port" or "[v6]:port". Raises ValueError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ValueError(f"{address!r} is no address: expected host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _ask(host: str, port: int, flags: int) -> Found:
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except (OSError, ValueError) as error:
        return Found((), f"the name {host} cannot be resolved: {error}")
    addresses = dict.fromkeys((family, address) for family, _, _, _, address in answers)
    return Found(tuple(addresses)[:ADDRESSES_MAX], "")  # type: ignore[arg-type]  # AF_INET and AF_INET6 only
