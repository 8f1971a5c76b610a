"""Levels, ages and shares: which waiting task of a lane is next."""

from __future__ import annotations

import pytest

from executor.lanes.handler_queue import BATCH_BYTES_MAX, HandlerQueue
from executor.lanes.lane_queue import AGE_S_MIN, LaneQueue
from executor.task import Form, Lane, Level, Task

pytestmark = pytest.mark.unit


def task(seq: int, *, handler: str = "a", level: int = Level.NORMAL, arguments: bytes = b"") -> Task:
    return Task(seq, seq, 1, handler, arguments, "", level)


def queue_of(handler: str = "a", kind: str = "") -> HandlerQueue:
    return HandlerQueue(handler, kind, alone=False, form=Form.PROCESS, lane=Lane.CPU_SHORT)


def seqs(tasks: list[Task]) -> list[int]:
    return [each.seq for each in tasks]


def drained(lane: LaneQueue, now: float, *, cost_s: float = 0.0) -> list[tuple[str, int]]:
    """Takes one task after the other, and charges each."""
    order = []
    while (key := lane.best(unknown=False)) is not None:
        (taken,), _ = lane.take(key[4], 1, now)
        lane.charge(taken.handler, cost_s)
        order.append((taken.handler, taken.seq))
    return order


def test_a_lower_level_goes_first_and_within_a_level_the_oldest() -> None:
    lane, queue = LaneQueue(Lane.CPU_SHORT), queue_of()
    for seq, level in enumerate([Level.LOW, Level.NORMAL, Level.DUE, Level.HIGH, Level.NORMAL]):
        lane.add(queue, [task(seq, level=level)], level, float(seq) / 100)
    assert [seq for _, seq in drained(lane, 0.1)] == [2, 3, 1, 4, 0]


def test_a_task_rises_a_level_each_time_it_has_waited_an_age() -> None:
    lane, queue = LaneQueue(Lane.CPU_SHORT), queue_of()
    lane.add(queue, [task(1, level=Level.LOW)], Level.LOW, 0.0)
    at_s = 3 * AGE_S_MIN + 0.1
    lane.add(queue, [task(2, level=Level.HIGH)], Level.HIGH, at_s)
    assert [seq for _, seq in drained(lane, at_s)] == [1, 2]


def test_a_lane_that_waits_long_ages_slowly() -> None:
    lane, queue = LaneQueue(Lane.CPU_SHORT), queue_of()
    for seq in range(50):
        lane.add(queue, [task(seq)], Level.NORMAL, 0.0)
    for _ in range(50):
        lane.take(queue, 1, 2.0)
    lane.refresh(2.0)
    assert (lane.median_wait_s, lane.age_s) == (2.0, 20.0)


def test_a_handler_with_a_thousand_tasks_delays_another_by_its_share_only() -> None:
    lane = LaneQueue(Lane.CPU_SHORT)
    many, few = queue_of("many"), queue_of("few")
    lane.add(many, [task(seq, handler="many") for seq in range(100)], Level.NORMAL, 0.0)
    lane.add(few, [task(seq, handler="few") for seq in range(100, 103)], Level.NORMAL, 0.1)
    order = [name for name, _ in drained(lane, 0.2, cost_s=0.01)]
    assert order[:6].count("few") == 3


def test_an_idle_hour_is_no_credit() -> None:
    lane = LaneQueue(Lane.CPU_SHORT)
    busy, idle = queue_of("busy"), queue_of("idle")
    lane.add(busy, [task(seq, handler="busy") for seq in range(200)], Level.NORMAL, 0.0)
    for _ in range(100):
        lane.take(busy, 1, 0.1)
        lane.charge("busy", 1.0)
    lane.add(idle, [task(seq, handler="idle") for seq in range(300, 400)], Level.NORMAL, 0.2)
    order = [name for name, _ in drained(lane, 0.3, cost_s=1.0)]
    assert 8 <= order[:20].count("idle") <= 12


def test_kinds_of_a_handler_share_what_is_its_due() -> None:
    lane = LaneQueue(Lane.CPU_SHORT)
    queues = [queue_of("a", f"k{number}") for number in range(9)] + [queue_of("b")]
    for number, queue in enumerate(queues):
        tasks = [task(number * 100 + n, handler=queue.handler) for n in range(20)]
        lane.add(queue, tasks, Level.NORMAL, 0.0)
    order = [name for name, _ in drained(lane, 0.1, cost_s=0.01)]
    assert 8 <= order[:20].count("b") <= 12


