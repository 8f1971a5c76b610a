"""Who gets which task: FIFO per lane, one slot kept for short work, batches of brief tasks only."""

from __future__ import annotations

import pytest

from executor import Lane, Task
from executor.lanes.scheduler import BATCH_TASKS_MAX, Scheduler

pytestmark = pytest.mark.unit


def task(seq: int, handler: str = "slow", arguments: bytes = b"") -> Task:
    return Task(seq=seq, key=seq, attempt=1, handler=handler, arguments=arguments)


def is_brief(each: Task) -> bool:
    return each.handler == "brief"


def taken(scheduler: Scheduler, slot: int, *, only_brief: bool = False) -> list[int]:
    return [each.seq for each in scheduler.take(slot, is_brief=is_brief, only_brief=only_brief)]


def test_fifo_one_at_a_time_when_not_brief() -> None:
    scheduler = Scheduler(slots=2)
    for seq in (1, 2):
        scheduler.add(task(seq), Lane.CPU_SHORT)
    assert [taken(scheduler, 0), taken(scheduler, 1), taken(scheduler, 0)] == [[1], [2], []]


def test_slot_0_never_takes_long_work_when_there_are_two() -> None:
    scheduler = Scheduler(slots=2)
    scheduler.add(task(1), Lane.CPU_LONG)
    scheduler.add(task(2), Lane.CPU_SHORT)
    assert [taken(scheduler, 0), taken(scheduler, 0), taken(scheduler, 1)] == [[2], [], [1]]
    assert scheduler.slots(Lane.CPU_LONG) == 1


def test_a_single_slot_takes_everything() -> None:
    scheduler = Scheduler(slots=1)
    scheduler.add(task(1), Lane.IO_LONG)
    assert taken(scheduler, 0) == [1]


def test_brief_tasks_travel_in_batches_shared_between_slots() -> None:
    scheduler = Scheduler(slots=2)
    for seq in range(10):
        scheduler.add(task(seq, "brief"), Lane.CPU_SHORT)
    assert taken(scheduler, 0) == [0, 1, 2, 3, 4]
    for seq in range(10, 200):
        scheduler.add(task(seq, "brief"), Lane.CPU_SHORT)
    assert len(taken(scheduler, 1)) == BATCH_TASKS_MAX


def test_a_batch_ends_before_a_task_that_is_not_brief_and_none_waits_behind() -> None:
    scheduler = Scheduler(slots=1)
    for seq, name in enumerate(["brief", "brief", "slow", "brief"]):
        scheduler.add(task(seq, name), Lane.CPU_SHORT)
    assert taken(scheduler, 0) == [0, 1]
    assert taken(scheduler, 0, only_brief=True) == []
    assert taken(scheduler, 0) == [2]


def test_a_batch_is_bounded_in_bytes() -> None:
    scheduler = Scheduler(slots=1)
    for seq in range(4):
        scheduler.add(task(seq, "brief", b"x" * 400_000), Lane.CPU_SHORT)
    assert taken(scheduler, 0) == [0, 1]


def test_take_all_gives_back_everything_oldest_first() -> None:
    scheduler = Scheduler(slots=1)
    scheduler.add(task(1), Lane.IO_LONG)
    scheduler.add(task(2), Lane.CPU_SHORT)
    assert [each.seq for each in scheduler.take_all()] == [1, 2]
    assert taken(scheduler, 0) == []
