"""Which task a signal strikes. Signals are raised in this very process: Python runs their handlers at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from executor import TaskCancelled, TimeLimitExceeded
from executor.runners.inside.gate import Gate

pytestmark = pytest.mark.unit


@pytest.fixture
def gate() -> Iterator[Gate]:
    before = [(number, signal.getsignal(number)) for number in (signal.SIGALRM, signal.SIGUSR1)]
    yield Gate()
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in before:
        signal.signal(number, handler)


def run_limited(gate: Gate, timeout_s: float) -> None:
    gate.limit(timeout_s)
    while True:
        pass


def test_the_task_that_is_named_is_struck_once(gate: Gate) -> None:
    gate.running = 7
    with pytest.raises(TaskCancelled):
        gate.cancel(7)
    assert gate.asked == 7
    signal.raise_signal(signal.SIGUSR1)  # a second one finds nothing to strike


def test_a_task_that_does_not_run_is_not_struck(gate: Gate) -> None:
    gate.running = 7
    gate.cancel(6)
    gate.cancel(8)


def test_a_signal_that_comes_late_does_not_strike_the_next_task(gate: Gate) -> None:
    gate.running = 7
    with pytest.raises(TaskCancelled):
        gate.cancel(7)
    gate.running = 8
    signal.raise_signal(signal.SIGUSR1)
    assert gate.asked == 7


def test_a_timer_of_an_ended_task_does_not_strike_the_next_one(gate: Gate) -> None:
    gate.running = 1
    gate.limit(60.0)
    gate.running = 2
    gate.limit(60.0)  # the timer of the first goes on
    signal.raise_signal(signal.SIGALRM)
    gate.running = 0
    signal.raise_signal(signal.SIGALRM)
    gate.running = 3
    gate.limit(None)
    signal.raise_signal(signal.SIGALRM)
    assert gate.asked == 0


def test_a_timer_that_rings_while_the_next_task_begins_does_not_strike_it(gate: Gate) -> None:
    gate.running = 1
    gate.limit(0.02)
    gate.running = 2  # begun, its own limit not set yet
    while gate.is_ticking:
        pass
    assert gate.asked == 0
    with pytest.raises(TimeLimitExceeded):
        run_limited(gate, 0.001)


def test_a_task_whose_time_is_over_is_struck(gate: Gate) -> None:
    gate.running = 1
    with pytest.raises(TimeLimitExceeded):
        run_limited(gate, 1e-6)
    assert (gate.asked, gate.why) == (1, TimeLimitExceeded)


def test_a_shorter_limit_after_a_longer_one_is_heeded(gate: Gate) -> None:
    gate.running = 1
    gate.limit(60.0)
    gate.running = 2
    with pytest.raises(TimeLimitExceeded):
        run_limited(gate, 0.001)
    assert gate.asked == 2
