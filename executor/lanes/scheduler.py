"""The scheduler: told what happened, it answers what is to be done. No clock, no thread, no process; the executor's own thread calls it.

Three pools (processes, threads, event loops), in each four lanes, in each handlers with their queues. The parts: `waiting` has what is
not sent, `sending` chooses, `watch` looks at what runs; `pools/` has how many runners and places there should be.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from executor.handlers.declaration import Handler
from executor.labels.labels import Labels
from executor.lanes.diary import Diary
from executor.lanes.in_flight import Runner, RunnerState
from executor.lanes.instructions import Instruction, Kill
from executor.lanes.sending import Sending
from executor.lanes.views import RunnerView, lane_statistics, rooms, runner_views
from executor.lanes.waiting import Waiting
from executor.lanes.watch import Watch
from executor.pools.pool import Pool
from executor.pools.upkeep import Upkeep
from executor.task import Form, Label, Lane, LaneStatistics, Limits, Reason, Sample, Status, Task

REFRESH_S = 0.25  # ages rise by seconds
SIZING_S = 0.5
DEATH_COST_S = 0.2  # charged to the handler that ended its process: what a new one and its imports cost


class Scheduler:
    """`handlers` is the executor's own mapping, which grows. `workers`: how many long tasks may run in processes at once."""

    def __init__(
        self,
        labels: Labels,
        *,
        handlers: Mapping[str, Handler],
        workers: int,
        cores: int,
        limits: Limits | None = None,
    ) -> None:
        self._labels = labels
        self._diary = Diary()
        self._upkeep = Upkeep(labels, handlers, self._diary, self._next_runner, workers=workers, cores=cores)
        self.pools = self._upkeep.pools
        self.waiting = Waiting(labels, handlers, self.pools, limits or Limits())
        self._sending = Sending(labels, self.waiting)
        self._watch = Watch(labels, handlers, self._diary)
        self._runners: dict[int, tuple[Pool, Runner]] = {}
        self._runner_number = 0
        self._out: list[Instruction] = []
        self._changed: dict[tuple[str, str], Label] = {}
        self._is_staffed = False
        self._is_stopping = False
        self._refreshed_s = self._sized_s = -1.0
        self.tune(limits or Limits(), 0.0)

    # Runners.

    def ready(self, runner: int, now: float) -> None:
        """It said hello; the handlers it declared are in `handlers`."""
        found = self._runners.get(runner)
        if found is None:
            return
        pool, known = found
        if known.state is RunnerState.STARTING:
            known.state = RunnerState.READY
        pool.early_deaths, pool.start_at_s = 0, 0.0  # its modules load again: no need to wait
        self._upkeep.see_handlers()
        self._is_staffed = False

    def gone(self, runner: int, now: float, *, early: bool, why: str = "") -> None:
        """Its process is over; every task of it was told as ended or returned before. `early`: it never ran anything."""
        found = self._runners.get(runner)
        if found is None:
            return
        pool, known = found
        for batch in list(known.batches):  # none, if the shell kept its word; no task is lost if it did not
            self.returned(runner, batch.open_numbers(), now)
        del self._runners[runner]
        last = known.last_ended
        if last is not None and known.state is RunnerState.READY:
            pool.lanes[last.lane].charge(last.queue.handler, DEATH_COST_S)
        self._upkeep.gone(pool, known, now, early=early, why=why)
        self._is_staffed = False

    def beat(
        self,
        runner: int,
        rss_bytes: int,
        probe_s: float,
        now: float,
        *,
        stuck_number: int = 0,
        abandoned: int = 0,
    ) -> None:
        """What a runner says of itself twice a second. `stuck_number`: its event loop hangs in this task."""
        found = self._runners.get(runner)
        if found is None:
            return
        pool, known = found
        self._upkeep.beat(pool, known, rss_bytes, probe_s, abandoned, now, self._out)
        if stuck_number and known.state is not RunnerState.DOOMED:
            known.state = RunnerState.DOOMED
            why = "its event loop did not turn for 5 s: the handler blocks it; declare it without async, or await"
            self._out.append(Kill(runner=runner, number=stuck_number, status=Status.TIMED_OUT, why=why))
        self._is_staffed = False

    # Tasks.

    def offer(self, tasks: Sequence[Task], now: float) -> None:
        self.waiting.offer(tasks, now)

    def ended(self, runner: int, numbers: Sequence[int], now: float) -> list[Task | None]:
        """These are over, in whatever way. The tasks, in the order of their numbers; None for a number that is not open."""
        found = self._runners.get(runner)
        if found is None:
            return [None] * len(numbers)
        pool, known = found
        tasks: list[Task | None] = []
        for batch, part, is_over in known.close(numbers):
            if batch is not None:
                count = len(part) - part.count(None)
                known.last_ended = batch
                self._sending.ended(pool, known, batch, count, now, is_over=is_over)
                self._upkeep.did(known, batch.queue.handler, count, now, self._out)
            tasks += part
        return tasks

    def returned(self, runner: int, numbers: Sequence[int], now: float) -> None:
        """These were sent and never began: they wait again where they waited."""
        found = self._runners.get(runner)
        if found is None:
            return
        pool, known = found
        for batch, part, is_over in reversed(known.close(numbers)):  # each goes in front: the oldest last
            if batch is not None:
                tasks = [task for task in part if task is not None]
                self._sending.ended(pool, known, batch, len(tasks), now, is_over=is_over)
                self.waiting.put_back(tasks, batch.queued_s, now, alone=batch.queue.alone)

    def measured(
        self,
        handler: str,
        kind: str,
        samples: Sequence[Sample],
        count: int,
        now: float,
        *,
        timed_out: int = 0,
    ) -> None:
        """`count` tasks ended in a runner; samples tell of some of them."""
        self._relabelled(self._labels.observe(handler, kind, samples, count, now), now)
        queue = self.waiting.find(handler, kind)
        if queue is None:
            return
        if queue.is_unknown:
            self.waiting.learnt(queue, now)
        if queue.form is not Form.PROCESS and self._upkeep.measured(queue, samples, count, timed_out, now):
            self.waiting.release_handler(handler, now)

    def looked(self, runner: int, running: Sequence[tuple[int, float]], now: float) -> None:
        """What its slots show: (number, started at) of each task that runs."""
        found = self._runners.get(runner)
        if found is not None:
            pool, known = found
            spares = pool.spares
            self._relabelled(self._watch.looked(pool, known, running, now, self._out), now)
            if pool.spares != spares:
                self._is_staffed = False

    def cancel(self, seq: int, now: float) -> Task | tuple[int, int] | None:
        """It waited: the task, now forgotten. It is in a runner: (runner, number). Else None."""
        task = self.waiting.remove(seq, now)
        if task is not None:
            return task
        for number, (_, runner) in self._runners.items():
            for batch in runner.batches:
                for at, each in enumerate(batch.tasks):
                    if each is not None and each.seq == seq:
                        return number, batch.first + at
        return None

    def take(self, handlers: Collection[str], lanes: Collection[Lane], now: float) -> list[Task]:
        """Everything not sent of these handlers and of these lanes, taken out."""
        return self.waiting.clear(handlers, lanes)

    def take_all(self) -> list[Task]:
        """At a stop: everything not sent. From now on nothing is sent and nothing started."""
        self._is_stopping = True
        return self.waiting.clear()

    # Labels, limits, gauges, time.

    def tell(self, rows: Sequence[Label], now: float) -> None:
        """What other nodes have learnt."""
        self._relabelled(self._labels.tell(rows), now)
        for queue in self.waiting.queues():
            self.waiting.learnt(queue, now)

    def label_changes(self) -> list[Label]:
        """The labels that changed since this was asked last."""
        changes = list(self._changed.values())
        self._changed.clear()
        return changes

    def tune(self, limits: Limits, now: float) -> None:
        """The operator's bounds and pauses, in place of the former."""
        self._upkeep.tune(limits)
        self.waiting.tune(limits, now)
        self._is_staffed = False

    def gauges(self, memory_share: float, cpu_pressure: float, now: float) -> None:
        """Memory of the node and its runners as a share of its limit; CPU pressure of the kernel in percent (some, 10 s)."""
        self._upkeep.gauges(memory_share, cpu_pressure, now)
        self._is_staffed = False

    def tick(self, now: float) -> None:
        """As often as one likes."""
        self._upkeep.pressure.turned(now, is_busy=not self.is_idle)
        if now - self._refreshed_s < REFRESH_S:
            return
        self._refreshed_s = now
        self._relabelled(self._labels.tick(now), now)
        for pool in self.pools.values():
            for lane in pool.lanes.values():
                lane.refresh(now)
        if now - self._sized_s >= SIZING_S:
            self._sized_s = now
            self.waiting.forget_idle(now)
            self._upkeep.forget(self.waiting.queues())
            self._upkeep.tick(now, self._out)
            self._is_staffed = False

    def instructions(self, now: float) -> list[Instruction]:
        """What is to be done now, in this order."""
        if not self._is_stopping:
            if not self._is_staffed or now >= self._upkeep.start_s:
                self._is_staffed = True
                self._upkeep.staff(now, self._out)
                for pool in self.pools.values():
                    for number, runner in pool.runners.items():
                        self._runners.setdefault(number, (pool, runner))
            for pool in self.pools.values():
                if pool.runners:
                    self._sending.fill(pool, now, self._out)
        out, self._out = self._out, []
        return out

    # Views.

    def rooms(self) -> dict[Lane, int]:
        """How many more tasks each lane wants."""
        if self._upkeep.pressure.is_short_of_memory:
            return dict.fromkeys(Lane, 0)
        return rooms(self.pools, self.waiting)

    def lanes(self) -> dict[Lane, LaneStatistics]:
        return lane_statistics(self.pools, self.waiting, self._labels, self.rooms())

    def runners(self) -> list[RunnerView]:
        return runner_views(self.pools)

    def numbers(self, runner: int) -> list[int]:
        """What it holds, ascending."""
        found = self._runners.get(runner)
        return [] if found is None else [n for batch in found[1].batches for n in batch.open_numbers()]

    def task(self, number: int) -> Task | None:
        """The task with this number, if it is in a runner."""
        for _, runner in self._runners.values():
            batch = runner.find(number)
            if batch is not None:
                return batch.tasks[number - batch.first]
        return None

    @property
    def is_idle(self) -> bool:
        """Nothing waits and nothing is in a runner."""
        return not any(pool.busy or pool.has_queued for pool in self.pools.values())

    def reasons(self) -> list[Reason]:
        """The last decisions of scheduler and labels, oldest first."""
        return sorted([*self._diary.reasons(), *self._labels.reasons()], key=lambda reason: reason.at_s)

    def check_invariants(self) -> None:
        """For tests, after any event."""
        for pool in self.pools.values():
            pool.check_invariants()

    # Within.

    def _next_runner(self) -> int:
        self._runner_number += 1
        return self._runner_number

    def _relabelled(self, changes: Sequence[Label], now: float) -> None:
        for label in changes:
            self._changed[label.handler, label.kind] = label
            self.waiting.relabel(label.handler, label.kind, now)
            self._is_staffed = False
