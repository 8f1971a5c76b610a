"""The door of the package: takes tasks, runs them in worker processes, hands back one outcome for each.

One owner thread moves all bytes and holds all state; other threads reach it through a queue and a wakeup fd.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from executor.errors import ExecutorError, ExecutorFull, ExecutorStopped, HandlerError, HandlerLoadError
from executor.handlers.declaration import Handler
from executor.labels.by_mean import LabelsByMean
from executor.lanes.scheduler import Scheduler
from executor.payload import PAYLOAD_BYTES_MAX
from executor.runners.process import WorkerProcess
from executor.task import ExecutorStatistics, Lane, LaneStatistics, Outcome, Status, Task

log = logging.getLogger(__name__)

HELD_TASKS_MAX = 20_000
HARD_AFTER_S = 5.0
TICK_S = 0.2
BACK_OFF_S = (0.1, 10.0)


class Executor:
    """Runs tasks of the handlers in `modules`. `on_outcomes` is called on the owner thread and must not wait."""

    def __init__(
        self, modules: Sequence[str], *, workers: int = 2, on_outcomes: Callable[[list[Outcome]], None]
    ) -> None:
        if workers < 1:
            raise ExecutorError(f"workers is {workers}; an executor needs at least 1")
        self.handlers: dict[str, Handler] = {}
        self._modules = tuple(modules)
        self._on_outcomes = on_outcomes
        self._lock = threading.Lock()
        self._offered: deque[Task] = deque()  # bounded by HELD_TASKS_MAX through _held
        self._held = 0
        self._open = False
        self._stop_at_s: float | None = None
        self._failure: str | None = None
        self._first_hello = threading.Event()
        self._thread: threading.Thread | None = None
        self._wakeup = -1
        # From here on: the owner thread's own.
        self._scheduler = Scheduler(slots=workers)
        self._selector: selectors.BaseSelector | None = None
        self._workers: list[WorkerProcess | None] = [None] * workers
        self._start_at_s = [0.0] * workers
        self._early_deaths = [0] * workers
        self._labels = LabelsByMean(self.handlers)
        self._number = 0
        self._outcomes: list[Outcome] = []
        self._counts = dict.fromkeys(Status, 0)

    def start(self, timeout_s: float = 30.0) -> None:
        """Starts the workers and waits for the first hello; HandlerLoadError names the module and the reason."""
        if self._thread is not None:
            raise ExecutorError("this executor was started before; make a new one")
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._open = True
        self._thread = threading.Thread(target=self._own, name="executor", daemon=True)
        self._thread.start()
        told = self._first_hello.wait(timeout_s)
        if not told or self._failure is not None:
            reason = self._failure or f"no worker said hello within {timeout_s} s"
            self.stop(grace_s=0.0)
            raise HandlerLoadError(f"the executor cannot start: {reason}")

    def offer(self, tasks: Sequence[Task]) -> None:
        """Takes all tasks or none: ExecutorFull above the bound, ExecutorStopped when not running."""
        with self._lock:
            if not self._open:
                raise ExecutorStopped(
                    "tasks were offered to an executor that is not running; start one first"
                )
            if self._held + len(tasks) > HELD_TASKS_MAX:
                raise ExecutorFull(
                    f"{len(tasks)} tasks offered with {self._held} held, the limit is {HELD_TASKS_MAX}; ask room()"
                )
            self._held += len(tasks)
            self._offered.extend(tasks)
            os.eventfd_write(self._wakeup, 1)

    def room(self, lane: Lane | None = None) -> int:
        """How many more tasks it wants now: half a second of work, for the workers that may take this lane."""
        slots = len(self._workers) if lane is None else self._scheduler.slots(lane)
        with self._lock:
            return max(0, self._labels.room(slots) - self._held) if self._open else 0

    def stop(self, grace_s: float = 5.0) -> None:
        """Ends within about grace_s + 10 s. Running tasks may finish within the grace; unstarted ones are RETURNED."""
        with self._lock:
            if self._open and self._stop_at_s is None:
                self._stop_at_s = time.monotonic() + grace_s
                os.eventfd_write(self._wakeup, 1)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(grace_s + 10.0)

    def statistics(self) -> ExecutorStatistics:
        """A picture of now, a few milliseconds old at most; callable from any thread."""
        workers = [worker for worker in tuple(self._workers) if worker is not None]
        running = dict.fromkeys(Lane, 0)
        for worker in workers:
            for task in tuple(worker.in_flight.values()):
                running[self._labels.lane(task.handler)] += 1
        return ExecutorStatistics(
            lanes={
                lane: LaneStatistics(
                    queued=self._scheduler.queued(lane),
                    running=running[lane],
                    slots=self._scheduler.slots(lane),
                )
                for lane in Lane
            },
            handlers=self._labels.statistics(),
            workers=tuple(worker.pid for worker in workers),
            done=self._counts[Status.DONE],
            failed=sum(
                self._counts[status] for status in (Status.FAILED, Status.TIMED_OUT, Status.UNKNOWN_HANDLER)
            ),
            died=self._counts[Status.DIED],
        )

    # The owner thread.

    def _own(self) -> None:
        with selectors.DefaultSelector() as selector:
            self._selector = selector
            selector.register(self._wakeup, selectors.EVENT_READ)
            try:
                while not self._is_over():
                    self._turn(selector)
            except Exception as error:
                log.exception("the executor's thread broke; its tasks are returned")
                self._failure = self._failure or repr(error)
            finally:
                self._close()

    def _turn(self, selector: selectors.BaseSelector) -> None:
        self._start_workers(selector)
        for key, _ in selector.select(TICK_S):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self._wakeup)
            elif self._workers[key.data.slot] is key.data:
                self._attend(key.data)
        self._accept()
        for worker in tuple(self._workers):
            if worker is not None:
                self._guard(worker)
                self._feed(worker, selector)
        self._report()

    def _is_over(self) -> bool:
        if self._stop_at_s is None:
            return False
        busy = any(worker is not None and worker.in_flight for worker in self._workers)
        return not busy or time.monotonic() >= self._stop_at_s

    def _start_workers(self, selector: selectors.BaseSelector) -> None:
        for slot, worker in enumerate(self._workers):
            due = self._stop_at_s is None and time.monotonic() >= self._start_at_s[slot]
            if worker is None and due:
                try:
                    started = WorkerProcess(slot, self._modules)
                except OSError as error:
                    self._back_off(slot, f"a worker process could not be started: {error}")
                    continue
                self._workers[slot] = started
                selector.register(started.socket, selectors.EVENT_READ, started)

    def _accept(self) -> None:
        while self._offered:
            task = self._offered.popleft()
            if self._stop_at_s is not None:
                self._end(Outcome(seq=task.seq, key=task.key, status=Status.RETURNED))
            elif task.handler not in self.handlers:
                text = f"no handler is named {task.handler!r}; known: {', '.join(sorted(self.handlers)[:20])}"
                self._end(Outcome(seq=task.seq, key=task.key, status=Status.UNKNOWN_HANDLER, error=text))
            elif len(task.arguments) > PAYLOAD_BYTES_MAX:
                text = f"PayloadError: {len(task.arguments)} bytes of arguments, the limit is {PAYLOAD_BYTES_MAX}"
                self._end(Outcome(seq=task.seq, key=task.key, status=Status.FAILED, error=text))
            else:
                self._scheduler.add(task, self._labels.lane(task.handler))
        if self._stop_at_s is not None:
            for task in self._scheduler.take_all():
                self._end(Outcome(seq=task.seq, key=task.key, status=Status.RETURNED))

    def _feed(self, worker: WorkerProcess, selector: selectors.BaseSelector) -> None:
        if self._workers[worker.slot] is not worker:
            return
        worker.flush()
        while worker.ready and len(worker.batches) < 2:
            only_brief = bool(worker.batches)
            if only_brief and not all(
                self._labels.is_brief(task.handler) for task in worker.in_flight.values()
            ):
                break
            batch = self._scheduler.take(
                worker.slot, is_brief=lambda task: self._labels.is_brief(task.handler), only_brief=only_brief
            )
            if not batch:
                break
            first = self._number + 1
            self._number += len(batch)
            worker.send(list(enumerate(batch, first)))
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.wants_write else 0)
        if selector.get_key(worker.socket).events != events:
            selector.modify(worker.socket, events, worker)

    def _guard(self, worker: WorkerProcess) -> None:
        """Hard time-outs, and workers that ended while a child of theirs keeps the socket open."""
        if worker.is_gone:
            self._attend(worker)
            if self._workers[worker.slot] is worker:
                self._bury(worker)
            return
        number, start_s = worker.started()
        task = worker.in_flight.get(number)
        if task is None or worker.hard_timeout is not None:
            return
        timeout_s = self.handlers[task.handler].timeout_s
        if timeout_s is not None and time.monotonic() - start_s > timeout_s + HARD_AFTER_S:
            worker.hard_timeout = number
            worker.kill()

    def _attend(self, worker: WorkerProcess) -> None:
        messages, alive = worker.receive()
        try:
            for message in messages:
                self._heed(worker, message)
        except (HandlerError, ValueError, TypeError, IndexError) as error:
            log.error("worker %d sent a message that makes no sense and is replaced: %r", worker.pid, error)
            alive = False
        if not alive:
            self._bury(worker)

    def _heed(self, worker: WorkerProcess, message: list[Any]) -> None:
        if message[0] == "hello":
            for fields in message[2]:
                declared = Handler.from_fields(fields)
                self.handlers[declared.name] = declared
            worker.ready = True
            self._early_deaths[worker.slot] = 0
            self._first_hello.set()
        elif message[0] == "refused":
            worker.refusal = str(message[1])
        elif message[0] == "outcomes":
            for number, status, result, error, trace, wall_s, cpu_s in message[1]:
                task = worker.finish(number)
                if task is not None:
                    self._labels.add(task.handler, wall_s=wall_s, cpu_s=cpu_s)
                    self._end(
                        Outcome(
                            seq=task.seq,
                            key=task.key,
                            status=Status(status),
                            result=result,
                            error=error,
                            traceback=trace,
                            wall_s=wall_s,
                            cpu_s=cpu_s,
                        )
                    )
        else:
            raise ValueError(f"unknown kind {message[0]!r}")

    def _bury(self, worker: WorkerProcess) -> None:
        """The worker is gone and all it wrote is read: what it began is DIED, what it had not begun is RETURNED."""
        if self._selector is not None:
            self._selector.unregister(worker.socket)
        self._workers[worker.slot] = None
        how = worker.reap()
        number, start_s = worker.started()
        for each, task in worker.in_flight.items():
            if each > number:
                self._end(Outcome(seq=task.seq, key=task.key, status=Status.RETURNED))
            elif each == worker.hard_timeout:
                text = f"handler {task.handler!r} ignored its time-out; its worker was killed"
                wall_s = time.monotonic() - start_s
                self._end(
                    Outcome(seq=task.seq, key=task.key, status=Status.TIMED_OUT, error=text, wall_s=wall_s)
                )
            else:
                text = f"the worker process {worker.pid} ended ({how}) while {task.handler!r} ran in it"
                self._end(Outcome(seq=task.seq, key=task.key, status=Status.DIED, error=text))
        worker.in_flight = {}
        if worker.ready:
            self._start_at_s[worker.slot] = 0.0
        elif self._stop_at_s is None:
            self._back_off(worker.slot, worker.refusal or f"a worker ended before it was ready ({how})")

    def _back_off(self, slot: int, reason: str) -> None:
        if not self._first_hello.is_set():
            self._failure = reason
            self._first_hello.set()
        wait_s = min(BACK_OFF_S[0] * 2 ** min(self._early_deaths[slot], 10), BACK_OFF_S[1])
        self._early_deaths[slot] += 1
        self._start_at_s[slot] = time.monotonic() + wait_s
        log.warning("worker %d is started again in %.1f s: %s", slot, wait_s, reason)

    def _end(self, outcome: Outcome) -> None:
        self._counts[outcome.status] += 1
        self._outcomes.append(outcome)

    def _report(self) -> None:
        if not self._outcomes:
            return
        outcomes, self._outcomes = self._outcomes, []
        with self._lock:
            self._held -= len(outcomes)
        try:
            self._on_outcomes(outcomes)
        except Exception:
            log.exception("on_outcomes raised; %d outcomes may be lost to it", len(outcomes))

    def _close(self) -> None:
        """Ends every worker and accounts for every task; after this no offer is taken."""
        if self._stop_at_s is None:
            self._stop_at_s = time.monotonic()
        for worker in self._workers:
            if worker is not None and worker.in_flight:
                worker.kill()
        for worker in tuple(self._workers):
            if worker is not None:
                if worker.in_flight:
                    worker.reap_wait()
                self._attend(worker)
                if self._workers[worker.slot] is worker:
                    self._bury(worker)
        with self._lock:
            self._open = False
        self._accept()
        self._report()
        os.close(self._wakeup)
        self._first_hello.set()
