"""The one thread that owns the runners: it tells the core what happened, and does what the core says (shell).

One turn: hear what is ready, accept what came in, tick, carry out the core's instructions, report. Nothing in here waits but the selector
(and, at the very end, for killed runners to be gone).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, assert_never

from executor import gauges
from executor.accounts import Accounts
from executor.errors import HandlerError
from executor.handlers.declaration import Handler
from executor.handlers.guarantee import check_name
from executor.intake import Intake, Item, Questions
from executor.labels.labels import Labels
from executor.lanes.instructions import Drain, Instruction, Kill, Recall, Renice, Resize, Send, Start
from executor.lanes.scheduler import Scheduler
from executor.payload import PAYLOAD_BYTES_MAX
from executor.runners.contract import Killed
from executor.runners.crew import Crew
from executor.runners.frames import Message
from executor.runners.process import RunnerProcess
from executor.submission import Function
from executor.task import (
    ExecutorStatistics,
    Label,
    Lane,
    Limits,
    Outcome,
    Progress,
    Reason,
    RunnerStatistics,
    Status,
    Task,
)

log = logging.getLogger(__name__)

PROTOCOL = 2
TICK_S = 0.05
IDLE_TICK_S = 0.5
ENDING_TICK_S = 0.01  # while a runner is about to be gone
GAUGES_S = 1.0
DRAIN_S = 10.0  # for stop hooks, after the last task of a draining runner
HOOKS_S = 2.0  # the same, when the executor stops
GONE_S = 4.0  # for killed processes to be gone
REASONS_MAX = 500
STOPPED = Killed(number=None, status=Status.LOST, why="the executor stopped")

News = TypeVar("News")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reports:
    """Where news goes. Called on the owner's thread: must only queue."""

    outcomes: Callable[[list[Outcome]], None]
    labels: Callable[[list[Label]], None]
    progress: Callable[[list[Progress]], None]


