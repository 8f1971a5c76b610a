"""A runner as the scheduler's shell would see it, in virtual time: it starts, runs what it is sent, answers, dies.

PROCESS runs one task after the other; brief ones of a batch (2 ms together) in one step. THREADS and LOOP run `slots` at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from executor.task import Form, Task

FLUSH_S = 0.002


@dataclass(slots=True)
class Run:
    """One task in its runner. `ends`: True done, False its process dies with it."""

    number: int
    task: Task
    wall_s: float
    dies: bool


@dataclass(slots=True)
class Step:
    """What runs now: one task, or several brief ones one after the other."""

    runs: list[Run]
    began_s: float
    is_over: bool = False


class SimulatedRunner:
    """`after(delay_s, call)` schedules; `answer(runner, runs)` and `die(runner)` tell the world."""

    def __init__(
        self,
        number: int,
        form: Form,
        slots: int,
        *,
        after: Callable[[float, Callable[[], None]], None],
        clock: Callable[[], float],
        answer: Callable[[SimulatedRunner, list[Run]], None],
        die: Callable[[SimulatedRunner], None],
        leave: Callable[[SimulatedRunner], None],
    ) -> None:
        self.number = number
        self.form = form
        self.slots = slots
        self.rss_bytes = 50 << 20
        self.is_ready = False
        self.is_gone = False
        self.is_draining = False
        self.has_begun = False
        self.inbox: deque[Run] = deque()
        self.steps: list[Step] = []
        self.unsaid: list[Run] = []
        self._after, self._clock = after, clock
        self._answer, self._die, self._leave = answer, die, leave

    def send(self, runs: list[Run]) -> None:
        self.inbox.extend(runs)
        self._go_on()

    def recall(self, numbers: list[int]) -> list[int]:
        wanted = set(numbers)
        back = [run.number for run in self.inbox if run.number in wanted]
        self.inbox = deque(run for run in self.inbox if run.number not in wanted)
        return back

    def drain(self) -> None:
        self.is_draining = True
        self._go_on()

    def running(self) -> list[tuple[int, float]]:
        return [(step.runs[0].number, step.began_s) for step in self.steps]

    def true_runs(self) -> list[tuple[Run, float]]:
        """What runs, and since when."""
        return [(step.runs[0], step.began_s) for step in self.steps]

    def stop(self) -> tuple[list[Run], list[Run]]:
        """The process is over: what ran, and what never began. Answers not sent yet count as ran."""
        self.is_gone = True
        ran = [*self.unsaid, *(step.runs[0] for step in self.steps)]
        unbegun = [run for step in self.steps for run in step.runs[1:]] + list(self.inbox)
        self.steps, self.unsaid = [], []
        self.inbox.clear()
        return ran, unbegun

    def _go_on(self) -> None:
        places = 1 if self.form is Form.PROCESS else self.slots
        while self.inbox and len(self.steps) < places and not self.is_gone:
            runs = [self.inbox.popleft()]
            total_s = runs[0].wall_s
            if self.form is Form.PROCESS:
                while self.inbox and not runs[-1].dies and total_s + self.inbox[0].wall_s <= FLUSH_S:
                    runs.append(self.inbox.popleft())
                    total_s += runs[-1].wall_s
            step = Step(runs=runs, began_s=self._clock())
            self.steps.append(step)
            self.has_begun = True
            self._after(total_s, lambda step=step: self._end(step))  # type: ignore[misc]
        if self.is_draining and not self.steps and not self.inbox and not self.is_gone:
            self._flush()
            self._leave(self)

    def _end(self, step: Step) -> None:
        if self.is_gone or step not in self.steps:
            return
        if step.runs[-1].dies:
            self.unsaid += step.runs[:-1]
            step.runs = step.runs[-1:]
            self._die(self)
            return
        self.steps.remove(step)
        self.unsaid += step.runs
        self._go_on()
        self._flush()

    def _flush(self) -> None:
        if self.unsaid and not self.is_gone:
            runs, self.unsaid = self.unsaid, []
            self._answer(self, runs)
