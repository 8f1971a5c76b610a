"""What became of each task: from what runners say, and from how they end, to one outcome each. A core: values in, outcomes collected.

Every task that was accepted gets exactly one outcome: the scheduler knows which are in flight and names each only once, so an answer that
comes twice, or after a verdict, counts for nothing. A cancelled task ends as it really ended: if it was done first, it is done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from executor.checked import answered
from executor.handlers.declaration import Handler
from executor.lanes.scheduler import Scheduler
from executor.runners.contract import Killed
from executor.task import Fault, Outcome, Sample, Status, Task

Place = tuple[str, str]  # handler and kind

# The hot path: an outcome that says nothing but "done", made without going through the class's own constructor (0.1 us instead of 0.3).
_new = tuple.__new__
_DONE = Outcome(0, 0, Status.DONE)[2:]


class Accounts:
    """`outcomes`: not reported yet. `counts`: since the start. `is_stopping`: what never began is not run any more, but RETURNED."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.outcomes: list[Outcome] = []
        self.counts = dict.fromkeys(Status, 0)
        self.is_stopping = False
        self.asked = 0  # checks, ever
        self._questions: dict[int, tuple[str, Handler | None]] = {}  # seq -> of this handler, declared so
        self._scheduler = scheduler
        self._cancelled: dict[int, int] = {}  # number of a task -> its runner
        self._kill_at_s: dict[int, float] = {}  # of these, those that may be killed for it

    def end(self, task: Task, status: Status, error: str | None = None) -> None:
        """It ends without a runner."""
        self.counts[status] += 1
        self.outcomes.append(Outcome(task.seq, task.key, status, None, error))

    def ask(self, seq: int, handler: str, declared: Handler | None) -> None:
        """What ends under this number is the check of `handler`."""
        self._questions[seq] = handler, declared

    def take(self) -> list[Outcome]:
        """The outcomes that are not reported yet; of checks they are the answers, and count for nothing else."""
        outcomes, self.outcomes = self.outcomes, []
        if self._questions:
            for at, outcome in enumerate(outcomes):
                question = self._questions.pop(outcome.seq, None)
                if question is not None:
                    outcomes[at] = answered(outcome, *question)
                    self.counts[outcome.status] -= 1
                    self.asked += 1
        return outcomes

    # Cancellation.

    def cancel(self, seq: int, now: float, kill_after_s: float | None) -> tuple[int, int] | bool:
        """True: it waited, and has ended. Runner and number: it is there, interrupt it. False: nobody knows it."""
        match self._scheduler.cancel(seq, now):
            case None:
                return False
            case Task() as task:
                self.end(task, Status.CANCELLED)
                return True
            case (runner, number):
                self._cancelled[number] = runner
                if kill_after_s is not None:
                    self._kill_at_s[number] = now + kill_after_s
                return runner, number

    def overdue(self, now: float) -> list[tuple[int, int]]:
        """Runner and number of cancelled tasks that may be killed now; each once."""
        due = [number for number, at_s in self._kill_at_s.items() if now >= at_s]
        for number in due:
            del self._kill_at_s[number]
        return [(self._cancelled[number], number) for number in due]

    @property
    def may_kill(self) -> bool:
        return bool(self._kill_at_s)

    def _forget(self, number: int) -> bool:
        """Whether it was cancelled."""
        self._kill_at_s.pop(number, None)
        return self._cancelled.pop(number, None) is not None

    # What runners say.

    def done(self, runner: int, numbers: Sequence[int], samples: Sequence[Sequence[Any]], now: float) -> None:
        """These returned None and printed nothing; `samples`: number and fields of some of them."""
        found = self._scheduler.ended(runner, numbers, now)
        tasks = [task for task in found if task is not None]
        self.outcomes += [_new(Outcome, (task[0], task[1], *_DONE)) for task in tasks]
        self.counts[Status.DONE] += len(tasks)
        places = {(task[3], task[5]) for task in tasks}
        if len(places) == 1:
            ((handler, kind),) = places
            taken = [Sample(*row[1:]) for row in samples]
            self._scheduler.measured(handler, kind, taken, len(tasks), now)
        else:
            by_number = dict(zip(numbers, found, strict=True))
            counts = Counter((task.handler, task.kind) for task in tasks)
            self._measure(counts, [(by_number[row[0]], row[1:]) for row in samples], {}, now)
        if self._cancelled:
            for number in numbers:
                self._forget(number)

    def ended(self, runner: int, rows: Sequence[Sequence[Any]], now: float) -> None:
        """Rows of number, status, result, error, traceback, sample, output, fault."""
        tasks = self._scheduler.ended(runner, [row[0] for row in rows], now)
        counts: dict[Place, int] = {}
        timed_out: dict[Place, int] = {}
        samples: list[tuple[Task | None, Sequence[Any]]] = []
        for task, (number, status_value, result, error, trace, sample, output, fault) in zip(
            tasks, rows, strict=True
        ):
            if task is None:
                continue
            if self._cancelled:
                self._forget(number)
            status = Status(status_value)
            place = task.handler, task.kind
            counts[place] = counts.get(place, 0) + 1
            if status is Status.TIMED_OUT:
                timed_out[place] = timed_out.get(place, 0) + 1
            wall_s, cpu_s = 0.0, 0.0
            if sample:
                wall_s, cpu_s = sample[0], sample[1]
                samples.append((task, sample))
            self.counts[status] += 1
            self.outcomes.append(
                Outcome(
                    task.seq,
                    task.key,
                    status,
                    result,
                    error,
                    trace,
                    wall_s,
                    cpu_s,
                    output,
                    fault and Fault(*fault),
                )
            )
        self._measure(counts, samples, timed_out, now)

    def _measure(
        self,
        counts: Mapping[Place, int],
        samples: Sequence[tuple[Task | None, Sequence[Any]]],
        timed_out: dict[Place, int],
        now: float,
    ) -> None:
        by_place: dict[Place, list[Sample]] = {place: [] for place in counts}
        for task, fields in samples:
            if task is not None:
                by_place[task.handler, task.kind].append(Sample(*fields))
        for place, taken in by_place.items():
            self._scheduler.measured(*place, taken, counts[place], now, timed_out=timed_out.get(place, 0))

    def recalled(self, runner: int, numbers: Sequence[int], now: float) -> None:
        """These never began."""
        back: list[int] = []
        for number in numbers:
            if self._forget(number):
                self._end_unbegun(runner, number, Status.CANCELLED, now)
            elif self.is_stopping:
                self._end_unbegun(runner, number, Status.RETURNED, now)
            else:
                back.append(number)
        if back:
            self._scheduler.returned(runner, back, now)

    def _end_unbegun(self, runner: int, number: int, status: Status, now: float) -> None:
        (task,) = self._scheduler.ended(runner, [number], now)
        if task is not None:
            self.end(task, status)

    def settled(
        self,
        runner: int,
        verdicts: Sequence[tuple[int, Status]],
        *,
        name: str,
        how: str,
        killed: Killed | None,
        now: float,
    ) -> None:
        """Its runner is gone. `name` and `how` it ended are for people."""
        self.recalled(runner, [number for number, status in verdicts if status is Status.RETURNED], now)
        for number, status in verdicts:
            if status is Status.RETURNED:
                continue
            (task,) = self._scheduler.ended(runner, [number], now)
            self._forget(number)
            if task is None:
                continue
            if status is Status.LOST:
                text = f"{name} ended ({how}) before it could say how {task.handler!r} ended in it; it may have run"
            elif killed is not None and killed.number == number:
                text = f"handler {task.handler!r}: {killed.why}; {name} was killed"
            else:
                text = f"{name} ended ({how}) while {task.handler!r} ran in it"
            self.end(task, status, text)
