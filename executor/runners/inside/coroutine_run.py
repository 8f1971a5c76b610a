"""One task in the event loop, from its begin to its answer."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from executor.errors import TaskCancelled, TimeLimitExceeded
from executor.runners.inside.calls import IMPORT_S, Known, Misfit, ending
from executor.runners.inside.output import Capture
from executor.runners.inside.steps import Steps
from executor.runners.inside.task_context import TaskContext
from executor.task import Sample

if TYPE_CHECKING:
    from executor.runners.inside.loop_form import LoopForm


class CoroutineRun:
    """`index`: its row in the shared table. `asked`: what it was told to stop for; once, by cancelling its asyncio task."""

    def __init__(self, form: LoopForm, number: int, index: int, fields: list[Any]) -> None:
        self.number = number
        self.index = index
        self.handler: str = fields[3]
        self.known: Known | None = None
        self.capture = Capture()
        self.asked: type[TimeLimitExceeded] | type[TaskCancelled] | None = None
        self.task: asyncio.Task[None] | None = None
        self._fields = fields
        self._sample: Sample | None = None
        self._form = form
        self._is_inside = False  # the handler's own code can be cancelled now
        self._is_alone = form.running == 0
        self._begun = form.begun

    def strike(self, why: type[TimeLimitExceeded] | type[TaskCancelled]) -> None:
        """Cancels the handler; one that has not begun yet finds `asked` when it does."""
        self.asked = why
        if self._is_inside and self.task is not None:
            self.task.cancel()

    async def serve(self) -> None:
        """Nothing a handler raises gets out."""
        form, value = self._form, None
        error: BaseException | None = None
        form.output.enter(self.capture)
        try:
            value = await self._call()
        except BaseException as raised:
            error = raised
        form.close(self)
        self._is_inside = False
        if not form.is_abandoned(self.number):
            output = self.capture.take()
            if error is None:
                form.answers.succeed(self.number, self.handler, value, self._sample, output)
            else:
                why = self.asked if isinstance(error, asyncio.CancelledError) else None
                status, text, trace, fault = ending(self.handler, self.known, error, self._fields[4], why)
                form.answers.end(
                    self.number,
                    status,
                    error=text,
                    trace=trace,
                    sample=self._sample,
                    output=output,
                    fault=fault,
                )
        form.finish(self)

    async def _call(self) -> Any:
        form, name, kind = self._form, self.handler, self._fields[5]
        if not form.calls.is_known(name, kind):
            form.postpone(self, IMPORT_S)
        self.known = known = form.calls.known(name, kind)
        form.postpone(self, 0.0)
        if not known.is_async:
            raise Misfit(
                f"handler {name!r} is no coroutine function; the node sent it to an event loop by mistake"
            )
        context = TaskContext(self.number, self._fields, form.side.reports, lambda: self.asked is not None)
        args, kwargs = known.arguments(self._fields[4], context.make)
        if self.asked is not None:
            raise asyncio.CancelledError
        known.pace.left -= 1
        is_measured = known.pace.left <= 0
        assert form.origin is not None
        steps = Steps(known.function(*args, **kwargs), form.origin, form.run_queue if is_measured else None)
        timer = form.limit(self, known.timeout_s) if known.timeout_s is not None else None
        self._is_inside = True
        started_s = time.perf_counter()
        try:
            return await steps
        finally:
            if timer is not None:
                timer.cancel()
            if is_measured:
                self._sample = self._measure(steps, time.perf_counter() - started_s, context.io_s)
                known.pace.learn(self._sample.wall_s)
            context.end()

    def _measure(self, steps: Steps, wall_s: float, io_s: float) -> Sample:
        return Sample(
            wall_s=wall_s,
            cpu_s=steps.cpu_s,
            blocked_s=max(0.0, wall_s - steps.cpu_s - steps.run_queue_s),
            run_queue_s=steps.run_queue_s,
            io_s=min(io_s, wall_s),
            step_s=steps.longest_s,
            exact=self._is_alone and self._form.begun == self._begun,
        )
