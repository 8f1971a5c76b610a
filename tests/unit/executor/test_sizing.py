"""How many threads and io processes, with which reason; what a machine that is short of memory or cores does to it."""

from __future__ import annotations

import pytest

from executor.lanes.handler_queue import HandlerQueue
from executor.lanes.in_flight import Batch, Runner, RunnerState
from executor.pools.pool import Pool
from executor.pools.pressure import CALM_S, Pressure
from executor.pools.reserve import Arrivals, reserve
from executor.pools.sizing import THREADS_MAX, THREADS_MIN, Sizing
from executor.task import Form, Lane, Level, Sample, Task

pytestmark = pytest.mark.unit

WEB = Sample(0.0205, 0.0005, 0.02)


@pytest.fixture
def pool() -> Pool:
    pool = Pool(Form.THREADS, each=8, cores=2)
    runner = Runner(1, Form.THREADS, slots=8, is_long=False, started_s=0.0)
    runner.state = RunnerState.READY
    pool.runners[1] = runner
    return pool


@pytest.fixture
def sizing(pool: Pool) -> Sizing:
    return Sizing(pool, cores=2)


def fill(pool: Pool, *, running: int, waiting: int, now: float) -> None:
    queue = HandlerQueue("web", "", alone=False, form=Form.THREADS, lane=Lane.IO_SHORT)
    for number in range(running):
        batch = Batch(
            number,
            [Task(number, number, 1, "web", b"")],
            queue,
            queued_s=now,
            sent_s=now,
            estimate_s=0.02,
            is_long=False,
            is_unknown=False,
            is_brief=False,
        )
        pool.occupy(pool.runners[1], batch)
    if waiting:
        tasks = [Task(100 + n, n, 1, "web", b"") for n in range(waiting)]
        pool.lanes[Lane.IO_SHORT].add(queue, tasks, Level.NORMAL, now)


def test_threads_that_mostly_wait_are_as_many_as_keep_a_core_three_quarters_busy(
    pool: Pool, sizing: Sizing
) -> None:
    sizing.measured([WEB] * 4, 64)
    fill(pool, running=8, waiting=5, now=0.0)
    ((decision, why),) = sizing.tick(1.0)
    assert (decision, pool.each, pool.slots) == ("threads 8 -> 31", 31, 31)
    assert "40.0 times" in why


def test_they_stay_as_they_are_while_nothing_waits(pool: Pool, sizing: Sizing) -> None:
    sizing.measured([WEB] * 4, 64)
    fill(pool, running=6, waiting=0, now=0.0)
    assert (sizing.tick(1.0), pool.each) == ([], 8)


def test_more_are_added_while_tasks_wait_longer_than_a_tenth_of_their_run(pool: Pool, sizing: Sizing) -> None:
    sizing.measured([Sample(0.02, 0.02)] * 4, 64)  # by the first guess four would do
    fill(pool, running=8, waiting=5, now=0.0)
    pool.lanes[Lane.IO_SHORT].median_wait_s = 0.2
    sizing.tick(1.0)
    assert pool.each == 9


def test_none_is_added_when_the_core_is_used_up(pool: Pool, sizing: Sizing) -> None:
    fill(pool, running=8, waiting=5, now=0.0)
    pool.lanes[Lane.IO_SHORT].median_wait_s = 0.2
    sizing.probe_s = 0.01
    for second in range(1, 20):
        sizing.measured([Sample(0.01, 0.01)], 98)
        sizing.tick(float(second))
    assert pool.each < 14


def test_idle_threads_go_one_by_one(pool: Pool, sizing: Sizing) -> None:
    pool.each = pool.slots = 20
    for tick in range(200):
        sizing.tick(tick / 2)
    assert pool.each == 20 - 14


