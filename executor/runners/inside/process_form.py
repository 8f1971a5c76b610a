"""The PROCESS form: tasks run one after another in the main thread, with exact clocks, and can be struck at any step.

The side thread asks three things of it, each under the lock that the main thread takes to begin a task: recall what has not begun,
cancel what runs, send what waits. So each number is either run or recalled, never both and never neither.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from executor.handlers.functions import Functions
from executor.runners.frames import RECEIVE_BYTES, FrameReader
from executor.runners.inside.answers import FLUSH_BYTES, Answers
from executor.runners.inside.calls import IMPORT_S, NO_ARGUMENTS, Calls, Known, ending
from executor.runners.inside.copies import Origin
from executor.runners.inside.gate import Gate, Interruption
from executor.runners.inside.meter import Meter
from executor.runners.inside.output import Capture, Output
from executor.runners.inside.reports import Reports
from executor.runners.inside.task_context import TaskContext
from executor.runners.slot import SlotTable
from executor.task import Sample

FLUSH_S = 0.002


class ProcessForm:
    """Owned by the main thread; `recall`, `cancel`, `resize`, `drain` and `look` are for the side thread."""

    looks_every_s = 0.5
    stuck = 0  # the node sees in the slot how long a task takes
    abandoned = 0

    def __init__(
        self,
        data: socket.socket,
        table: SlotTable,
        calls: Calls,
        functions: Functions,
        output: Output,
        reports: Reports,
    ) -> None:
        self.answers = Answers(data)
        self.gate = Gate()
        self._data = data
        self._table = table
        self._calls = calls
        self._functions = functions
        self._reports = reports
        self._capture = Capture()
        self._output = output
        self._meter = Meter(is_alone=True)
        self._lock = threading.Lock()
        self._recalled: set[int] = set()
        self._last = 0  # the highest number that began
        self._known: Known | None = None  # of the task at hand
        self._sample: Sample | None = None

    def serve(self, origin: Origin) -> None:
        """Runs what comes until the node closes its side or `drain` closes ours."""
        reader = FrameReader()
        while data := self._data.recv(RECEIVE_BYTES):
            for message in reader.feed(data):
                if message[0] == "run":
                    self._run(message[1], message[2], origin)
                elif message[0] == "load":
                    for name, module, file in message[1]:
                        self._functions.announce(name, module, file)

    def forget(self) -> None:
        """In a copy of this process: nothing is struck, nothing is kept."""
        self.gate.close()
        self._output.remove()

    def recall(self, numbers: list[int]) -> list[int]:
        """Those that will not run. What has ended is told too, as the task before them may take long."""
        with self._lock:
            given_back = [number for number in numbers if number > self._last]
            self._recalled.update(given_back)
        self.answers.flush()
        return given_back

    def cancel(self, number: int) -> None:
        self.gate.cancel(number)

    def resize(self, slots: int) -> None:
        """One slot is all there is."""

    def drain(self) -> None:
        self._data.shutdown(socket.SHUT_RD)

    def look(self, now_s: float) -> None:
        self.answers.flush()

    def _run(self, first: int, tasks: list[list[Any]], origin: Origin) -> None:
        waiting = enumerate(tasks, first)
        self._output.everywhere = self._capture
        while True:
            try:
                self._run_each(waiting, origin)
                break
            except Interruption as struck:  # just before the handler began, or just after it ended
                self._table.starts[0] = 0.0
                self._end_raised(self._last, tasks[self._last - first], struck)
        self._output.everywhere = None
        self._capture.take()
        self.answers.flush()

    def _run_each(self, waiting: Iterator[tuple[int, list[Any]]], origin: Origin) -> None:
        answers, gate, lock, recalled = self.answers, self.gate, self._lock, self._recalled
        numbers, starts, capture = self._table.numbers, self._table.starts, self._capture
        done, monotonic = answers.done, time.monotonic
        last_name = last_kind = None
        known: Known | None = None
        flushed_s = monotonic()
        for number, task in waiting:
            now_s = monotonic()
            if now_s - flushed_s > FLUSH_S or answers.held_bytes > FLUSH_BYTES:
                answers.flush()  # here, as no strike may come amid a frame
                flushed_s = now_s = monotonic()
            with lock:
                if recalled and number in recalled:
                    recalled.discard(number)
                    continue
                self._last = gate.running = number
            _, _, _, name, arguments, kind, _ = task
            numbers[0] = number
            starts[0] = now_s  # from here on it pays for a death
            try:
                if known is None or name != last_name or kind != last_kind:
                    self._known = known = None
                    # An import is ahead, perhaps: it must not look like a long task, but pays if it kills us.
                    starts[0] = now_s + IMPORT_S
                    self._known = known = self._calls.known(name, kind)
                    starts[0] = monotonic()
                    last_name, last_kind = name, kind
                pace = known.pace
                pace.left -= 1
                if known.is_plain and pace.left > 0 and not gate.is_ticking:
                    value = known.function() if arguments == NO_ARGUMENTS else known.call(arguments)
                else:
                    value = self._call(known, number, task, origin, is_measured=pace.left <= 0)
                if origin.is_copy:
                    origin.leave()  # before anything that is shared is touched
                starts[0] = 0.0
                gate.running = 0
                if value is None and not capture.text:
                    if self._sample is not None:
                        answers.samples.append([number, *self._sample])
                        self._sample = None
                    done.append(number)
                else:
                    sample, self._sample = self._sample, None
                    answers.succeed(number, name, value, sample, capture.take())
            except BaseException as error:
                if origin.is_copy:
                    origin.leave()  # before anything that is shared is touched
                starts[0] = 0.0
                gate.running = 0
                self._end_raised(number, task, error)

    def _call(self, known: Known, number: int, task: list[Any], origin: Origin, *, is_measured: bool) -> Any:
        context = TaskContext(number, task, self._reports, lambda: self.gate.asked == number)
        args, kwargs = known.arguments(task[4], context.make)
        if is_measured:
            self._meter.begin()
        try:
            self.gate.limit(known.timeout_s)
            if known.is_async:
                return asyncio.run(self._coroutine(known, args, kwargs))
            return known.function(*args, **kwargs)
        finally:
            if origin.is_copy:
                origin.leave()
            self._table.starts[0] = 0.0
            if is_measured:
                self._sample = self._meter.end(io_s=context.io_s)
                known.pace.learn(self._sample.wall_s)
            context.end()

    async def _coroutine(self, known: Known, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Raises what the gate wanted, when the coroutine was cancelled because of it."""
        number = self.gate.running
        task: asyncio.Task[Any] = asyncio.ensure_future(known.function(*args, **kwargs))
        self.gate.attach((asyncio.get_running_loop(), task))
        try:
            return await task
        except asyncio.CancelledError:
            if self.gate.asked == number:
                raise self.gate.why from None
            raise
        finally:
            self.gate.attach(None)

    def _end_raised(self, number: int, task: list[Any], error: BaseException) -> None:
        why = self.gate.why if isinstance(error, Interruption) and self.gate.asked == number else None
        status, text, trace, fault = ending(task[3], self._known, error, task[4], why)
        sample, self._sample = self._sample, None
        self.answers.end(
            number, status, error=text, trace=trace, sample=sample, output=self._capture.take(), fault=fault
        )