def test_a_correction_of_what_was_charged_finds_the_right_handler() -> None:
    lane = LaneQueue(Lane.CPU_SHORT)
    slow, quick = queue_of("slow"), queue_of("quick")
    for queue in (slow, quick):
        lane.add(queue, [task(n, handler=queue.handler) for n in range(50)], Level.NORMAL, 0.0)
    order = []
    for _ in range(22):
        key = lane.best(unknown=False)
        assert key is not None
        lane.take(key[4], 1, 0.1)
        order.append(key[4].handler)
        lane.charge(key[4].handler, 0.01)
        lane.charge(
            key[4].handler, 0.09 if key[4] is slow else 0.0
        )  # it took ten times as long as was thought
    assert order.count("slow") <= 3


def test_what_is_blocked_is_passed_over_and_comes_back() -> None:
    lane, one, other = LaneQueue(Lane.CPU_SHORT), queue_of("one"), queue_of("other")
    lane.add(one, [task(1, handler="one")], Level.HIGH, 0.0)
    lane.add(other, [task(2, handler="other")], Level.LOW, 0.0)
    lane.block(one)
    assert (lane.queued, lane.blocked) == (2, 1)
    assert drained(lane, 0.1) == [("other", 2)]
    lane.unblock(one, 0.1)
    assert (drained(lane, 0.1), lane.queued, lane.blocked) == ([("one", 1)], 0, 0)


def test_what_comes_back_takes_its_old_place() -> None:
    lane, queue = LaneQueue(Lane.CPU_SHORT), queue_of()
    for seq in range(4):
        lane.add(queue, [task(seq)], Level.NORMAL, float(seq))
    taken, queued_s = lane.take(queue, 2, 3.5)
    assert (seqs(taken), queued_s) == ([0, 1], 0.0)
    lane.put_back(queue, taken, Level.NORMAL, queued_s, 3.6)
    assert [seq for _, seq in drained(lane, 3.7)] == [0, 1, 2, 3]


def test_a_batch_spans_moments_and_is_bounded_in_tasks_and_in_bytes() -> None:
    queue = queue_of()
    for seq in range(5):
        queue.add([task(seq)], Level.NORMAL, seq * 0.1)
    assert seqs(queue.take(Level.NORMAL, 3)[0]) == [0, 1, 2]
    big = queue_of()
    big.add([task(n, arguments=b"x" * (BATCH_BYTES_MAX // 3 + 1)) for n in range(4)], Level.NORMAL, 0.0)
    assert seqs(big.take(Level.NORMAL, 4)[0]) == [0, 1]
    assert big.queued == 2
    assert seqs(big.take(Level.NORMAL, 4)[0]) == [2, 3]


def test_one_task_that_is_too_big_for_a_batch_goes_alone() -> None:
    queue = queue_of()
    queue.add([task(n, arguments=b"x" * (2 * BATCH_BYTES_MAX)) for n in range(2)], Level.NORMAL, 0.0)
    assert seqs(queue.take(Level.NORMAL, 9)[0]) == [0]


def test_a_task_can_be_taken_out_of_the_middle() -> None:
    lane, queue = LaneQueue(Lane.CPU_SHORT), queue_of()
    lane.add(queue, [task(seq) for seq in range(4)], Level.NORMAL, 0.0)
    lane.take(queue, 1, 0.0)
    removed = lane.remove(queue, 2, 0.1)
    assert removed is not None
    assert (removed.seq, lane.remove(queue, 99, 0.1)) == (2, None)
    assert [seq for _, seq in drained(lane, 0.1)] == [1, 3]
    assert lane.queued == 0


def test_a_whole_queue_moves_to_another_lane_with_its_ages() -> None:
    short, long, queue = LaneQueue(Lane.CPU_SHORT), LaneQueue(Lane.CPU_LONG), queue_of()
    short.add(queue, [task(seq) for seq in range(3)], Level.LOW, 1.0)
    short.leave(queue)
    long.enter(queue, 2.0)
    assert (short.queued, long.queued, short.best(unknown=False)) == (0, 3, None)
    key = long.best(unknown=False)
    assert key is not None
    assert key[2] == 1.0


def test_the_unknown_wait_apart() -> None:
    lane, queue = LaneQueue(Lane.CPU_SHORT), queue_of()
    queue.is_unknown = True
    lane.add(queue, [task(1)], Level.NORMAL, 0.0)
    assert lane.best(unknown=False) is None
    assert lane.best(unknown=True, may=lambda handler: False) is None
    lane.known(queue, is_unknown=False, now=0.1)
    assert (lane.best(unknown=True), drained(lane, 0.1)) == (None, [("a", 1)])
