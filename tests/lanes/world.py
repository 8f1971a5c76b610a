"""The rest of an executor, in virtual time: arrivals, a shell without a will of its own, runners, and what goes wrong.

One heap of events is all the time there is. After each event the scheduler has its turn, as after each turn of the real shell, and the
judges look.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable
from typing import assert_never

from executor.handlers.declaration import Handler
from executor.labels.labels import Labels
from executor.lanes.instructions import Drain, Instruction, Kill, Recall, Renice, Resize, Send, Start
from executor.lanes.scheduler import Scheduler
from executor.task import Lane, Limits, Sample, Status, Task
from tests.lanes.plan import Plan, Stream, Trouble
from tests.lanes.runner import Run, SimulatedRunner

LOOK_S = 0.05
BEAT_S = 0.5
GAUGE_S = 1.0
ATTEMPTS_MAX = 3
START_S = (0.01, 0.12)
DRAIN_S_MAX = 600.0  # of virtual time after the last arrival: then something waits for ever
SETTLE_S = 40.0  # after everything has ended: surplus runners go
SAMPLED_BELOW_S = 50e-6


class World:
    """`run()` plays the plan; `judges` is told of each event and raises what is broken."""

    def __init__(
        self,
        plan: Plan,
        judges: Judges,
        *,
        cause: Callable[[World, Trouble], None] | None = None,
        trace: Callable[[str], None] | None = None,
    ) -> None:
        self.plan = plan
        self.rng = random.Random(plan.seed * 7919 + 1)
        self.now = 0.0
        self.handlers: dict[str, Handler] = {}
        self.labels = Labels(self.handlers)
        self.scheduler = Scheduler(
            self.labels, handlers=self.handlers, workers=plan.workers, cores=plan.cores
        )
        self.limits = Limits()
        self.tuned_s = -100.0
        self.runners: dict[int, SimulatedRunner] = {}
        self.open: dict[int, Task] = {}  # by seq: offered or waiting outside, not ended
        self.outcomes: Counter[Status] = Counter()
        self.topics: dict[Lane, deque[Task]] = {lane: deque() for lane in Lane}
        self.memory_share = self.told_memory_share = 0.3
        self.early_deaths_until_s = -1.0
        self.silent_until_s = -1.0
        self.disturbed_s = 0.0  # when the last process died or was kept from starting
        self.is_over = self._is_settling = False
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._event = 0
        self._seq = 0
        self._judges = judges
        self._cause = cause or _nothing
        self._trace = trace

    def after(self, delay_s: float, call: Callable[[], None]) -> None:
        self._event += 1
        heapq.heappush(self._events, (self.now + delay_s, self._event, call))

    def run(self) -> None:
        for stream in self.plan.streams:
            self._next_arrival(stream, stream.start_s)
        for trouble in self.plan.troubles:
            self.after(trouble.at_s, lambda trouble=trouble: self._cause(self, trouble))  # type: ignore[misc]
        for every_s, call in ((LOOK_S, self._look), (BEAT_S, self._beat), (GAUGE_S, self._gauge)):
            self._each(every_s, call)
        self._turn()
        while self._events and not self.is_over:
            self.now, _, call = heapq.heappop(self._events)
            call()
            self._turn()
        self._judges.over(self)

    def say(self, text: str) -> None:
        if self._trace is not None:
            self._trace(f"{self.now:9.4f} {text}")

    @property
    def scheduler_is_guarded(self) -> bool:
        """It was told that memory is short."""
        return self.told_memory_share > 0.8

    # Arrivals.

    def _next_arrival(self, stream: Stream, at_s: float) -> None:
        if at_s < min(stream.end_s, self.plan.end_s):
            self.after(at_s - self.now, lambda: self._arrive(stream))

    def _arrive(self, stream: Stream) -> None:
        tasks = []
        for _ in range(stream.burst):
            self._seq += 1
            tasks.append(Task(self._seq, self._seq, 1, stream.handler, b"", stream.kind, stream.level))
        self.submit(tasks)
        if stream.rate > 0:
            self._next_arrival(stream, self.now + self.rng.expovariate(stream.rate / stream.burst))

    def submit(self, tasks: list[Task]) -> None:
        """As the cluster does: what is unknown before the first hello waits outside too."""
        self.open.update({task.seq: task for task in tasks})
        if self.plan.by_room or not self.handlers:
            for task in tasks:
                self.topics[self.labels.lane(task.handler, task.kind)].append(task)
        else:
            self._offer(tasks)

    def _offer(self, tasks: list[Task]) -> None:
        self._judges.offered(self, tasks)
        self.scheduler.offer(tasks, self.now)

    def _fetch(self) -> None:
        if not self.handlers:
            return
        rooms = self.scheduler.rooms()
        for lane, topic in self.topics.items():
            count = min(len(topic), rooms[lane]) if self.plan.by_room else len(topic)
            if count > 0:
                self._offer([topic.popleft() for _ in range(count)])

    # A turn of the shell.

    def _turn(self) -> None:
        self._fetch()
        self.scheduler.tick(self.now)
        for instruction in self.scheduler.instructions(self.now):
            self._judges.instructed(self, instruction)
            self._carry_out(instruction)
        self.scheduler.label_changes()
        self._judges.turned(self)
        if self.now > self.plan.end_s and not self.open and not self._is_settling:
            self._is_settling = True
            self.after(SETTLE_S, self._finish)
        if self.now > self.plan.end_s + DRAIN_S_MAX + SETTLE_S:
            self._judges.stuck(self)

    def _finish(self) -> None:
        self.is_over = True

    def _carry_out(self, instruction: Instruction) -> None:
        self.say(str(instruction) if not isinstance(instruction, Send) else _told(instruction))
        if isinstance(instruction, Start):
            self._start(instruction)
            return
        runner = self.runners.get(instruction.runner)
        if runner is None:
            return
        match instruction:
            case Send(tasks=tasks, first=first):
                runner.send([self._draw(number, task) for number, task in enumerate(tasks, first)])
            case Recall(numbers=numbers):
                self.after(0.0005, lambda: self._recall(runner, numbers))
            case Kill(number=number, status=status):
                self.after(0.001, lambda: self._killed(runner, number, status))
            case Drain():
                self.after(0.0005, runner.drain)
            case Resize(slots=slots):
                runner.slots = slots
            case Renice():
                pass
            case _:
                assert_never(instruction)

    def _draw(self, number: int, task: Task) -> Run:
        kind = self.plan.kinds[task.handler]
        wall_s = max(1e-6, kind.duration(self.rng, self.now))
        timeout_s = kind.declared.timeout_s
        if timeout_s is not None and wall_s > timeout_s and not kind.ignores_timeout:
            wall_s = timeout_s
        if timeout_s is not None and wall_s > timeout_s and self.rng.random() < 0.3:
            wall_s = 60.0  # swallows the soft time-out
        return Run(number, task, wall_s, dies=self.rng.random() < kind.dies)

    # Runners.

    def _start(self, start: Start) -> None:
        runner = SimulatedRunner(
            start.runner,
            start.form,
            start.slots,
            after=self.after,
            clock=lambda: self.now,
            answer=self._answered,
            die=lambda runner: self.die(runner),
            leave=self._left,
        )
        self.runners[start.runner] = runner
        if self.now < self.silent_until_s:
            self.disturbed_s = max(self.disturbed_s, self.now + 31.0)
            return
        if self.now < self.early_deaths_until_s:
            self.after(0.02, lambda: self.die(runner))
        else:
            self.after(self.rng.uniform(*START_S), lambda: self._hello(runner))

    def _hello(self, runner: SimulatedRunner) -> None:
        if runner.is_gone:
            return
        runner.is_ready = True
        for name, kind in self.plan.kinds.items():
            self.handlers[name] = kind.declared
        self.scheduler.ready(runner.number, self.now)

    def _recall(self, runner: SimulatedRunner, numbers: list[int]) -> None:
        if not runner.is_gone:
            back = runner.recall(numbers)
            self._judges.returned(self, runner, back)
            self.scheduler.returned(runner.number, back, self.now)

    def _answered(self, runner: SimulatedRunner, runs: list[Run]) -> None:
        tasks = self.scheduler.ended(runner.number, [run.number for run in runs], self.now)
        places: dict[tuple[str, str], list[Run]] = {}
        for run, task in zip(runs, tasks, strict=True):
            self._judges.ended(self, runner, run, task)
            places.setdefault((run.task.handler, run.task.kind), []).append(run)
            runner.rss_bytes += self.plan.kinds[run.task.handler].leaks_bytes
            self.end(run.task, Status.DONE)
        for (handler, kind), some in places.items():
            cpu = self.plan.kinds[handler].cpu
            mean_s = self.labels.mean_s(handler, kind)
            told = some[:: 16 if mean_s is not None and mean_s < SAMPLED_BELOW_S else 1]
            samples = [Sample(run.wall_s, run.wall_s * cpu, run.wall_s * (1 - cpu)) for run in told]
            self.scheduler.measured(handler, kind, samples, len(some), self.now)

    def die(
        self, runner: SimulatedRunner, *, blamed: int | None = None, status: Status = Status.DIED
    ) -> None:
        """Its process is over without having been asked: settle, then tell."""
        if runner.is_gone:
            return
        self.disturbed_s = max(self.disturbed_s, self.now)
        self.say(f"runner {runner.number} dies")
        saved = runner.unsaid
        runner.unsaid = []
        if saved:
            self._answered(runner, saved)
        ran, unbegun = runner.stop()
        for run in ran:
            (task,) = self.scheduler.ended(runner.number, [run.number], self.now)
            self._judges.ended(self, runner, run, task)
            if blamed is None:
                self._again(run.task)
            elif run.number == blamed:
                self.end(run.task, status)
            else:
                self._offer([run.task])  # LOST costs no attempt
        numbers = [run.number for run in unbegun]
        self._judges.returned(self, runner, numbers)
        self.scheduler.returned(runner.number, numbers, self.now)
        self._gone(runner, early=not runner.has_begun)

    def _killed(self, runner: SimulatedRunner, number: int | None, status: Status) -> None:
        if number is not None and all(run.number != number for run, _ in runner.true_runs()):
            number = -1  # it ended in the same moment: nobody is to blame
        self.die(runner, blamed=-1 if number is None else number, status=status)

    def _left(self, runner: SimulatedRunner) -> None:
        runner.is_gone = True
        self.say(f"runner {runner.number} leaves")
        self._gone(runner, early=False)

    def _gone(self, runner: SimulatedRunner, *, early: bool) -> None:
        del self.runners[runner.number]
        self._judges.gone(self, runner)
        self.scheduler.gone(runner.number, self.now, early=early, why="signal")

    def _again(self, task: Task) -> None:
        if task.attempt >= ATTEMPTS_MAX:
            self.end(task, Status.DIED)
            return
        again = task._replace(attempt=task.attempt + 1)
        self.open[again.seq] = again
        self._offer([again])

    def end(self, task: Task, status: Status) -> None:
        self._judges.settled(self, task)
        self.open.pop(task.seq, None)
        self.outcomes[status] += 1

    def tune(self, limits: Limits) -> None:
        self.limits, self.tuned_s = limits, self.now
        self.disturbed_s = max(self.disturbed_s, self.now)
        self.scheduler.tune(limits, self.now)

    # Clockwork.

    def _each(self, every_s: float, call: Callable[[], None]) -> None:
        def tick() -> None:
            call()
            self.after(every_s, tick)

        self.after(every_s, tick)

    def _look(self) -> None:
        for runner in list(self.runners.values()):
            if runner.is_ready:
                running = runner.running()
                self._judges.looked(self, runner, running)
                self.scheduler.looked(runner.number, running, self.now)

    def _beat(self) -> None:
        for runner in list(self.runners.values()):
            if runner.is_ready:
                self.scheduler.beat(runner.number, runner.rss_bytes, 0.0001, self.now)

    def _gauge(self) -> None:
        self.told_memory_share = self.memory_share
        self.scheduler.gauges(self.memory_share, 10.0, self.now)


def _nothing(world: World, trouble: Trouble) -> None:
    """For workloads without troubles."""


def _told(send: Send) -> str:
    return f"Send(runner={send.runner}, first={send.first}, {len(send.tasks)} x {send.tasks[0].handler})"


class Judges:
    """What a judge may be told. Nothing here judges."""

    def offered(self, world: World, tasks: list[Task]) -> None: ...
    def instructed(self, world: World, instruction: Instruction) -> None: ...
    def returned(self, world: World, runner: SimulatedRunner, numbers: list[int]) -> None: ...
    def ended(self, world: World, runner: SimulatedRunner, run: Run, task: Task | None) -> None: ...
    def settled(self, world: World, task: Task) -> None: ...
    def gone(self, world: World, runner: SimulatedRunner) -> None: ...
    def looked(self, world: World, runner: SimulatedRunner, running: list[tuple[int, float]]) -> None: ...
    def turned(self, world: World) -> None: ...
    def over(self, world: World) -> None: ...
    def stuck(self, world: World) -> None: ...
