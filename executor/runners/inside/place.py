"""One thread of the THREADS form: takes a task, runs it, answers; and how it is struck from outside.

`PyThreadState_SetAsyncExc` raises an exception in another thread at its next step of Python, wherever that is: also a moment after the
handler has returned. So a strike is only made while the place is *open*, under the form's lock, once a task; closing the place takes a
strike back that has not arrived; and what arrives between the handler's end and the closing is caught here.
"""

from __future__ import annotations

import asyncio
import ctypes
import math
import threading
import time
from typing import TYPE_CHECKING, Any

from executor.errors import TaskCancelled, TimeLimitExceeded
from executor.runners.inside.calls import IMPORT_S, Known, ending
from executor.runners.inside.gate import Interruption
from executor.runners.inside.meter import Meter
from executor.runners.inside.output import Capture
from executor.runners.inside.task_context import TaskContext
from executor.task import Sample

if TYPE_CHECKING:
    from executor.runners.inside.threads_form import ThreadsForm


class Place:
    """`index`: its row in the shared table. `is_open`: its handler runs, so it may be struck. `asked`: what it was struck with, once."""

    def __init__(self, form: ThreadsForm, index: int) -> None:
        self.index = index
        self.number = 0
        self.handler = ""
        self.known: Known | None = None
        self.capture = Capture()
        self.deadline_s = math.inf
        self.is_open = False
        self.asked: type[TimeLimitExceeded] | type[TaskCancelled] | None = None
        self.asked_s = 0.0
        self._is_alone = False
        self._begun = 0
        self._sample: Sample | None = None
        self._form = form
        self._thread = threading.Thread(target=self._run, name=f"task-{index}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def assign(self, number: int, handler: str, *, is_alone: bool, begun: int) -> None:
        """Under the form's lock: this task is next here."""
        self.number, self.handler, self.known = number, handler, None
        self.asked, self.deadline_s = None, math.inf
        self._is_alone, self._begun = is_alone, begun

    def open(self) -> None:
        """Under the form's lock: from here on a strike is raised in this thread; one that came before is raised now."""
        if self.asked is not None:
            raise self.asked
        self.is_open = True

    def strike(self, why: type[TimeLimitExceeded] | type[TaskCancelled], now_s: float) -> None:
        """Under the form's lock: raises `why` in the handler that runs here."""
        if self.asked is None:
            self.asked, self.asked_s = why, now_s
            if self.is_open:
                _raise_in(self._thread, why)

    def close(self) -> None:
        """Under the form's lock: nothing strikes from here on."""
        if self.is_open and self.asked is not None:
            _raise_in(self._thread, None)
        self.is_open = False

    def _run(self) -> None:
        meter = Meter(is_alone=False)
        while (work := self._form.begin(self)) is not None:
            number, task = work
            if not self._serve(number, task, meter):
                self._form.stopped(self)
                break
        meter.close()

    def _serve(self, number: int, task: list[Any], meter: Meter) -> bool:
        """One task from its begin to its answer; False: the place was abandoned meanwhile."""
        form, value, self._sample = self._form, None, None
        error: BaseException | None = None
        has_returned = False
        self.capture = Capture()
        form.output.enter(self.capture)
        try:
            try:
                form.open(self)
                value = self._call(number, task, meter)
                has_returned = True
            except BaseException as raised:
                error = raised
            abandoned = form.settle(self)
        except Interruption as struck:
            # Between the handler's end and the closing. A task is struck once, so this cannot happen again.
            error = error if error is not None or has_returned else struck
            abandoned = form.settle(self)
        form.output.enter(None)
        if abandoned:
            return False
        output, sample = self.capture.take(), self._sample
        if error is None:
            form.answers.succeed(number, task[3], value, sample, output)
        else:
            why = self.asked if isinstance(error, Interruption) else None
            status, text, trace, fault = ending(task[3], self.known, error, task[4], why)
            form.answers.end(
                number, status, error=text, trace=trace, sample=sample, output=output, fault=fault
            )
        form.end(self)
        return True

    def _call(self, number: int, task: list[Any], meter: Meter) -> Any:
        form, name, kind = self._form, task[3], task[5]
        if not form.calls.is_known(name, kind):
            form.postpone(self, IMPORT_S)
        self.known = known = form.calls.known(name, kind)
        form.postpone(self, 0.0)
        context = TaskContext(number, task, form.side.reports, lambda: self.asked is not None)
        args, kwargs = known.arguments(task[4], context.make)
        known.pace.left -= 1
        is_measured = known.pace.left <= 0
        if known.timeout_s is not None:
            self.deadline_s = time.monotonic() + known.timeout_s
            form.watch()
        if is_measured:
            meter.begin()
        try:
            if known.is_async:
                return asyncio.run(known.function(*args, **kwargs))
            return known.function(*args, **kwargs)
        finally:
            if form.origin is not None and form.origin.is_copy:
                form.origin.leave()  # before anything that is shared is touched
            if is_measured:
                self._sample = meter.end(
                    io_s=context.io_s,
                    probe_s=form.side.probe_s,
                    exact=self._is_alone and form.begun == self._begun,
                )
                known.pace.learn(self._sample.wall_s)
            context.end()


def _raise_in(thread: threading.Thread, why: type[BaseException] | None) -> None:
    """Raises `why` in the thread at its next step; None takes back what has not been raised yet."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident or 0), ctypes.py_object(why) if why is not None else None
    )
