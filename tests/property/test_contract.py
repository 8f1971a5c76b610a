"""Who pays when a runner ends: simulated runners, driven at random, against what an observer with perfect knowledge would say."""

from __future__ import annotations

import mmap
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.runners.contract import Killed, settle
from executor.runners.slot import TABLE_BYTES, SlotTable
from executor.task import Status

pytestmark = pytest.mark.unit


@dataclass
class Observed:
    """A runner that writes the table as real ones do; the fields are what really happened to each number."""

    width: int
    table: SlotTable = field(default_factory=lambda: SlotTable(mmap.mmap(-1, TABLE_BYTES)))
    sent: list[int] = field(default_factory=list)
    running: dict[int, int] = field(default_factory=dict)  # number -> row
    ended: list[int] = field(default_factory=list)
    answered: set[int] = field(default_factory=set)

    def step(self, choice: int) -> None:
        """Begins the next, ends one, or answers what has ended: whichever `choice` says, if it can be done."""
        waiting = [number for number in self.sent if number not in self.running and number not in self.ended]
        if choice == 0 and waiting and len(self.running) < self.width:
            row = min(set(range(self.width)) - set(self.running.values()))
            self.running[waiting[0]] = row
            if self.width > 1:
                self.table.begun = waiting[0]
            self.table.starts[row] = 1.0
            self.table.numbers[row] = waiting[0]
        elif choice == 1 and self.running:
            number, row = next(iter(self.running.items()))
            del self.running[number]
            self.ended.append(number)
            if self.width > 1:
                self.table.numbers[row] = 0
            else:
                self.table.starts[row] = 0.0
        elif choice == 2:
            self.answered.update(self.ended)


lives = st.tuples(st.integers(1, 4), st.integers(0, 12), st.lists(st.integers(0, 2), max_size=40))


def live(life: tuple[int, int, list[int]]) -> Observed:
    width, count, choices = life
    runner = Observed(width=width)
    runner.sent = list(range(100, 100 + 3 * count, 3))  # numbers of one runner ascend, with gaps
    for choice in choices:
        runner.step(choice)
    return runner


@given(lives)
def test_a_death_charges_what_ran_and_nothing_else(life: tuple[int, int, list[int]]) -> None:
    runner = live(life)
    unanswered = [number for number in runner.sent if number not in runner.answered]
    running = {number for number, _ in runner.table.running()}
    verdicts = dict(settle(unanswered, begun=runner.table.begun, running=running, killed=None))
    assert list(verdicts) == unanswered
    for number, status in verdicts.items():
        if number in runner.running:
            assert status is Status.DIED
        elif number in runner.ended:
            assert status is Status.LOST
        else:
            assert status is Status.RETURNED
    assert runner.width > 1 or list(verdicts.values()).count(Status.DIED) <= 1


@given(lives, st.integers(0, 40), st.sampled_from([Status.TIMED_OUT, Status.CANCELLED]))
def test_a_kill_because_of_one_task_charges_only_that_one_and_only_if_it_still_ran(
    life: tuple[int, int, list[int]], culprit: int, status: Status
) -> None:
    runner = live(life)
    unanswered = [number for number in runner.sent if number not in runner.answered]
    running = {number for number, _ in runner.table.running()}
    killed = Killed(number=100 + culprit, status=status, why="")
    verdicts = dict(settle(unanswered, begun=runner.table.begun, running=running, killed=killed))
    charged = {
        number for number, verdict in verdicts.items() if verdict not in (Status.LOST, Status.RETURNED)
    }
    assert charged == {100 + culprit} & runner.running.keys()
    assert all(verdicts[number] is status for number in charged)
    begun = runner.running.keys() | set(runner.ended)
    assert all((verdict is Status.RETURNED) == (number not in begun) for number, verdict in verdicts.items())


def test_a_runner_ended_because_of_no_task_charges_nobody() -> None:
    killed = Killed(number=None, status=Status.LOST, why="the executor stopped")
    verdicts = settle([4, 5, 6], begun=5, running={5}, killed=killed)
    assert verdicts == [(4, Status.LOST), (5, Status.LOST), (6, Status.RETURNED)]
