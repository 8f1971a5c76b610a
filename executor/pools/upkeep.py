"""What is done to the pools as time goes by: reserve, size, staff, recycling, limits. Each decision is noted with its reason."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from executor.handlers.declaration import Handler
from executor.labels.labels import Labels
from executor.lanes.diary import Diary
from executor.lanes.handler_queue import HandlerQueue
from executor.lanes.in_flight import Runner, RunnerState
from executor.lanes.instructions import Instruction, Kill
from executor.pools.limiter import Limiter
from executor.pools.pool import Pool
from executor.pools.pressure import Pressure
from executor.pools.reserve import reserve
from executor.pools.sizing import Sizing
from executor.pools.staffing import Staffing
from executor.task import Form, Limits, Resource, Sample, Status

THREADS_FIRST = 8
LOOP_TASKS = 256
HELLO_S_MAX = 30.0  # an import that takes longer is stuck
RSS_GROWTH_BYTES_MAX = 300 * 1024 * 1024
ABANDONED_MAX = 8  # threads of a process that were given up and still run
JITTER = 0.1  # of task counts, so that runners are not replaced all at once
GOLDEN = 0.618033988749895


class Upkeep:
    """Owns the pools. `workers`: how many long tasks may run in processes at once, unless the operator says otherwise."""

    def __init__(
        self,
        labels: Labels,
        handlers: Mapping[str, Handler],
        diary: Diary,
        next_runner: Callable[[], int],
        *,
        workers: int,
        cores: int,
    ) -> None:
        self.pools = {
            Form.PROCESS: Pool(Form.PROCESS, each=1, cores=cores),
            Form.THREADS: Pool(Form.THREADS, each=THREADS_FIRST, cores=cores),
            Form.LOOP: Pool(Form.LOOP, each=LOOP_TASKS, cores=cores),
        }
        self.pressure = Pressure()
        self._labels = labels
        self._handlers = handlers
        self._diary = diary
        self._workers = workers
        self._staffing = Staffing(next_runner, diary)
        self._sizings = {form: Sizing(self.pools[form], cores=cores) for form in (Form.THREADS, Form.LOOP)}
        self._limiters: dict[HandlerQueue, Limiter] = {}
        self._handlers_seen = -1

    # Events.

    def tune(self, limits: Limits) -> None:
        """The operator's bounds."""
        process = self.pools[Form.PROCESS]
        workers = self._workers if limits.workers is None else max(1, limits.workers)
        process.slots = workers + 1  # the reserved place comes on top of those for long work
        self._sizings[Form.THREADS].total_max = limits.io_threads_max
        self._sizings[Form.LOOP].total_max = limits.loop_tasks_max
        for sizing in self._sizings.values():
            sizing.bound()
        for pool in self.pools.values():
            pool.reserve = max(1, min(pool.reserve, pool.slots - 1))
        self._tell_labels()

    def measured(
        self, queue: HandlerQueue, samples: Sequence[Sample], count: int, timed_out: int, now: float
    ) -> bool:
        """Of tasks in threads or event loops. True when the limit of their queue has changed."""
        sizing = self._sizings.get(queue.form)
        if sizing is None:
            return False
        limiter = self._limiters.get(queue)
        if limiter is None:
            limiter = self._limiters[queue] = Limiter()
        why = None
        if samples:
            sizing.measured(samples, count)
            wall_s = sum(sample.wall_s for sample in samples) * count / len(samples)
            why = limiter.add(wall_s, count, queue.running + count, now)
        if timed_out:
            why = limiter.timed_out()
        changed = queue.limit != limiter.limit
        queue.limit = limiter.limit
        if why is not None:
            self._diary.note(now, f"limit of {queue.handler}", f"at once {why.split(':')[0]}", why)
        return changed

    def beat(
        self,
        pool: Pool,
        runner: Runner,
        rss_bytes: int,
        probe_s: float,
        abandoned: int,
        now: float,
        out: list[Instruction],
    ) -> None:
        if runner.rss_start_bytes == 0:
            runner.rss_start_bytes = rss_bytes
        runner.rss_bytes = rss_bytes
        sizing = self._sizings.get(pool.form)
        if sizing is not None:
            sizing.probe_s = probe_s
        grown_bytes = rss_bytes - runner.rss_start_bytes
        if grown_bytes > RSS_GROWTH_BYTES_MAX:
            self._staffing.drain(runner, f"its memory grew by {grown_bytes >> 20} MB", now, out)
        if abandoned >= ABANDONED_MAX:
            self._staffing.drain(runner, f"{abandoned} threads of it were given up and still run", now, out)

    def did(self, runner: Runner, handler: str, tasks: int, now: float, out: list[Instruction]) -> None:
        """Tasks of a handler ended in a runner: it may be worn out."""
        declared = self._handlers.get(handler)
        if declared is None or declared.recycle_after is None:
            return
        done = runner.done[handler] = runner.done.get(handler, 0) + tasks
        spread = 1 + JITTER * (2 * (runner.number * GOLDEN % 1) - 1)
        if done >= max(1, int(declared.recycle_after * spread)):
            self._staffing.drain(runner, f"{done} tasks of {handler!r} ran in it", now, out)

    def gone(self, pool: Pool, runner: Runner, now: float, *, early: bool, why: str) -> None:
        was_asked = runner.state is RunnerState.DRAINING
        wait_s = self._staffing.gone(pool, runner, now, early=early and not was_asked)
        if not was_asked:
            decision = "is replaced" if wait_s is None else f"is replaced in {wait_s:.1f} s"
            self._diary.note(now, f"runner {runner.number} ({pool.form})", decision, why or "it ended")

    def gauges(self, memory_share: float, cpu_pressure: float, now: float) -> None:
        process = self.pools[Form.PROCESS]
        for decision, why in self.pressure.gauges(memory_share, cpu_pressure, process.long_slots, now):
            self._diary.note(now, "node", decision, why)
        process.squeezed = self.pressure.squeezed
        for pool in self.pools.values():
            pool.no_spares = self.pressure.is_short_of_memory

    # Time.

    def see_handlers(self) -> None:
        """Threads and event loops are started when a handler needs them, not for nothing."""
        if len(self._handlers) != self._handlers_seen:
            self._handlers_seen = len(self._handlers)
            for name in list(self._handlers):
                self.pools[self._labels.form(name, "")].is_wanted = True

    def tick(self, now: float, out: list[Instruction]) -> None:
        """Each half second."""
        self.see_handlers()
        for pool in self.pools.values():
            if pool.arrivals.turn(now):
                self._reserve(pool, now)
            sizing = self._sizings.get(pool.form)
            if sizing is not None and pool.is_wanted:
                for decision, why in sizing.tick(now):
                    self._diary.note(now, f"pool {pool.form}", decision, why)
            self._staffing.shed(pool, now, out)
            for runner in pool.runners.values():
                if runner.state is RunnerState.STARTING and now - runner.started_s > HELLO_S_MAX:
                    runner.state = RunnerState.DOOMED
                    why = f"runner {runner.number} did not say hello within {HELLO_S_MAX:.0f} s"
                    out.append(Kill(runner=runner.number, number=None, status=Status.DIED, why=why))
        self._tell_labels()

    def staff(self, now: float, out: list[Instruction]) -> None:
        """Runners for the places there should be."""
        for pool in self.pools.values():
            self._staffing.staff(pool, now, out)
            sizing = self._sizings.get(pool.form)
            if sizing is not None:
                sizing.fit(out)

    @property
    def start_s(self) -> float:
        """When a start that had to wait is due; infinite if none is."""
        return min((pool.start_at_s for pool in self.pools.values() if pool.early_deaths), default=math.inf)

    def forget(self, queues: Sequence[HandlerQueue]) -> None:
        """Limits of all queues but these."""
        if len(self._limiters) > len(queues):
            kept = set(queues)
            self._limiters = {queue: limiter for queue, limiter in self._limiters.items() if queue in kept}

    def _reserve(self, pool: Pool, now: float) -> None:
        before = pool.reserve
        pool.reserve = reserve(slots=pool.slots, short=pool.arrivals.short, long=pool.arrivals.long)
        if pool.reserve != before:
            self._diary.note(
                now,
                f"pool {pool.form}",
                f"reserve {before} -> {pool.reserve} of {pool.slots}",
                f"{pool.arrivals.short:.2f} places of short work arrive, {pool.arrivals.long:.2f} of long",
            )

    def _tell_labels(self) -> None:
        """The relative law counts in places."""
        self._labels.resize(Resource.CPU, self.pools[Form.PROCESS].slots)
        io = [self.pools[form] for form in (Form.THREADS, Form.LOOP) if self.pools[form].is_wanted]
        self._labels.resize(Resource.IO, sum(pool.slots for pool in io))
