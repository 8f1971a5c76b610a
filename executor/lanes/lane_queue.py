"""What waits in one lane: many handlers, and which of them is next.

Lowest level first, aged as it is; between handlers of one level, the one that had the fewest seconds of work served here (start-time fair
queueing): a handler with a million tasks delays another by its share only. A handler that wakes up starts at the clock of the lane, so an
idle hour is no credit. Handlers of which little is known wait in a heap of their own, because they may use fewer slots.

The order is a heap of keys that may be old: ages are brought up to date by `refresh`, served seconds when a key reaches the top (they only
grow, so a late correction finds the right one).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush, heapreplace

from executor.lanes.handler_queue import HandlerQueue
from executor.task import Lane, Task

AGE_S_MIN = 1.0
AGE_MEDIANS = 10.0  # a task rises a level each time it has waited ten times as long as half of the lane does
WAITS_KEPT = 101

Key = tuple[int, float, float, int, HandlerQueue]  # level now, served seconds, queued at, stamp, queue


class LaneQueue:
    """`queued` counts tasks, `blocked` those of them whose handler is at a limit or paused."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.queued = 0
        self.blocked = 0
        self.age_s = AGE_S_MIN
        self.median_wait_s = 0.0
        self.taken_s = 0.0
        self._known: list[Key] = []
        self._unknown: list[Key] = []
        self._served_s: dict[str, float] = {}
        self._active: dict[str, int] = {}  # handler -> queues of it that hold tasks
        self._clock_s = 0.0
        self._stamp = 0
        self._waits: deque[float] = deque(maxlen=WAITS_KEPT)

    @property
    def runnable(self) -> int:
        return self.queued - self.blocked

    def add(self, queue: HandlerQueue, tasks: list[Task], level: int, now: float) -> None:
        """New tasks."""
        was = queue.queued
        # Behind others of its level it changes nothing of the order.
        is_new_head = not queue.levels[level]
        queue.add(tasks, level, now)
        self._grown(queue, was)
        if is_new_head:
            self._place(queue, now)

    def put_back(
        self, queue: HandlerQueue, tasks: list[Task], level: int, queued_s: float, now: float
    ) -> None:
        """Tasks that were taken and never began."""
        was = queue.queued
        queue.put_back(tasks, level, queued_s)
        self._grown(queue, was)
        self._place(queue, now)

    def enter(self, queue: HandlerQueue, now: float) -> None:
        """A whole queue comes from another lane."""
        if queue.queued:
            self._grown(queue, 0)
            self._place(queue, now)

    def leave(self, queue: HandlerQueue) -> None:
        """A whole queue goes to another lane, or is about to be emptied."""
        queue.stamp = 0
        for heap in (
            self._known,
            self._unknown,
        ):  # its keys must not come true again by a stamp of the other lane
            heap[:] = [key for key in heap if key[4] is not queue]
            heapify(heap)
        self._shrunk(queue, queue.queued, is_empty=True)

    def best(self, *, unknown: bool, may: Callable[[HandlerQueue], bool] | None = None) -> Key | None:
        """The key that is next among the known or the unknown; `may` leaves out queues."""
        heap = self._unknown if unknown else self._known
        while heap:
            key = heap[0]
            queue = key[4]
            if key[3] != queue.stamp:
                heappop(heap)
                continue
            served_s = self._served_s[queue.handler]
            if served_s != key[1]:
                heapreplace(heap, (key[0], served_s, key[2], key[3], queue))
                continue
            if may is None or may(queue):
                return key
            return self._best_of(heap, may)
        return None

    def _best_of(self, heap: list[Key], may: Callable[[HandlerQueue], bool]) -> Key | None:
        found: Key | None = None
        for key in heap:
            queue = key[4]
            if key[3] == queue.stamp and may(queue):
                true = (key[0], self._served_s[queue.handler], key[2], key[3], queue)
                if found is None or true < found:
                    found = true
        return found

    def take(self, queue: HandlerQueue, tasks_max: int, now: float) -> tuple[list[Task], float]:
        """A batch of this queue, and since when its oldest task waits."""
        level = queue.head(now, self.age_s)[2]
        tasks, queued_s = queue.take(level, tasks_max)
        self._shrunk(queue, len(tasks), is_empty=queue.queued == 0)
        self._waits.append(now - queued_s)
        self.taken_s = now
        served_s = self._served_s[queue.handler]
        if served_s > self._clock_s:
            self._clock_s = served_s
        queue.used_s = now
        self._place(queue, now)
        return tasks, queued_s

    def charge(self, handler: str, work_s: float) -> None:
        """Seconds of work given to a handler; negative when less was used than charged before."""
        served_s = self._served_s.get(handler)
        if served_s is not None:
            self._served_s[handler] = max(0.0, served_s + work_s)

    def remove(self, queue: HandlerQueue, seq: int, now: float) -> Task | None:
        task = queue.remove(seq)
        if task is not None:
            self._shrunk(queue, 1, is_empty=queue.queued == 0)
            self._place(queue, now)
        return task

    def block(self, queue: HandlerQueue) -> None:
        """Its handler may not start anything now."""
        if not queue.is_blocked:
            queue.is_blocked = True
            queue.stamp = 0
            self.blocked += queue.queued

    def unblock(self, queue: HandlerQueue, now: float) -> None:
        if queue.is_blocked:
            queue.is_blocked = False
            self.blocked -= queue.queued
            if queue.queued:
                self._wake(queue.handler)
                self._place(queue, now)

    def known(self, queue: HandlerQueue, *, is_unknown: bool, now: float) -> None:
        """What is known of it has changed."""
        if queue.is_unknown != is_unknown:
            queue.is_unknown = is_unknown
            self._place(queue, now)

    def refresh(self, now: float) -> None:
        """Ages, median wait, order: all up to date. Forgets handlers that wait for nothing and are owed nothing."""
        if self._waits:
            self.median_wait_s = sorted(self._waits)[len(self._waits) // 2]
            self.age_s = max(AGE_S_MIN, AGE_MEDIANS * self.median_wait_s)
        for heap in (self._known, self._unknown):
            fresh = [
                (*key[4].head(now, self.age_s)[:1], self._served_s[key[4].handler], key[2], key[3], key[4])
                for key in heap
                if key[3] == key[4].stamp
            ]
            heap[:] = fresh
            heapify(heap)
        for handler in [name for name, count in self._active.items() if count == 0]:
            if self._served_s[handler] <= self._clock_s:
                del self._active[handler], self._served_s[handler]

    def served_s(self) -> dict[str, float]:
        return dict(self._served_s)

    def _grown(self, queue: HandlerQueue, was: int) -> None:
        count = queue.queued - was
        self.queued += count
        if queue.is_blocked:
            self.blocked += count
        if was == 0:
            active = self._active.get(queue.handler, 0)
            self._active[queue.handler] = active + 1
            if active == 0:
                self._wake(queue.handler)

    def _shrunk(self, queue: HandlerQueue, count: int, *, is_empty: bool) -> None:
        self.queued -= count
        if queue.is_blocked:
            self.blocked -= count
        if is_empty and count:
            self._active[queue.handler] -= 1

    def _wake(self, handler: str) -> None:
        self._served_s[handler] = max(self._served_s.get(handler, 0.0), self._clock_s)

    def _place(self, queue: HandlerQueue, now: float) -> None:
        if queue.queued == 0 or queue.is_blocked:
            queue.stamp = 0
            return
        self._stamp += 1
        queue.stamp = self._stamp
        level, queued_s, _ = queue.head(now, self.age_s)
        heap = self._unknown if queue.is_unknown else self._known
        heappush(heap, (level, self._served_s[queue.handler], queued_s, self._stamp, queue))
