"""The scheduler: told what happened, it answers what is to be done. No clock, no thread, no process; the executor's own thread calls it.

Three pools (processes, threads, event loops), in each four lanes, in each handlers with their queues. The parts: `waiting` has what is
not sent, `sending` chooses, `watch` looks at what runs; `pools/` has how many runners and places there should be.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from executor.handlers.declaration import Handler
from executor.labels.labels import Labels
from executor.lanes.diary import Diary
from executor.lanes.in_flight import Runner, RunnerState
from executor.lanes.instructions import Instruction, Kill
from executor.lanes.sending import Sending
from executor.lanes.waiting import Waiting
from executor.lanes.watch import Watch
from executor.pools import demand
from executor.pools.pool import Pool
from executor.pools.reserve import reserve
from executor.pools.staffing import Staffing
from executor.task import Form, Label, Lane, LaneStatistics, Limits, Reason, Resource, Sample, Status, Task

REFRESH_S = 0.25
SIZING_S = 0.5
THREADS_FIRST = 8
LOOP_TASKS = 256


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
        self._handlers = handlers
        self._workers = workers
        self._diary = Diary()
        self._pools = {
            Form.PROCESS: Pool(Form.PROCESS, each=1, cores=cores),
            Form.THREADS: Pool(Form.THREADS, each=THREADS_FIRST, cores=cores),
            Form.LOOP: Pool(Form.LOOP, each=LOOP_TASKS, cores=cores),
        }
        self._runners: dict[int, tuple[Pool, Runner]] = {}
        self._runner_number = 0
        limits = limits or Limits()
        self._waiting = Waiting(labels, handlers, self._pools, limits)
        self._sending = Sending(labels, self._waiting)
        self._watch = Watch(labels, handlers, self._diary)
        self._staffing = Staffing(self._next_runner)
        self._out: list[Instruction] = []
        self._changed: dict[tuple[str, str], Label] = {}
        self._is_staffed = False
        self._is_stopping = False
        self._refreshed_s = self._sized_s = -1.0
        self._handlers_seen = 0
        self.tune(limits, 0.0)

    # Runners.

    def ready(self, runner: int, now: float) -> None:
        """It said hello; the handlers it declared are in `handlers`."""
        found = self._runners.get(runner)
        if found is None:
            return
        pool, known = found
        if known.state is RunnerState.STARTING:
            known.state = RunnerState.READY
            known.idle_since_s = now
        pool.early_deaths = 0
        self._see_handlers()

    def gone(self, runner: int, now: float, *, early: bool, why: str = "") -> None:
        """Its process is over; every task of it was told as ended or returned before. `early`: it never ran anything."""
        found = self._runners.pop(runner, None)
        if found is None:
            return
        pool, known = found
        for batch in list(known.batches):  # none, if the shell kept its word; no task is lost if it did not
            self.returned(runner, batch.open_numbers(), now)
        was_asked = known.state is RunnerState.DRAINING
        wait_s = self._staffing.gone(pool, known, now, early=early and not was_asked)
        self._is_staffed = False
        if not was_asked:
            decision = "is replaced" if wait_s is None else f"is replaced in {wait_s:.1f} s"
            self._diary.note(now, f"runner {runner} ({pool.form})", decision, why or "it ended")

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
        """What a runner says of itself twice a second."""
        found = self._runners.get(runner)
        if found is None:
            return
        _, known = found
        known.rss_bytes = rss_bytes
        if stuck_number and known.state is not RunnerState.DOOMED:
            known.state = RunnerState.DOOMED
            why = "its event loop did not turn for 5 s"
            self._out.append(Kill(runner=runner, number=stuck_number, status=Status.TIMED_OUT, why=why))

    # Tasks.

    def offer(self, tasks: Sequence[Task], now: float) -> None:
        self._waiting.offer(tasks, now)

    def ended(self, runner: int, numbers: Sequence[int], now: float) -> list[Task | None]:
        """These are over, in whatever way. The tasks, in the order of their numbers; None for a number that is not open."""
        found = self._runners.get(runner)
        if found is None:
            return [None] * len(numbers)
        pool, known = found
        tasks: list[Task | None] = []
        for batch, part in known.close(numbers):
            if batch is not None:
                self._sending.ended(pool, known, batch, len(part) - part.count(None), now)
            tasks += part
        known.tasks_done += len(tasks)
        return tasks

    def returned(self, runner: int, numbers: Sequence[int], now: float) -> None:
        """These were sent and never began: they wait again where they waited."""
        found = self._runners.get(runner)
        if found is None:
            return
        pool, known = found
        for batch, part in known.close(numbers):
            if batch is not None:
                tasks = [task for task in part if task is not None]
                alone = batch.queue.alone
                self._sending.ended(pool, known, batch, len(part) - part.count(None), now)
                self._waiting.put_back(tasks, batch.queued_s, now, alone=alone)

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
        queue = self._waiting.find(handler, kind)
        if queue is not None and queue.is_unknown:
            self._waiting.learnt(queue, now)

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
        task = self._waiting.remove(seq, now)
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
        return self._waiting.clear(handlers, lanes)

    def take_all(self) -> list[Task]:
        """At a stop: everything not sent. From now on nothing is sent and nothing started."""
        self._is_stopping = True
        return self._waiting.clear()

    # Labels, limits, gauges, time.

    def tell(self, rows: Sequence[Label], now: float) -> None:
        """What other nodes have learnt."""
        self._relabelled(self._labels.tell(rows), now)
        for queue in self._waiting.queues():
            self._waiting.learnt(queue, now)

    def label_changes(self) -> list[Label]:
        """The labels that changed since this was asked last."""
        changes = list(self._changed.values())
        self._changed.clear()
        return changes

    def tune(self, limits: Limits, now: float) -> None:
        workers = self._workers if limits.workers is None else max(1, limits.workers)
        process = self._pools[Form.PROCESS]
        process.slots = workers + 1  # the reserved place comes on top of those for long work
        self._labels.resize(Resource.CPU, process.slots)
        self._waiting.tune(limits, now)
        self._is_staffed = False

    def gauges(self, memory_share: float, cpu_pressure: float, now: float) -> None:
        """Memory of the node and its runners as a share of its limit; CPU pressure of the kernel (some, 10 s)."""

    def tick(self, now: float) -> None:
        """As often as one likes."""
        if now - self._refreshed_s < REFRESH_S:
            return
        self._refreshed_s = now
        self._relabelled(self._labels.tick(now), now)
        for pool in self._pools.values():
            for lane in pool.lanes.values():
                lane.refresh(now)
        if now - self._sized_s >= SIZING_S:
            self._sized_s = now
            self._see_handlers()
            self._waiting.forget_idle(now)
            for pool in self._pools.values():
                if pool.arrivals.turn(now):
                    self._reserve(pool, now)
                self._staffing.shed(pool, now, self._out)
            self._is_staffed = False

    def instructions(self, now: float) -> list[Instruction]:
        """What is to be done now, in this order."""
        if not self._is_stopping:
            if not self._is_staffed:
                self._is_staffed = True
                for pool in self._pools.values():
                    self._staffing.staff(pool, now, self._out)
                    for runner in pool.runners.values():
                        self._runners.setdefault(runner.number, (pool, runner))
            for pool in self._pools.values():
                if pool.runners:
                    self._sending.fill(pool, now, self._out)
        out, self._out = self._out, []
        return out

    # Views.

    def rooms(self) -> dict[Lane, int]:
        """How many more tasks each lane wants."""
        rooms: dict[Lane, int] = {}
        for lane in Lane:
            queued = blocked = 0
            for pool in self._pools.values():
                queue = pool.lanes[lane]
                queued += queue.queued
                blocked += queue.blocked
            mean_s = self._waiting.means[lane].mean_s
            slots = self._slots(lane)
            rooms[lane] = demand.room(slots=slots, mean_s=mean_s, queued=queued, blocked=blocked)
        for lane in self._waiting.limits.paused_lanes:
            rooms[lane] = 0
        return rooms

    def lanes(self) -> dict[Lane, LaneStatistics]:
        rooms = self.rooms()
        backlog_s = dict.fromkeys(Lane, 0.0)
        for queue in self._waiting.queues():
            mean_s = self._labels.mean_s(queue.handler, queue.kind)
            backlog_s[queue.lane] += queue.queued * (demand.MEAN_UNKNOWN_S if mean_s is None else mean_s)
        return {
            lane: LaneStatistics(
                queued=sum(pool.lanes[lane].queued for pool in self._pools.values()),
                running=self._waiting.lane_running[lane],
                slots=self._slots(lane),
                room=rooms[lane],
                backlog_s=backlog_s[lane],
                mean_s=self._waiting.means[lane].mean_s,
                median_wait_s=max(pool.lanes[lane].median_wait_s for pool in self._pools.values()),
            )
            for lane in Lane
        }

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
        return not any(
            pool.busy or any(lane.queued for lane in pool.lanes.values()) for pool in self._pools.values()
        )

    def runners(self) -> list[RunnerView]:
        return [
            RunnerView(
                number=number,
                form=pool.form,
                is_long=runner.is_long,
                slots=runner.slots,
                running=sum(batch.left for batch in runner.batches),
                state=runner.state.value,
                rss_bytes=runner.rss_bytes,
            )
            for number, (pool, runner) in self._runners.items()
        ]

    def reasons(self) -> list[Reason]:
        """The last decisions of scheduler and labels, oldest first."""
        return sorted([*self._diary.reasons(), *self._labels.reasons()], key=lambda reason: reason.at_s)

    def check_invariants(self) -> None:
        for pool in self._pools.values():
            pool.check_invariants()

    # Within.

    def _next_runner(self) -> int:
        self._runner_number += 1
        return self._runner_number

    def _slots(self, lane: Lane) -> int:
        if lane.resource is Resource.CPU:
            pools = [self._pools[Form.PROCESS]]
        else:
            pools = [self._pools[form] for form in (Form.THREADS, Form.LOOP) if self._pools[form].is_wanted]
        pools = pools or [self._pools[Form.PROCESS]]
        return sum(pool.long_slots if lane.is_long else pool.slots for pool in pools)

    def _see_handlers(self) -> None:
        """Threads and event loops are started when a handler needs them, not for nothing."""
        if len(self._handlers) != self._handlers_seen:
            self._handlers_seen = len(self._handlers)
            for name in list(self._handlers):
                self._pools[self._labels.form(name, "")].is_wanted = True
            self._is_staffed = False

    def _relabelled(self, changes: Sequence[Label], now: float) -> None:
        for label in changes:
            self._changed[label.handler, label.kind] = label
            self._waiting.relabel(label.handler, label.kind, now)
            self._is_staffed = False

    def _reserve(self, pool: Pool, now: float) -> None:
        before = pool.reserve
        pool.reserve = reserve(slots=pool.slots, short=pool.arrivals.short, long=pool.arrivals.long)
        if pool.reserve != before:
            self._is_staffed = False
            self._diary.note(
                now,
                f"pool {pool.form}",
                f"reserve {before} -> {pool.reserve} of {pool.slots}",
                f"{pool.arrivals.short:.2f} places of short work arrive, {pool.arrivals.long:.2f} of long",
            )
