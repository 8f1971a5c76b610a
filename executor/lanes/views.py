"""The scheduler as others see it: room of each lane, statistics of lanes and runners."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from executor.labels.labels import Labels
from executor.lanes.waiting import Waiting
from executor.pools import demand
from executor.pools.pool import Pool
from executor.task import Form, Lane, LaneStatistics, Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerView:
    """One runner, as the scheduler sees it. `running` counts tasks."""

    number: int
    form: Form
    is_long: bool
    slots: int
    running: int
    state: str
    rss_bytes: int


def slots_of(pools: Mapping[Form, Pool], lane: Lane) -> int:
    """How many tasks of the lane may run at once. Before there is a thread or an event loop, io work could only run in processes."""
    process = pools[Form.PROCESS]
    places = [process]
    if lane.resource is Resource.IO:
        places = [pools[form] for form in (Form.THREADS, Form.LOOP) if pools[form].is_wanted] or [process]
    return sum(pool.long_slots if lane.is_long else pool.slots for pool in places)


def rooms(pools: Mapping[Form, Pool], waiting: Waiting) -> dict[Lane, int]:
    """How many more tasks each lane wants; none while it is paused."""
    answer: dict[Lane, int] = {}
    for lane in Lane:
        queued = blocked = 0
        for pool in pools.values():
            queue = pool.lanes[lane]
            queued += queue.queued
            blocked += queue.blocked
        mean_s = waiting.means[lane].mean_s
        answer[lane] = demand.room(slots=slots_of(pools, lane), mean_s=mean_s, queued=queued, blocked=blocked)
    for lane in waiting.limits.paused_lanes:
        answer[lane] = 0
    return answer


def lane_statistics(
    pools: Mapping[Form, Pool], waiting: Waiting, labels: Labels, lane_rooms: Mapping[Lane, int]
) -> dict[Lane, LaneStatistics]:
    """A picture of now. `running` counts a batch of brief tasks in a process once."""
    backlog_s = dict.fromkeys(Lane, 0.0)
    for queue in waiting.queues():
        mean_s = labels.mean_s(queue.handler, queue.kind)
        backlog_s[queue.lane] += queue.queued * (demand.MEAN_UNKNOWN_S if mean_s is None else mean_s)
    return {
        lane: LaneStatistics(
            queued=sum(pool.lanes[lane].queued for pool in pools.values()),
            running=waiting.lane_running[lane],
            slots=slots_of(pools, lane),
            room=lane_rooms[lane],
            backlog_s=backlog_s[lane],
            mean_s=waiting.means[lane].mean_s,
            median_wait_s=max(pool.lanes[lane].median_wait_s for pool in pools.values()),
        )
        for lane in Lane
    }


def runner_views(pools: Mapping[Form, Pool]) -> list[RunnerView]:
    return [
        RunnerView(
            number=runner.number,
            form=pool.form,
            is_long=runner.is_long,
            slots=runner.slots,
            running=sum(batch.left for batch in runner.batches),
            state=runner.state.value,
            rss_bytes=runner.rss_bytes,
        )
        for pool in pools.values()
        for runner in pool.runners.values()
    ]
