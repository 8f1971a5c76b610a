"""Room in seconds of work."""

from __future__ import annotations

import pytest

from executor.pools.demand import MEAN_UNKNOWN_S, QUEUE_TASKS_MAX, LaneMean, queue_tasks, room

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("mean_s", "tasks"),
    [
        (0.005, 800),
        (60.0, 8),
        (1e-7, QUEUE_TASKS_MAX),
        (0.0, min(QUEUE_TASKS_MAX, round(8 * 0.5 / MEAN_UNKNOWN_S))),
    ],
)
def test_half_a_second_of_work_and_a_task_for_each_place(mean_s: float, tasks: int) -> None:
    assert queue_tasks(slots=8, mean_s=mean_s) == tasks


def test_tasks_that_wait_for_a_limit_of_their_own_take_no_room_of_others_up_to_the_hard_bound() -> None:
    assert room(slots=8, mean_s=0.005, queued=800, blocked=0) == 0
    assert room(slots=8, mean_s=0.005, queued=800, blocked=700) == 700
    assert room(slots=8, mean_s=0.005, queued=QUEUE_TASKS_MAX, blocked=QUEUE_TASKS_MAX) == 0


def test_the_mean_of_a_lane_follows_what_is_offered() -> None:
    mean = LaneMean()
    assert mean.mean_s == 0.0
    mean.add(100, 0.01)
    assert mean.mean_s == pytest.approx(0.01)
    mean.add(2_000, 1.0)
    assert mean.mean_s > 0.9
