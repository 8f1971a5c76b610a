"""The scheduler core: one FIFO per lane, and which worker slot may take from it. No clock, no thread, no process.

With two or more workers, slot 0 never takes tasks of a *-long lane, so that short work always finds a worker.
Every other slot takes the lane whose first task waits longest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from executor.task import Lane, Task

BATCH_TASKS_MAX = 32
BATCH_BYTES_MAX = 1_000_000


class Scheduler:
    """Holds the tasks that no worker has yet. Not thread-safe: the executor's own thread owns it."""

    def __init__(self, *, slots: int) -> None:
        self._slots = slots
        self._arrivals = 0
        self._lanes: dict[Lane, deque[tuple[int, Task]]] = {lane: deque() for lane in Lane}

    def add(self, task: Task, lane: Lane) -> None:
        self._arrivals += 1
        self._lanes[lane].append((self._arrivals, task))

    def may_take(self, slot: int, lane: Lane) -> bool:
        return not (lane.is_long and slot == 0 and self._slots >= 2)

    def slots(self, lane: Lane) -> int:
        """How many workers may take tasks of this lane."""
        return sum(self.may_take(slot, lane) for slot in range(self._slots))

    def queued(self, lane: Lane) -> int:
        return len(self._lanes[lane])

    def take(self, slot: int, *, is_brief: Callable[[Task], bool], only_brief: bool = False) -> list[Task]:
        """The next batch for this slot, [] if there is none; more than one task only if all are brief.

        `only_brief`: the slot is busy with a brief batch, so only a brief one may wait behind it.
        """
        ready = [lane for lane in Lane if self._lanes[lane] and self.may_take(slot, lane)]
        if not ready:
            return []
        lane = min(ready, key=lambda each: self._lanes[each][0][0])
        queue = self._lanes[lane]
        if not is_brief(queue[0][1]):
            return [] if only_brief else [queue.popleft()[1]]
        share = -(-len(queue) // self._slots)
        size_bytes = 0
        batch: list[Task] = []
        while queue and len(batch) < min(share, BATCH_TASKS_MAX) and is_brief(queue[0][1]):
            size_bytes += len(queue[0][1].arguments)
            if batch and size_bytes > BATCH_BYTES_MAX:
                break
            batch.append(queue.popleft()[1])
        return batch

    def take_all(self) -> list[Task]:
        """Empties every lane, oldest task first."""
        waiting = sorted((entry for queue in self._lanes.values() for entry in queue), key=lambda e: e[0])
        for queue in self._lanes.values():
            queue.clear()
        return [task for _, task in waiting]
