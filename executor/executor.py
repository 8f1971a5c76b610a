"""The door of the package: tasks or functions in, one outcome for each out. What happens behind it is the owner's (shell).

Callable from any thread. Callbacks come on the owner's thread and must only queue. An executor that nobody started starts itself with the
first `submit`; one executor lives once.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Collection, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

from executor import gauges
from executor.errors import ExecutorError, ExecutorStopped, HandlerLoadError
from executor.handlers.declaration import Handler
from executor.handlers.registry import registered
from executor.intake import Intake, Questions
from executor.owner import Owner, Reports
from executor.payload import encode_arguments
from executor.submission import Function, TaskFuture, locate
from executor.task import ExecutorStatistics, Label, Lane, Limits, Outcome, Progress, Reason, Status, Task

WORKERS_MIN = 2
STOP_S = 10.0  # beyond the grace: hooks, kills, the zygote


class Executor:
    """Runs tasks of the handlers that `modules` declare, and any importable function. `workers`: how many long tasks may run at once."""

    def __init__(
        self,
        modules: Sequence[str] = (),
        *,
        workers: int | None = None,
        on_outcomes: Callable[[list[Outcome]], None] | None = None,
        on_labels: Callable[[list[Label]], None] | None = None,
        on_progress: Callable[[list[Progress]], None] | None = None,
        limits: Limits | None = None,
    ) -> None:
        if workers is not None and workers < 1:
            raise ExecutorError(f"workers is {workers}; an executor needs at least 1")
        cores = gauges.cores()
        self.handlers: dict[str, Handler] = {}
        self._limits = Limits() if limits is None else limits
        self._on_outcomes = on_outcomes or _ignore
        self._intake = Intake()
        self._owner = Owner(
            tuple(modules),
            self.handlers,
            self._intake,
            Reports(outcomes=self._sort, labels=on_labels or _ignore, progress=on_progress or _ignore),
            workers=max(WORKERS_MIN, cores) if workers is None else workers,
            cores=cores,
            limits=self._limits,
        )
        self._starting = threading.Lock()
        self._is_started = False
        self._seqs = itertools.count(
            -1, -1
        )  # of submitted functions; offered tasks bring their own, from 0 up
        self._functions: dict[Callable[..., Any], Function] = {}
        self._futures: dict[int, tuple[TaskFuture, Task]] = {}

    def start(self, timeout_s: float = 30.0) -> None:
        """Starts the runners and waits for the first hello; HandlerLoadError names the module and the reason."""
        with self._starting:
            if self._is_started:
                raise ExecutorError("this executor was started before; make a new one")
            self._start(timeout_s)

    def _start(self, timeout_s: float) -> None:
        self._is_started = True
        self._intake.open(self._owner.thread)
        self._owner.thread.start()
        told = self._owner.is_up.wait(timeout_s)
        if not told or self._owner.failure is not None:
            reason = self._owner.failure or f"no worker said hello within {timeout_s} s"
            self._stop(0.0)
            raise HandlerLoadError(f"the executor cannot start: {reason}")

    def stop(self, grace_s: float = 5.0) -> None:
        """Ends within about grace_s + 10 s. Running tasks may finish within the grace; unstarted ones are RETURNED."""
        with self._starting:
            self._is_started = True
        self._stop(grace_s)

    def _stop(self, grace_s: float) -> None:
        with contextlib.suppress(ExecutorStopped):
            self._intake.order(partial(self._owner.stop, grace_s))
        if self._owner.thread.is_alive() and self._owner.thread is not threading.current_thread():
            self._owner.thread.join(grace_s + STOP_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Waits for what was submitted, however long it takes; after an exception only for the grace."""
        if kind is None:
            self._intake.wait_until_empty(None)
        self.stop()

    # Tasks.

    def offer(self, tasks: Sequence[Task]) -> None:
        """Takes all tasks or none: ExecutorFull above the bound, ExecutorStopped when not running. `seq` is yours, from 0 up."""
        self._intake.offer(tasks)

    def check(self, tasks: Sequence[Task]) -> None:
        """Asks the checks of these tasks' handlers, instead of running them: like `offer`, and each outcome has its answer in `checked`.

        Whatever goes wrong with a question, the answer is UNKNOWN, with the reason. A `seq` is either run or asked at a time.
        """
        self._intake.offer(Questions(tasks))

    def room(self, lane: Lane) -> int:
        """How many more tasks of this lane it wants now: about half a second of work."""
        return self._intake.room(lane)

    def rooms(self) -> dict[Lane, int]:
        return self._intake.rooms()

    def give_back(self, handlers: Collection[str] = (), lanes: Collection[Lane] = ()) -> None:
        """What waits of these handlers or lanes ends as RETURNED, soon."""
        self._intake.order(partial(self._owner.give_back, tuple(handlers), tuple(lanes)))

    def cancel(self, seq: int, *, kill_after_s: float | None = None) -> bool:
        """Takes the task back if it waits, interrupts it if it runs (and after `kill_after_s` kills its runner). False: it is not here."""
        return self._intake.ask(lambda: self._owner.cancel(seq, kill_after_s))

    # Functions.

    def submit(self, function: Callable[..., Any], /, *args: object, **kwargs: object) -> TaskFuture:
        """Runs any importable function in a worker process; waits while the executor is full.

        Arguments and result travel as msgpack: plain values only (PayloadError). If its process dies of a neighbour's fault after the
        function ended, it runs again.
        """
        found = self._functions.get(function) or locate(function)
        with self._starting:
            if not self._is_started:
                self._start(30.0)
        name = self._name(function, found)
        seq = next(self._seqs)
        future = TaskFuture(partial(self._cancel_submitted, seq))
        task = Task(seq=seq, key=-seq, attempt=1, handler=name, arguments=encode_arguments(args, kwargs))
        self._futures[seq] = future, task
        try:
            self._intake.offer([task], wait=True)
        except ExecutorError:
            del self._futures[seq]
            raise
        return future

    def _cancel_submitted(self, seq: int) -> bool:
        try:
            return self.cancel(seq)
        except ExecutorStopped:
            return False

    def _name(self, function: Callable[..., Any], found: Function) -> str:
        """The handler's name, if the function is one that runners know; else one for the function itself, which runners then learn."""
        if function not in self._functions:
            for name, known in registered().items():
                if known.function is function and name in self.handlers:
                    return name
            self._functions[function] = found
            self._intake.order(partial(self._owner.learn, found))
        return found.name

    def _sort(self, outcomes: list[Outcome]) -> None:
        """Outcomes of functions go to their futures, the others to the callback. On the owner's thread."""
        if self._futures:
            again = [self._conclude(outcome) for outcome in outcomes if outcome.seq < 0]
            outcomes = [outcome for outcome in outcomes if outcome.seq >= 0]
            self._intake.offer_again([task for task in again if task is not None])
        if outcomes:
            self._on_outcomes(outcomes)

    def _conclude(self, outcome: Outcome) -> Task | None:
        """The task, if it is to run once more."""
        future, task = self._futures[outcome.seq]
        if outcome.status is Status.LOST and self._intake.is_open:
            return task
        del self._futures[outcome.seq]
        future.conclude(outcome)
        return None

    # Limits, labels, and what can be seen.

    @property
    def zygote_pid(self) -> int | None:
        """The process that forks the runners; None while there is none."""
        return self._owner.zygote_pid

    @property
    def limits(self) -> Limits:
        return self._limits

    def tune(self, limits: Limits) -> None:
        """From now on these limits, all of them."""
        self._limits = limits
        self._intake.order(partial(self._owner.tune, limits))

    def tell(self, labels: Sequence[Label]) -> None:
        """What others have learnt: the whole set, it replaces what was told before."""
        self._intake.order(partial(self._owner.tell, tuple(labels)))

    def labels(self) -> list[Label]:
        """What was learnt here."""
        return self._intake.ask(self._owner.labels)

    def reasons(self) -> list[Reason]:
        """The last decisions, each with its why, oldest first."""
        return self._intake.ask(self._owner.reasons)

    def statistics(self) -> ExecutorStatistics:
        """A picture of now."""
        return self._intake.ask(self._owner.statistics)


def _ignore(news: list[Any]) -> None:
    """Nobody asked to be told."""
