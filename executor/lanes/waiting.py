"""Everything that waits, found by handler: which pool and lane its queue is in, and whether its handler may start more.

A queue moves as a whole when its label changes. A queue whose handler may start nothing now is set aside (blocked) when it is met, so it
costs nothing until something of that handler ends.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from operator import itemgetter

from executor.handlers.declaration import Handler
from executor.labels.labels import Labels
from executor.lanes.handler_queue import UNLIMITED, HandlerQueue
from executor.lanes.in_flight import Batch
from executor.lanes.lane_queue import Key, LaneQueue
from executor.pools.demand import MEAN_UNKNOWN_S, LaneMean
from executor.pools.handler_use import HandlerUse
from executor.pools.pool import Pool
from executor.task import Form, Lane, Limits, Task

ALONE_FROM_ATTEMPT = 3  # what died twice in company runs alone, so that its neighbours need not die again
QUEUE_IDLE_S = 60.0  # an empty queue is forgotten after so long; kinds are made up by users

_PLACE = itemgetter(*(Task._fields.index(name) for name in ("handler", "kind", "level")))


class Waiting:
    """`uses`, `pools` and the lanes in them are read by those who choose; they change through the methods here."""

    def __init__(
        self, labels: Labels, handlers: Mapping[str, Handler], pools: Mapping[Form, Pool], limits: Limits
    ) -> None:
        self.pools = pools
        self.uses: dict[str, HandlerUse] = {}
        self.lane_running = dict.fromkeys(Lane, 0)
        self.means = {lane: LaneMean() for lane in Lane}
        self.limits = limits
        self._labels = labels
        self._handlers = handlers
        self._queues: dict[tuple[str, str, bool], HandlerQueue] = {}

    # In and out.

    def offer(self, tasks: Sequence[Task], now: float) -> None:
        buckets: dict[tuple[str, str, int], list[Task]] = {}
        for place, task in zip(map(_PLACE, tasks), tasks, strict=True):
            bucket = buckets.get(place)
            if bucket is None:
                buckets[place] = [task]
            else:
                bucket.append(task)
        for (handler, kind, level), bucket in buckets.items():
            queue = self._queue(handler, kind, alone=False, now=now)
            if queue.form is not Form.PROCESS:
                lonely = [task for task in bucket if task.attempt >= ALONE_FROM_ATTEMPT]
                if lonely:
                    self._add(self._queue(handler, kind, alone=True, now=now), lonely, level, now)
                    bucket = [task for task in bucket if task.attempt < ALONE_FROM_ATTEMPT]
            if bucket:
                self._add(queue, bucket, level, now)

    def _add(self, queue: HandlerQueue, tasks: list[Task], level: int, now: float) -> None:
        self._lane(queue).add(queue, tasks, level, now)
        self._count_arrivals(queue, len(tasks))

    def _count_arrivals(self, queue: HandlerQueue, tasks: int) -> None:
        mean_s = self._labels.mean_s(queue.handler, queue.kind)
        work_s = tasks * (MEAN_UNKNOWN_S if mean_s is None else mean_s)
        self.pools[queue.form].arrivals.add(work_s, is_long=queue.lane.is_long)
        if mean_s is not None:
            self.means[queue.lane].add(tasks, mean_s)

    def put_back(self, tasks: list[Task], queued_s: float, now: float, *, alone: bool) -> None:
        """Tasks of one batch, in their order, that were sent and never began."""
        first = tasks[0]
        queue = self._queue(first.handler, first.kind, alone=alone, now=now)
        self._lane(queue).put_back(queue, tasks, first.level, queued_s, now)

    def remove(self, seq: int, now: float) -> Task | None:
        for queue in self._queues.values():
            if queue.queued:
                task = self._lane(queue).remove(queue, seq, now)
                if task is not None:
                    return task
        return None

    def clear(self, handlers: Collection[str] | None = None, lanes: Collection[Lane] = ()) -> list[Task]:
        """Everything that waits, oldest first; or only that of these handlers and lanes."""
        found: list[tuple[float, Task]] = []
        for queue in self._queues.values():
            if queue.queued and (handlers is None or queue.handler in handlers or queue.lane in lanes):
                self._lane(queue).leave(queue)
                found += queue.clear()
        return [task for _, task in sorted(found, key=itemgetter(0))]

    # What may start.

    def best(self, lane: LaneQueue, now: float, *, unknown: bool, probe: bool = False) -> Key | None:
        """What is next in this lane and may start; a `probe` is of a handler and kind of which nothing runs."""
        while True:
            key = lane.best(unknown=unknown, may=self._is_idle if probe else None)
            if key is None:
                return None
            queue = key[4]
            use = self.uses[queue.handler]
            if use.free(queue) <= 0:
                use.holds = True
                lane.block(queue)
                continue
            return key

    def lane_free(self, lane: Lane) -> int:
        """How many more tasks of the lane the operator lets start."""
        limits = self.limits
        if lane in limits.paused_lanes:
            return 0
        if limits.lanes is None:
            return UNLIMITED
        return limits.lanes.get(lane, UNLIMITED) - self.lane_running[lane]

    def began(self, batch: Batch, tasks: int) -> None:
        queue = batch.queue
        self.uses[queue.handler].began(queue, batch.form, tasks)
        self.lane_running[batch.lane] += 1 if batch.form is Form.PROCESS else tasks

    def ended(self, batch: Batch, tasks: int, now: float, *, is_over: bool) -> None:
        """So many of the batch are over; `is_over`: they were the last."""
        use = self.uses[batch.queue.handler]
        use.ended(batch.queue, batch.form, tasks, is_whole=is_over)
        if batch.form is not Form.PROCESS:
            self.lane_running[batch.lane] -= tasks
        elif is_over:
            self.lane_running[batch.lane] -= 1
        if use.holds:
            self.release(use, now)

    def release(self, use: HandlerUse, now: float) -> None:
        """Sets what was blocked free, if its handler may start something."""
        use.holds = False
        for queue in use.queues:
            if queue.is_blocked:
                if use.free(queue) > 0:
                    self._lane(queue).unblock(queue, now)
                else:
                    use.holds = True

    def release_handler(self, handler: str, now: float) -> None:
        """A limit of it has changed."""
        use = self.uses.get(handler)
        if use is not None and use.holds:
            self.release(use, now)

    @staticmethod
    def _is_idle(queue: HandlerQueue) -> bool:
        return queue.batches == 0

    # Labels and limits.

    def relabel(self, handler: str, kind: str, now: float) -> None:
        """The label may have changed: the queue goes where it belongs. Kinds beyond count share the label of the kind ""."""
        use = self.uses.get(handler)
        for queue in () if use is None else tuple(use.queues):
            if kind not in ("", queue.kind):
                continue
            form, lane = self._where(handler, queue.kind, alone=queue.alone)
            if form is not queue.form or lane is not queue.lane:
                self._lane(queue).leave(queue)
                queue.form, queue.lane = form, lane
                queue.is_unknown = self._is_unknown(queue)
                self.pools[form].is_wanted = True
                if queue.queued:
                    self._lane(queue).enter(queue, now)
                    self._count_arrivals(queue, queue.queued)
            self.learnt(queue, now)

    def learnt(self, queue: HandlerQueue, now: float) -> None:
        """Something was measured: perhaps it is known now."""
        if queue.is_unknown and not self._is_unknown(queue):
            self._lane(queue).known(queue, is_unknown=False, now=now)

    def find(self, handler: str, kind: str) -> HandlerQueue | None:
        return self._queues.get((handler, kind, False))

    def tune(self, limits: Limits, now: float) -> None:
        self.limits = limits
        for use in self.uses.values():
            self._limit(use)
            self.release(use, now)

    def _limit(self, use: HandlerUse) -> None:
        handler = self._handlers.get(use.name)
        declared = None if handler is None else handler.max_running
        said = None if self.limits.handlers is None else self.limits.handlers.get(use.name)
        use.limit = min(
            UNLIMITED if declared is None else declared, UNLIMITED if said is None else max(0, said)
        )
        use.is_paused = use.name in self.limits.paused_handlers

    # Queues.

    def queues(self) -> list[HandlerQueue]:
        return list(self._queues.values())

    def forget_idle(self, now: float) -> None:
        """Drops queues and uses that had nothing for a while."""
        for key, queue in list(self._queues.items()):
            if queue.queued == 0 and now - queue.used_s > QUEUE_IDLE_S:
                use = self.uses[queue.handler]
                if use.running == 0:
                    del self._queues[key]
                    use.queues.remove(queue)
                    if not use.queues:
                        del self.uses[queue.handler]

    def _queue(self, handler: str, kind: str, *, alone: bool, now: float) -> HandlerQueue:
        queue = self._queues.get((handler, kind, alone))
        if queue is None:
            form, lane = self._where(handler, kind, alone=alone)
            queue = HandlerQueue(handler, kind, alone=alone, form=form, lane=lane)
            queue.is_unknown = self._is_unknown(queue)
            self._queues[handler, kind, alone] = queue
            self.pools[form].is_wanted = True
            use = self.uses.get(handler)
            if use is None:
                use = self.uses[handler] = HandlerUse(handler)
                self._limit(use)
            use.queues.append(queue)
        queue.used_s = now
        return queue

    def _where(self, handler: str, kind: str, *, alone: bool) -> tuple[Form, Lane]:
        form = Form.PROCESS if alone else self._labels.form(handler, kind)
        return form, self._labels.lane(handler, kind)

    def _is_unknown(self, queue: HandlerQueue) -> bool:
        """Short as far as one knows, which is not far. What is declared counts as known; among long work it makes no difference."""
        if queue.lane.is_long:
            return False
        declared = self._handlers.get(queue.handler)
        if declared is not None and declared.lane is not None:
            return False
        return self._labels.is_unknown(queue.handler, queue.kind)

    def _lane(self, queue: HandlerQueue) -> LaneQueue:
        return self.pools[queue.form].lanes[queue.lane]
