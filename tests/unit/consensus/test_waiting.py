"""Whoever waits is woken: in a chain, past a thread that gave up, and when the Raft thread ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from consensus.waiting import CHAINS, STANDSTILL_S, Batons, Waiter

pytestmark = pytest.mark.unit
WITHIN_S = 10.0


class Callers:
    """Threads that each wait for one waiter; `awake` has their numbers in the order in which they woke."""

    def __init__(self, count: int) -> None:
        self.waiters = [Waiter() for _ in range(count)]
        self.awake: list[int] = []
        self.threads = [threading.Thread(target=self._wait, args=(number,)) for number in range(count)]
        for thread in self.threads:
            thread.start()

    def _wait(self, number: int) -> None:
        assert self.waiters[number].wait(WITHIN_S)
        self.awake.append(number)

    def join(self) -> None:
        for thread in self.threads:
            thread.join(WITHIN_S)
            assert not thread.is_alive()


def eventually(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not is_true():
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


def test_all_callers_of_a_batch_are_woken_by_one_wake() -> None:
    callers, batons = Callers(50), Batons()
    batons.adopt()
    for waiter in callers.waiters:
        batons.ended(waiter)
    batons.pass_on(0.0)
    callers.join()
    assert sorted(callers.awake) == list(range(50))


def test_a_chain_that_stands_still_is_woken_as_a_whole() -> None:
    gone = [Waiter() for _ in range(CHAINS)]
    for waiter in gone:
        assert not waiter.wait(0.0)
    callers, batons = Callers(3 * CHAINS), Batons()
    batons.adopt()
    for waiter in [*gone, *callers.waiters]:
        batons.ended(waiter)
    wait_s = batons.before_wait(1.0, now=1.0)
    assert callers.awake == []
    assert wait_s <= STANDSTILL_S, "the Raft thread must come back to look"
    batons.pass_on(1.0 + 2 * STANDSTILL_S)
    callers.join()
    assert batons.before_wait(1.0, now=2.0) == 1.0


def test_a_call_that_ends_on_another_thread_wakes_at_once() -> None:
    callers, batons = Callers(1), Batons()
    batons.ended(callers.waiters[0])
    callers.join()


def test_nobody_waits_on_when_the_raft_thread_ends() -> None:
    callers, batons = Callers(4), Batons()
    batons.adopt()
    batons.ended(callers.waiters[0])
    batons.ended(callers.waiters[1])
    batons.close()
    batons.ended(callers.waiters[2])
    batons.ended(callers.waiters[3])
    callers.join()


def test_a_waiter_that_is_not_woken_says_so_and_may_be_woken_late_and_twice() -> None:
    waiter = Waiter()
    assert not waiter.wait(0.001)
    waiter.wake()
    waiter.wake()
    eventually(lambda: waiter.woken)
