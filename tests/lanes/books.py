"""The judge's own books: what waits, what is in which runner, what has ended. L1 is that they add up.

They are kept from what the world and the scheduler say to each other, and from nothing that the scheduler keeps for itself.
"""

from __future__ import annotations

from collections import Counter

from executor.lanes.instructions import Drain, Instruction, Kill, Recall, Send, Start
from executor.task import Form, Lane, Task
from tests.lanes.runner import Run, SimulatedRunner
from tests.lanes.world import Judges, World


class Broken(AssertionError):
    """A law does not hold."""


class Sent:
    """A batch in the judge's own book."""

    def __init__(self, send: Send, *, lane: Lane, is_unknown: bool) -> None:
        self.numbers = dict(enumerate(send.tasks, send.first))
        self.lane = lane
        self.is_long = lane.is_long
        self.is_unknown = is_unknown and not lane.is_long


class Books(Judges):
    """One for each world. `counts`: how often each law was looked at."""

    def __init__(self) -> None:
        self.waiting: dict[int, Task] = {}
        self.in_flight: dict[int, list[Sent]] = {}
        self.done: set[int] = set()
        self.killed: set[int] = set()
        self.ended_short_s: dict[tuple[str, str], float] = {}
        self.started_s: dict[int, float] = {}
        self.counts: Counter[str] = Counter()

    def check(self, world: World, holds: bool, law: str, why: str) -> None:
        self.counts[law] += 1
        if not holds:
            raise Broken(f"{law} is broken at {world.now:.3f} s: {why}")

    def offered(self, world: World, tasks: list[Task]) -> None:
        for task in tasks:
            self.check(world, task.seq not in self.waiting, "L1", f"{task} is offered and waits already")
            self.waiting[task.seq] = task

    def instructed(self, world: World, instruction: Instruction) -> None:
        match instruction:
            case Start(runner=runner):
                self.started_s[runner] = world.now
                self.in_flight[runner] = []
            case Send():
                self._sent(world, instruction)
            case Recall(runner=runner, numbers=numbers):
                known = {number for sent in self.in_flight.get(runner, []) for number in sent.numbers}
                self.check(world, known.issuperset(numbers), "L1", f"recalls {numbers}, it has {known}")
            case Kill(runner=runner):
                self.killed.add(runner)
            case Drain(runner=runner):
                self.killed.add(runner)
            case _:
                pass

    def _sent(self, world: World, send: Send) -> None:
        for task in send.tasks:
            self.check(world, task.seq in self.waiting, "L1", f"{task} is sent and did not wait")
            self.check(world, task.seq in world.open, "L1", f"{task} is sent after its end")
            del self.waiting[task.seq]
        runner = world.runners[send.runner]
        self.check(world, runner.is_ready, "L1", f"runner {send.runner} is sent work before its hello")
        self.check(world, send.runner not in self.killed, "L1", f"runner {send.runner} is to end")
        first = send.tasks[0]
        self.check(world, len({(each.handler, each.kind) for each in send.tasks}) == 1, "L1", "mixed batch")
        lane = world.labels.lane(first.handler, first.kind)
        declared = world.handlers[first.handler].lane is not None
        is_unknown = not declared and world.labels.is_unknown(first.handler, first.kind)
        sent = Sent(send, lane=lane, is_unknown=is_unknown)
        self.starts(world, send, sent)
        self.in_flight[send.runner].append(sent)

    def starts(self, world: World, send: Send, sent: Sent) -> None:
        """A batch is about to be put into the book."""

    def looked(self, world: World, runner: SimulatedRunner, running: list[tuple[int, float]]) -> None:
        for number, since_s in running:
            for sent in self.in_flight[runner.number]:
                if number in sent.numbers:
                    cutoff_s = world.labels.cutoff_s(sent.lane.resource)
                    if world.now - since_s > 2 * cutoff_s:
                        sent.is_long = True

    def returned(self, world: World, runner: SimulatedRunner, numbers: list[int]) -> None:
        for number in numbers:
            task = self._take(runner.number, number)
            self.check(world, task is not None, "L1", f"number {number} is returned twice")
            if task is not None:
                self.waiting[task.seq] = task

    def ended(self, world: World, runner: SimulatedRunner, run: Run, task: Task | None) -> None:
        mine = self._take(runner.number, run.number)
        if run.wall_s < 0.2:
            self.ended_short_s[run.task.handler, run.task.kind] = world.now
        self.check(
            world, task is not None and task == run.task == mine, "L1", f"{run} ended as {task}, {mine}"
        )

    def settled(self, world: World, task: Task) -> None:
        self.check(world, task.seq not in self.done, "L1", f"{task} ends twice")
        self.done.add(task.seq)
        self.waiting.pop(task.seq, None)

    def gone(self, world: World, runner: SimulatedRunner) -> None:
        left = [number for sent in self.in_flight.pop(runner.number) for number in sent.numbers]
        self.check(world, not left, "L1", f"runner {runner.number} took {left} with it")
        self.started_s.pop(runner.number, None)
        self.killed.discard(runner.number)

    def _take(self, runner: int, number: int) -> Task | None:
        batches = self.in_flight[runner]
        for sent in batches:
            task = sent.numbers.pop(number, None)
            if task is not None:
                if not sent.numbers:
                    batches.remove(sent)
                return task
        return None

    def all(self, world: World, form: Form) -> list[Sent]:
        """Batches that occupy a place; those ahead do not."""
        return [
            sent
            for number, batches in self.in_flight.items()
            if number in world.runners and world.runners[number].form is form
            for sent in batches
        ]

    def long(self, world: World, form: Form) -> int:
        return sum(sent.is_long for sent in self.all(world, form))

    def used(self, world: World, handler: str) -> int:
        used = 0
        for number, batches in self.in_flight.items():
            for sent in batches:
                some = [task for task in sent.numbers.values() if task.handler == handler]
                if some:
                    used += 1 if world.runners[number].form is Form.PROCESS else len(some)
        return used