class Owner:
    """`handlers` grows with what runners declare. `failure`: why the first runner did not come up, or why this thread broke."""

    def __init__(
        self,
        modules: tuple[str, ...],
        handlers: dict[str, Handler],
        intake: Intake,
        reports: Reports,
        *,
        workers: int,
        cores: int,
        limits: Limits,
    ) -> None:
        self.failure: str | None = None
        self.is_up = threading.Event()
        self.thread = threading.Thread(target=self._own, name="executor", daemon=True)
        self._handlers, self._intake, self._reports = handlers, intake, reports
        self._checks: dict[str, Handler] = {}  # as handlers, under names of their own
        self._callable: dict[str, Handler] = dict(handlers)  # both
        self._labels = Labels(self._callable)
        self._scheduler = Scheduler(
            self._labels, handlers=self._callable, workers=workers, cores=cores, limits=limits
        )
        self._accounts = Accounts(self._scheduler)
        self._crew = Crew(modules, intake.fd)
        self._functions: dict[str, tuple[str, str, str | None]] = {}
        self._progress: list[Progress] = []
        self._accepted = 0
        self._tick_s = 0.0
        self._gauges_s = 0.0
        self._memory_limit_bytes = gauges.memory_limit_bytes()
        self._stop_s: float | None = None

    @property
    def zygote_pid(self) -> int | None:
        return self._crew.zygote_pid

    # Orders: these run on the owner's thread, through the intake.

    def learn(self, function: Function) -> None:
        """A function to be run under its name; each runner hears of it before its first task."""
        self._handlers[function.name] = self._callable[function.name] = function.declaration
        self._functions[function.name] = function.fields

    def stop(self, grace_s: float) -> None:
        """What runs may finish within the grace; what has not begun goes back."""
        if self._stop_s is not None:
            return
        now = time.monotonic()
        self._stop_s = now + grace_s
        self._accounts.is_stopping = True
        for task in self._scheduler.take_all():
            self._accounts.end(task, Status.RETURNED)
        for runner in self._crew.runners.values():
            numbers = self._scheduler.numbers(runner.number)
            if not runner.is_ready:
                runner.kill(STOPPED)
                continue
            if numbers:
                runner.recall(numbers)
            runner.drain(now)

    def cancel(self, seq: int, kill_after_s: float | None) -> bool:
        found = self._accounts.cancel(seq, time.monotonic(), kill_after_s)
        if isinstance(found, bool):
            return found
        runner = self._crew.runners[found[0]]
        runner.recall([found[1]])
        runner.cancel(found[1])
        return True

    def give_back(self, handlers: Sequence[str], lanes: Sequence[Lane]) -> None:
        for task in self._scheduler.take(handlers, lanes, time.monotonic()):
            self._accounts.end(task, Status.RETURNED)

    def tune(self, limits: Limits) -> None:
        self._scheduler.tune(limits, time.monotonic())

    def tell(self, rows: Sequence[Label]) -> None:
        self._scheduler.tell(rows, time.monotonic())

    def labels(self) -> list[Label]:
        return self._labels.labels()

    def reasons(self) -> list[Reason]:
        return list(self._scheduler.reasons())[-REASONS_MAX:]

    def statistics(self) -> ExecutorStatistics:
        counts = self._accounts.counts
        views = [view for view in self._scheduler.runners() if view.number in self._crew.runners]
        runners = tuple(
            RunnerStatistics(
                pid=self._crew.runners[view.number].pid,
                form=view.form,
                is_long=view.is_long,
                slots=view.slots,
                running=view.running,
                state=view.state,
                rss_bytes=view.rss_bytes,
            )
            for view in views
        )
        return ExecutorStatistics(
            lanes=self._scheduler.lanes(),
            handlers=self._labels.statistics(),
            workers=tuple(runner.pid for runner in runners if runner.pid),
            done=counts[Status.DONE],
            failed=sum(
                counts[status] for status in (Status.FAILED, Status.TIMED_OUT, Status.UNKNOWN_HANDLER)
            ),
            died=counts[Status.DIED],
            runners=runners,
            asked=self._accounts.asked,
        )

    # The thread.

    def _own(self) -> None:
        try:
            while not self._is_over():
                self._turn()
        except Exception as error:
            log.exception("the executor's thread broke; its tasks are returned")
            self.failure = self.failure or repr(error)
        finally:
            try:
                self._close()
            finally:
                self._intake.close()
                self._crew.close()
                self._intake.release()
                self.is_up.set()

    def _turn(self) -> None:
        crew = self._crew
        crew.wait(self._wait_s(), time.monotonic)
        now = time.monotonic()
        if crew.heard:
            self._heed_all(now)
        if crew.has_ending:
            for runner in crew.gone(now):
                self._heed_all(now)
                self._bury(runner, now)
        for item in self._intake.take():
            self._accept(item, now)
        if now >= self._tick_s:
            self._tick(now)
        self._scheduler.tick(now)
        for instruction in self._scheduler.instructions(now):
            self._carry_out(instruction, now)
        crew.write()
        self._report()

    def _wait_s(self) -> float:
        now = time.monotonic()
        wait_s = self._tick_s - now
        if self._crew.has_ending:
            wait_s = min(wait_s, ENDING_TICK_S)
        return max(0.0, wait_s)

    def _is_over(self) -> bool:
        if self._stop_s is None:
            return False
        if not self._crew.is_any_alive:
            return True
        hooks_s = (
            HOOKS_S if self._scheduler.is_idle else 0.0
        )  # all tasks have ended: only stop hooks may still run
        return time.monotonic() >= self._stop_s + hooks_s

    def _accept(self, item: Item, now: float) -> None:
        if callable(item):
            item()
        elif isinstance(item, Questions):
            self._ask(item, now)
        else:
            self._take_in(item, self._handlers, now)

    def _ask(self, questions: Questions, now: float) -> None:
        """The check of a task is a task of the check."""
        tasks = [task._replace(handler=check_name(task.handler)) for task in questions]
        for question, task in zip(questions, tasks, strict=True):
            self._accounts.ask(task.seq, question.handler, self._checks.get(task.handler))
        self._take_in(tasks, self._checks, now)

    def _take_in(self, tasks: Sequence[Task], handlers: Mapping[str, Handler], now: float) -> None:
        self._accepted += len(tasks)
        self._tick_s = min(self._tick_s, now + TICK_S)
        good = [task for task in tasks if task[3] in handlers and len(task[4]) <= PAYLOAD_BYTES_MAX]
        if len(good) < len(tasks):
            for task in tasks:
                if task.handler not in handlers or len(task.arguments) > PAYLOAD_BYTES_MAX:
                    self._refuse(task, handlers)
        if self._stop_s is None:
            self._scheduler.offer(good, now)
        else:
            for task in good:
                self._accounts.end(task, Status.RETURNED)

    def _refuse(self, task: Task, handlers: Mapping[str, Handler]) -> None:
        if task.handler in handlers:
            text = f"PayloadError: {len(task.arguments)} bytes of arguments, the limit is {PAYLOAD_BYTES_MAX}"
            self._accounts.end(task, Status.FAILED, text)
        else:
            text = f"no handler is named {task.handler!r}; known: {', '.join(sorted(handlers)[:20])}"
            self._accounts.end(task, Status.UNKNOWN_HANDLER, text)

    def _tick(self, now: float) -> None:
        crew, scheduler = self._crew, self._scheduler
        self._tick_s = now + (IDLE_TICK_S if scheduler.is_idle else TICK_S)
        crew.look_after_the_zygote(now)
        for runner in crew.runners.values():
            if runner.is_ready:
                scheduler.looked(runner.number, runner.running(), now)
            if runner.draining_s is not None and now - runner.draining_s > DRAIN_S:
                self._end_idle(runner)
        for number_of_runner, number in self._accounts.overdue(now):
            why = "it did not heed its cancellation"
            crew.runners[number_of_runner].kill(Killed(number=number, status=Status.CANCELLED, why=why))
        if now >= self._gauges_s:
            self._gauges_s = now + GAUGES_S
            used = gauges.own_memory_bytes() + sum(runner.rss_bytes for runner in crew.runners.values())
            scheduler.gauges(used / self._memory_limit_bytes, gauges.cpu_pressure(), now)

    def _end_idle(self, runner: RunnerProcess) -> None:
        """A drained runner whose stop hooks do not come to an end."""
        if not self._scheduler.numbers(runner.number):
            runner.kill(Killed(number=None, status=Status.LOST, why="it did not leave when it had drained"))

    def _carry_out(self, instruction: Instruction, now: float) -> None:
        if isinstance(instruction, Send):
            self._send(instruction)
            return
        if isinstance(instruction, Start):
            self._start(instruction, now)
            return
        runner = self._crew.runners.get(instruction.runner)
        if runner is None:
            return  # it has ended in this very turn
        match instruction:
            case Recall(numbers=numbers):
                runner.recall(numbers)
            case Kill(number=number, status=status, why=why):
                runner.kill(Killed(number=number, status=status, why=why))
            case Drain():
                runner.drain(now)
            case Resize(slots=slots):
                runner.resize(slots)
            case Renice():
                runner.renice()
            case _:
                assert_never(instruction)

    def _send(self, batch: Send) -> None:
        runner = self._crew.runners[batch.runner]
        if self._functions:
            names = {task.handler for task in batch.tasks} & self._functions.keys() - runner.loaded
            if names:
                runner.load([self._functions[name] for name in names])
        runner.send(batch.first, batch.tasks)

    def _start(self, wanted: Start, now: float) -> None:
        if self._stop_s is not None:
            return
        try:
            self._crew.start(wanted, now)
        except OSError as error:
            why = f"a runner could not be started: {error}"
            log.warning(why)
            self._scheduler.gone(wanted.runner, now, early=True, why=why)
            self._fail_start(why)

    def _fail_start(self, why: str) -> None:
        if not self.is_up.is_set():
            self.failure = why
            self.is_up.set()

    # What runners say.

    def _heed_all(self, now: float) -> None:
        heard, self._crew.heard = self._crew.heard, []
        for runner, message in heard:
            try:
                self._heed(runner, message, now)
            except (HandlerError, ValueError, TypeError, IndexError, KeyError) as error:
                log.error("runner %d sent a message that makes no sense and is ended: %r", runner.pid, error)
                runner.end()

    def _heed(self, runner: RunnerProcess, message: Message, now: float) -> None:
        match message:
            case ["done", numbers, samples]:
                self._accounts.done(runner.number, numbers, samples, now)
            case ["ended", rows]:
                self._accounts.ended(runner.number, rows, now)
            case ["beat", int(rss_bytes), float(probe_s), int(stuck), int(abandoned)]:
                runner.rss_bytes = rss_bytes
                self._scheduler.beat(
                    runner.number, rss_bytes, probe_s, now, stuck_number=stuck, abandoned=abandoned
                )
            case ["hello", int(protocol), _, declared]:
                self._hello(runner, protocol, declared, now)
            case ["refused", str(text)]:
                runner.refusal = text
            case ["recalled", numbers]:
                self._accounts.recalled(runner.number, numbers, now)
            case ["progress", int(number), done, total, str(note)]:
                task = self._scheduler.task(number)
                if task is not None:
                    self._progress.append(Progress(task.seq, task.key, done, total, note))
            case ["stopped", _]:
                pass
            case _:
                raise ValueError(f"unknown message {message!r:.200}")

    def _hello(self, runner: RunnerProcess, protocol: int, declared: list[Any], now: float) -> None:
        if protocol != PROTOCOL:
            raise ValueError(f"protocol {protocol}, here it is {PROTOCOL}")
        for fields in declared:
            handler = Handler.from_fields(fields)
            self._handlers[handler.name] = self._callable[handler.name] = handler
            check = handler.check_handler()
            if check is not None:
                self._checks[check.name] = self._callable[check.name] = check
        runner.is_ready = True
        self._scheduler.ready(runner.number, now)
        self.is_up.set()

    # Ends.

    def _bury(self, runner: RunnerProcess, now: float) -> None:
        """It is gone, and all that it wrote was heeded."""
        numbers = self._scheduler.numbers(runner.number)
        verdicts = runner.settle(numbers)
        name, how = f"the worker process {runner.pid}", runner.how_it_ended
        self._accounts.settled(runner.number, verdicts, name=name, how=how, killed=runner.killed, now=now)
        began = any(status is not Status.RETURNED for _, status in verdicts)
        is_early = not runner.is_ready or bool(numbers and not began and runner.draining_s is None)
        why = runner.refusal or f"{name} ended ({how})"
        runner.close()
        self._scheduler.gone(runner.number, now, early=is_early, why=why)
        if not runner.is_ready and self._stop_s is None:
            self._fail_start(runner.refusal or f"a worker ended before it was ready ({how})")
            log.warning("runner %d did not come up: %s", runner.number, why)
        elif runner.draining_s is None and self._stop_s is None:
            log.warning("runner %d: %s", runner.number, why if runner.killed is None else runner.killed.why)

    def _report(self) -> None:
        accepted, self._accepted = self._accepted, 0
        outcomes = self._accounts.take()
        self._intake.account(self._scheduler.rooms(), accepted=accepted, ended=len(outcomes))
        progress, self._progress = self._progress, []
        changes = self._scheduler.label_changes()
        if outcomes:
            _tell(self._reports.outcomes, outcomes)
        if changes:
            _tell(self._reports.labels, changes)
        if progress:
            _tell(self._reports.progress, progress)

    def _close(self) -> None:
        """Ends every runner and accounts for every task; after this no offer is taken."""
        self._accounts.is_stopping = True
        if self._stop_s is None:
            self._stop_s = time.monotonic()
        for task in self._scheduler.take_all():
            self._accounts.end(task, Status.RETURNED)
        deadline_s = time.monotonic() + GONE_S
        for runner in tuple(self._crew.runners.values()):
            runner.kill(STOPPED)
        while self._crew.is_any_alive and time.monotonic() < deadline_s:
            self._crew.wait(ENDING_TICK_S, time.monotonic)
            now = time.monotonic()
            ended = self._crew.gone(now)
            self._heed_all(now)
            for runner in ended:
                self._bury(runner, now)
        now = time.monotonic()
        for runner in tuple(self._crew.runners.values()):
            self._bury(runner, now)
        for item in self._intake.close():
            self._accept(item, now)
        self._report()


def _tell(whom: Callable[[list[News]], None], news: list[News]) -> None:
    try:
        whom(news)
    except Exception:
        log.exception("a callback raised; what it was told may be lost to it (%d values)", len(news))