def test_they_never_leave_their_bounds(pool: Pool, sizing: Sizing) -> None:
    sizing.measured([Sample(10.0, 0.0001, 10.0)] * 4, 64)
    fill(pool, running=8, waiting=5, now=0.0)
    sizing.tick(1.0)
    assert pool.each == THREADS_MAX
    sizing.total_max = 12
    sizing.tick(2.0)
    assert pool.each == 12
    for tick in range(4, 4_000):
        pool.busy = 0
        pool.lanes[Lane.IO_SHORT].queued = 0
        sizing.tick(tick / 2)
    assert pool.each == THREADS_MIN


def test_a_core_that_is_used_up_for_half_a_minute_gets_another_process(pool: Pool, sizing: Sizing) -> None:
    decisions = []
    for second in range(1, 60):
        sizing.measured([Sample(0.01, 0.01)], 98)
        decisions += [text for text, _ in sizing.tick(float(second)) if text.startswith("processes")]
    assert decisions == ["processes 1 -> 2"]
    assert pool.slots == 2 * pool.each


def test_runners_are_told_their_new_size_and_the_first_has_the_places_of_spares(
    pool: Pool, sizing: Sizing
) -> None:
    out: list[object] = []
    pool.each, pool.slots, pool.running_long = 10, 10, 11
    sizing.fit(out)  # type: ignore[arg-type]
    assert [(each.runner, each.slots) for each in out] == [(1, 12)]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("slots", "short", "long", "expected"),
    [
        (3, 0.0, 0.0, 1),  # never none
        (3, 0.05, 40.0, 1),
        (8, 1.2, 0.0, 3),  # 1.2 and a root of it
        (8, 1.2, 1.5, 3),
        (8, 2.0, 4.5, 3),  # long work needs 5 of 8
        (8, 3.4, 6.0, 3),  # what short work uses anyway is not given up
        (3, 9.0, 0.0, 2),  # and one place is always left for long work
        (2, 9.0, 9.0, 1),
    ],
)
def test_the_reserve_follows_the_load(slots: int, short: float, long: float, expected: int) -> None:
    assert reserve(slots=slots, short=short, long=long) == expected


def test_arrivals_are_seconds_of_work_a_second_over_windows_of_five() -> None:
    arrivals = Arrivals()
    assert not arrivals.turn(0.0)
    arrivals.add(10.0, is_long=True)
    assert not arrivals.turn(4.0)
    assert arrivals.turn(5.0)
    assert (arrivals.short, arrivals.long) == (0.0, 2.0)
    assert arrivals.turn(10.0)
    assert arrivals.long == 1.0


def test_short_of_memory_is_told_once_and_ends_later_than_it_began() -> None:
    pressure = Pressure()
    told = [bool(pressure.gauges(share, 0.0, 2, 0.0)) for share in (0.5, 0.81, 0.9, 0.78, 0.74)]
    assert told == [False, True, False, False, True]
    assert not pressure.is_short_of_memory


def late(pressure: Pressure, now: float) -> float:
    """The executor's thread comes round 80 ms late for a while."""
    for _ in range(100):
        now += 0.13
        pressure.turned(now, is_busy=True)
    return now


def test_one_long_place_is_closed_when_cores_are_short_and_the_executor_itself_is_late() -> None:
    pressure = Pressure()
    now = late(pressure, 100.0)
    assert pressure.gauges(0.1, 50.0, 4, now)
    assert pressure.squeezed == 1
    assert not pressure.gauges(0.1, 50.0, 3, now + 1.0)
    pressure.gauges(0.1, 5.0, 3, now + 2.0)
    assert pressure.gauges(0.1, 5.0, 3, now + 2.0 + CALM_S)
    assert pressure.squeezed == 0


def test_two_long_places_stay_open_whatever_happens() -> None:
    pressure = Pressure()
    now = late(pressure, 100.0)
    assert not pressure.gauges(0.1, 90.0, 2, now)


def test_an_idle_executor_that_turns_rarely_is_not_late() -> None:
    pressure = Pressure()
    for second in range(100, 200):
        pressure.turned(float(second), is_busy=False)
    assert pressure.lag_s == 0.0
