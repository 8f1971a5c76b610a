"""How many processes there are when short tasks keep turning out long."""

from __future__ import annotations

import itertools

import pytest

from executor.lanes.diary import Diary
from executor.lanes.in_flight import RunnerState
from executor.lanes.instructions import Drain, Instruction, Start
from executor.pools.pool import Pool
from executor.pools.staffing import EXCHANGE_EVERY_S, Staffing
from executor.task import Form

pytestmark = pytest.mark.unit


def made(slots: int) -> tuple[Pool, Staffing]:
    pool = Pool(Form.PROCESS, each=1, cores=2)
    pool.slots = slots
    return pool, Staffing(itertools.count(1).__next__, Diary())


def step(pool: Pool, staffing: Staffing, now: float) -> list[Instruction]:
    """What it wants, done at once: starts are ready, drained runners are gone."""
    out: list[Instruction] = []
    staffing.shed(pool, now, out)
    staffing.staff(pool, now, out)
    for each in out:
        if isinstance(each, Start):
            pool.runners[each.runner].state = RunnerState.READY
        elif isinstance(each, Drain):
            staffing.gone(pool, pool.runners[each.runner], now, early=False)
    return out


def test_processes_that_were_niced_and_are_idle_again_do_not_pile_up_and_quick_ones_come_back() -> None:
    pool, staffing = made(slots=3)
    step(pool, staffing, 0.0)
    for second in range(60):
        for runner in [each for each in pool.runners.values() if not each.is_long][:1]:
            runner.is_long = True  # its task turned out long, and ended
        step(pool, staffing, float(second))
        assert len(pool.runners) == pool.slots + 1
    for second in range(61, 61 + 3 * int(EXCHANGE_EVERY_S)):
        step(pool, staffing, float(second))
    assert sum(not runner.is_long for runner in pool.runners.values()) > pool.reserve


def test_however_many_turn_out_long_there_is_an_upper_bound() -> None:
    pool, staffing = made(slots=3)
    for second in range(60):
        step(pool, staffing, float(second))
        for runner in pool.runners.values():
            runner.is_long = True
            runner.batches = [object()]  # type: ignore[list-item]  # it runs for ever
        pool.running_long = len(pool.runners)
    assert len(pool.runners) == pool.slots + pool.spares_max + 1


def test_a_quick_process_too_many_may_stay_for_a_while_as_starting_one_costs_something() -> None:
    pool, staffing = made(slots=5)
    step(pool, staffing, 0.0)
    pool.slots = 3
    assert step(pool, staffing, 1.0) == []
    assert [type(each) for each in step(pool, staffing, 12.0)] == [Drain]
