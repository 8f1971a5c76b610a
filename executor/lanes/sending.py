"""What is sent next: a free place takes short work first, and long work only outside of the reserve.

If long work waits and none of it runs, it goes first: so it always moves, however much short work there is. Work of which little is
known counts as long when places are given out, but a probe of it may run in the reserve. When no place is free, brief tasks are sent one
batch ahead, so that a runner need not wait for its next batch; nothing is ever sent behind work that is not brief.
"""

from __future__ import annotations

from executor.labels.labels import Labels
from executor.lanes.handler_queue import HandlerQueue
from executor.lanes.in_flight import Batch, Runner
from executor.lanes.instructions import Instruction, Renice, Send
from executor.lanes.lane_queue import Key
from executor.lanes.waiting import Waiting
from executor.pools.pool import Pool
from executor.task import Form

BATCH_WORTH_S = 0.0001  # sending a batch costs about 20 us: few tasks are shared out among runners only in parts worth more
ESTIMATE_UNKNOWN_S = 0.01  # charged for a task that was never measured; put right when it ends


class Sending:
    """Numbers batches and keeps the counts of pools and handlers true."""

    def __init__(self, labels: Labels, waiting: Waiting) -> None:
        self._labels = labels
        self._waiting = waiting
        self._number = 0

    def fill(self, pool: Pool, now: float, out: list[Instruction]) -> None:
        """Sends all that may be sent."""
        while True:
            if pool.free > 0 and pool.has_place():
                key = self._next(pool, now)
                if key is None:
                    return
                is_long = key[4].lane.is_long
                runner = pool.place(is_long=is_long)
                assert runner is not None, "a pool with a place has a runner for it"
                if is_long and pool.form is Form.PROCESS and not runner.is_long:
                    runner.is_long = True
                    out.append(Renice(runner=runner.number))
                self._send(pool, runner, key[4], pool.free, now, out)
            else:
                runner = pool.place_ahead()
                if runner is None:
                    return
                key = self._next_brief(pool, now)
                if key is None:
                    return
                self._send(pool, runner, key[4], pool.slots, now, out)

    def _next(self, pool: Pool, now: float) -> Key | None:
        long = self._best_long(pool, now) if pool.may_start_long() else None
        if long is not None and pool.running_long == 0:
            return long
        return self._best_short(pool, now) or long

    def _best_long(self, pool: Pool, now: float) -> Key | None:
        best: Key | None = None
        for lane in pool.long_lanes:
            if lane.queued and self._waiting.lane_free(lane.lane) > 0:
                best = _older(best, self._waiting.best(lane, now, unknown=False))
        return best

    def _best_short(self, pool: Pool, now: float) -> Key | None:
        best: Key | None = None
        for lane in pool.short_lanes:
            if lane.queued and self._waiting.lane_free(lane.lane) > 0:
                known = self._waiting.best(lane, now, unknown=False)
                unknown = None
                if pool.may_start_unknown():
                    unknown = self._waiting.best(lane, now, unknown=True)
                elif pool.may_probe():
                    unknown = self._waiting.best(lane, now, unknown=True, probe=True)
                if known is None or (unknown is not None and unknown < known):
                    known = unknown
                best = _older(best, known)
        return best

    def _next_brief(self, pool: Pool, now: float) -> Key | None:
        """What is next of the short work, if it is brief."""
        best: Key | None = None
        for lane in pool.short_lanes:
            if lane.queued and self._waiting.lane_free(lane.lane) > 0:
                best = _older(best, self._waiting.best(lane, now, unknown=False))
        if best is None or self._labels.batch_tasks(best[4].handler, best[4].kind) == 1:
            return None
        return best

    def _send(
        self, pool: Pool, runner: Runner, queue: HandlerQueue, places: int, now: float, out: list[Instruction]
    ) -> None:
        lane = pool.lanes[queue.lane]
        is_long, is_unknown = queue.lane.is_long, queue.is_unknown
        mean_s = self._labels.mean_s(queue.handler, queue.kind)
        tasks_max = 1
        if not (is_long or is_unknown):
            tasks_max = self._labels.batch_tasks(queue.handler, queue.kind)
        is_brief = tasks_max > 1
        if is_brief:
            share = -(-queue.queued // places)
            worth = int(BATCH_WORTH_S / mean_s) if mean_s else 1
            tasks_max = min(tasks_max, max(share, worth, 1))
            if pool.form is not Form.PROCESS:
                free = min(self._waiting.uses[queue.handler].free(queue), self._waiting.lane_free(queue.lane))
                tasks_max = max(1, min(tasks_max, free))
        tasks, queued_s = lane.take(queue, tasks_max, now)
        estimate_s = len(tasks) * (ESTIMATE_UNKNOWN_S if mean_s is None else mean_s)
        batch = Batch(
            self._number + 1,
            tasks,
            queue,
            queued_s=queued_s,
            sent_s=now,
            estimate_s=estimate_s,
            is_long=is_long,
            is_unknown=is_unknown,
            is_brief=is_brief,
        )
        self._number += len(tasks)
        pool.occupy(runner, batch)
        self._waiting.began(batch, len(tasks))
        lane.charge(queue.handler, estimate_s)
        out.append(Send(runner=runner.number, first=batch.first, tasks=tasks))

    # The other end.

    def ended(
        self, pool: Pool, runner: Runner, batch: Batch, tasks: int, now: float, *, is_over: bool
    ) -> None:
        """So many tasks of a batch are over, in whatever way; the last of them frees the place."""
        if is_over:
            pool.vacate(runner, batch)
            used_s = now - batch.began_s
            pool.lanes[batch.lane].charge(batch.queue.handler, used_s - batch.estimate_s)
            if runner.slots == 1 and runner.batches:
                runner.batches[0].began_s = now
        self._waiting.ended(batch, tasks, now, is_over=is_over)


def _older(one: Key | None, other: Key | None) -> Key | None:
    """Of two lanes: the lower level, then what waits longer. Served seconds compare within a lane only."""
    if one is None or other is None:
        return other if one is None else one
    return one if (one[0], one[2]) <= (other[0], other[2]) else other
