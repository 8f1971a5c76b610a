"""The LOOP form: `async def` handlers, many at once in one event loop, which is the main thread.

The side thread hands its wishes into the loop, and watches whether it turns at all: when it has not for five seconds, the stacks go to the
real stderr and the beat names the task that holds it, for the node to end this process. A coroutine that is told to stop and does not
within five seconds is abandoned, as in the threads form.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import heapq
import os
import socket
import sys
import threading
import time
from collections import deque
from typing import Any

from executor.errors import TaskCancelled, TimeLimitExceeded
from executor.handlers.functions import Functions
from executor.runners.frames import RECEIVE_BYTES, FrameReader
from executor.runners.inside.answers import Answers
from executor.runners.inside.calls import NO_ARGUMENTS, Calls, ending
from executor.runners.inside.copies import Origin
from executor.runners.inside.coroutine_run import CoroutineRun
from executor.runners.inside.meter import RunQueue
from executor.runners.inside.output import Output
from executor.runners.inside.side_thread import SideThread
from executor.runners.inside.threads_form import ABANDON_S
from executor.runners.slot import SLOTS_MAX, SlotTable

LOOK_S = 0.5
STUCK_S = 5.0
NAMELESS_EXIT_CODE = 71  # the loop is held, and by no task


class LoopForm:
    """Everything but `recall` to `look` happens in the loop. `stuck`: number of the task that holds it, 0 for none."""

    looks_every_s = LOOK_S

    def __init__(
        self,
        data: socket.socket,
        table: SlotTable,
        calls: Calls,
        functions: Functions,
        output: Output,
        side: SideThread,
        *,
        slots: int,
    ) -> None:
        self.answers = Answers(data)
        self.calls = calls
        self.output = output
        self.side = side
        self.run_queue = RunQueue()
        self.begun = 0
        self.stuck = 0
        self.origin: Origin | None = None
        self._data = data
        self._reader = FrameReader()
        self._table = table
        self._functions = functions
        self._slots = slots
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()  # over what recall needs: pending, recalled, read
        self._pending: deque[tuple[int, list[Any]]] = deque()
        self._recalled: set[int] = set()
        self._read = 0
        self._runs: dict[int, CoroutineRun] = {}
        self._abandoned: dict[int, CoroutineRun] = {}
        self._free = list(range(SLOTS_MAX))
        self._flush_is_due = False
        self._is_closing = False
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._turns = 0
        self._seen = (0, 0)  # turns at the last look, looks since they changed

    @property
    def abandoned(self) -> int:
        return len(self._abandoned)

    def is_abandoned(self, number: int) -> bool:
        return number in self._abandoned

    @property
    def running(self) -> int:
        return len(self._runs)

    def serve(self, origin: Origin) -> None:
        """Until the node closes its side or `drain` closes ours, and all that came has ended."""
        self.origin = origin
        self._loop.add_reader(self._data, self._receive)
        self._turn()
        self._loop.run_until_complete(self._over)
        self.answers.flush()

    def wait_for(self, awaitable: Any) -> object:
        """Runs what a hook returned to its end, in the loop of the handlers."""

        async def run() -> object:
            return await awaitable

        return self._loop.run_until_complete(run())

    def forget(self) -> None:
        """In a copy of this process: what is printed is not kept."""
        self.output.remove()

    def recall(self, numbers: list[int]) -> list[int]:
        with self._lock:
            asked = set(numbers)
            given_back = [number for number, _ in self._pending if number in asked]
            unread = [number for number in numbers if number > self._read]
            self._pending = deque(each for each in self._pending if each[0] not in asked)
            self._recalled.update(unread)
        self._loop.call_soon_threadsafe(self._begin_more)
        return given_back + unread

    def cancel(self, number: int) -> None:
        self._loop.call_soon_threadsafe(self._cancel, number)

    def resize(self, slots: int) -> None:
        self._slots = slots
        self._loop.call_soon_threadsafe(self._begin_more)

    def drain(self) -> None:
        self._data.shutdown(socket.SHUT_RD)

    def look(self, now_s: float) -> None:
        """Counts looks, not seconds: a process that was stopped for a while is not stuck."""
        turns, looks = self._seen
        looks = looks + 1 if turns == self._turns else 0
        self._seen = (self._turns, looks)
        if looks < STUCK_S / LOOK_S:
            self.stuck = 0
            return
        if not self.stuck:
            task = asyncio.current_task(self._loop)
            self.stuck = next((number for number, run in self._runs.items() if run.task is task), 0)
            print(f"the event loop does not turn for {STUCK_S:g} s; task {self.stuck}", file=sys.__stderr__)
            faulthandler.dump_traceback(file=sys.__stderr__ or 2)
            if not self.stuck:
                os._exit(NAMELESS_EXIT_CODE)

    def postpone(self, run: CoroutineRun, by_s: float) -> None:
        """Its task counts as running from so long after now: the import of a submitted function may take long, but pays if it kills us."""
        self._table.starts[run.index] = time.monotonic() + by_s

    def limit(self, run: CoroutineRun, timeout_s: float) -> asyncio.TimerHandle:
        return self._loop.call_later(timeout_s, self._strike, run, TimeLimitExceeded)

    def close(self, run: CoroutineRun) -> None:
        """Its handler has ended: a death from here on is not its fault."""
        self._table.starts[run.index] = 0.0

    def finish(self, run: CoroutineRun) -> None:
        """The run has answered, or was abandoned long ago."""
        heapq.heappush(self._free, run.index)
        if self._abandoned.pop(run.number, None) is not None:
            self.side.post(["stopped", run.number])
            return
        del self._runs[run.number]
        self._table.numbers[run.index] = 0
        self._flush_soon()
        self._begin_more()

    def _receive(self) -> None:
        data = self._data.recv(RECEIVE_BYTES)
        if not data:
            self._loop.remove_reader(self._data)
            self._is_closing = True
        for message in self._reader.feed(data):
            if message[0] == "load":
                for name, module, file in message[1]:
                    self._functions.announce(name, module, file)
            elif message[0] == "run":
                first, tasks = message[1], message[2]
                with self._lock:
                    self._read = first + len(tasks) - 1
                    for each in enumerate(tasks, first):
                        if each[0] in self._recalled:
                            self._recalled.discard(each[0])
                        else:
                            self._pending.append(each)
        self._begin_more()

    def _begin_more(self) -> None:
        while len(self._runs) < self._slots and self._free:
            with self._lock:
                if not self._pending:
                    break
                number, task = self._pending.popleft()
                index = heapq.heappop(self._free)
                self._table.starts[index] = time.monotonic()
                self._table.numbers[index] = number
                self._table.begun = number
            self.begun += 1
            run = CoroutineRun(self, number, index, task)
            self._runs[number] = run
            run.task = self._loop.create_task(run.serve())
        if self._is_closing and not self._runs and not self._pending and not self._over.done():
            self._over.set_result(None)

    def _flush_soon(self) -> None:
        """One answer for all that ended in this turn of the loop."""
        if not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        with contextlib.suppress(OSError):  # the node is gone: the side thread ends the process
            self.answers.flush()

    def _turn(self) -> None:
        self._turns += 1
        self._loop.call_later(LOOK_S / 2, self._turn)

    def _cancel(self, number: int) -> None:
        run = self._runs.get(number)
        if run is not None:
            self._strike(run, TaskCancelled)

    def _strike(self, run: CoroutineRun, why: type[TimeLimitExceeded] | type[TaskCancelled]) -> None:
        if run.number in self._runs and run.asked is None:
            run.strike(why)
            self._loop.call_later(ABANDON_S, self._abandon, run)

    def _abandon(self, run: CoroutineRun) -> None:
        if self._runs.pop(run.number, None) is None:
            return
        assert run.asked is not None
        self._abandoned[run.number] = run
        self._table.numbers[run.index] = 0
        status, text, _, fault = ending(run.handler, run.known, run.asked(), NO_ARGUMENTS, run.asked)
        text += f"; its coroutine did not stop within {ABANDON_S:g} s and was abandoned"
        self.answers.end(run.number, status, error=text, output=run.capture.take(), fault=fault)
        self._flush_soon()
        self._begin_more()
