"""Threads that wait for their calls, woken one after another (shell).

An entry ends the calls of many threads at once. Woken together they all queue for the interpreter's lock, and the Raft thread behind them
at each of its system calls. So the Raft thread wakes only the first few; each woken thread wakes the next before it goes on. The Raft
thread looks after every chain: one that stands still, because a thread in it gave up, is woken as a whole.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from typing import Any

from consensus.errors import ConsensusError

CHAINS = 2  # at once: one runs while another wakes its next on the other core
STANDSTILL_S = 0.005  # a chain of 64 threads takes about one millisecond


class Waiter:
    """One call of one thread. The Raft thread fills it in; `Batons.pass_on` wakes."""

    __slots__ = ("_lock", "_next", "answer", "error", "woken")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._next: Waiter | None = None
        self.woken = False
        self.answer: Any = None
        self.error: ConsensusError | None = None

    def wait(self, timeout_s: float) -> bool:
        """False after `timeout_s` without an end."""
        ended = self._lock.acquire(timeout=timeout_s)
        self.woken = True
        if self._next is not None:
            self._next.wake()
        return ended

    def wake(self) -> None:
        """Any thread, any number of times."""
        try:
            self._lock.release()
        except RuntimeError:  # woken already, and not yet awake
            return

    def then(self, following: Waiter) -> None:
        self._next = following


class Batons:
    """Of the Raft thread, from `adopt` to `close`; `ended` may be called by any."""

    def __init__(self) -> None:
        self._owner: int | None = None
        self._ended: list[Waiter] = []
        self._chains: deque[tuple[float, list[Waiter]]] = deque()

    def adopt(self) -> None:
        self._owner = threading.get_ident()

    def close(self) -> None:
        """Wakes all; what ends later is woken at once."""
        self._owner = None
        for chain in (self._ended, *(chain for _, chain in self._chains)):
            for waiter in chain:
                waiter.wake()
        self._ended = []
        self._chains.clear()

    def ended(self, waiter: Waiter) -> None:
        if threading.get_ident() == self._owner:
            self._ended.append(waiter)
        else:
            waiter.wake()

    def pass_on(self, now: float) -> None:
        """Wakes the first of all that ended since the last time, and every chain that stands still."""
        chains = self._chains
        while chains and (chains[0][1][-1].woken or now - chains[0][0] > STANDSTILL_S):
            for waiter in chains.popleft()[1]:
                if not waiter.woken:
                    waiter.wake()
        if self._ended:
            ended, self._ended = self._ended, []
            for start in range(min(CHAINS, len(ended))):
                chain = ended[start::CHAINS]
                for waiter, following in itertools.pairwise(chain):
                    waiter.then(following)
                if len(chain) > 1:
                    chains.append((now, chain))
                chain[0].wake()

    def before_wait(self, wait_s: float, now: float) -> float:
        """`pass_on`, and how long the Raft thread may sleep while chains run."""
        self.pass_on(now)
        return min(wait_s, STANDSTILL_S) if self._chains else wait_s
