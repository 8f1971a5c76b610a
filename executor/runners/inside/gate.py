"""Interrupting the task of the main thread: by the timer when its time is over, by a signal when it is cancelled.

Signal handlers of Python run in the main thread, between two of its steps or within a system call that they interrupt, so they see
exactly which task is running: whatever a late signal was meant for, only the task it names is struck. A task is struck once at most;
who swallows that is left to the node, which kills. A coroutine is asked first, by cancelling it in its loop, and struck if it does not
come back within half a second.
"""

from __future__ import annotations

import asyncio
import math
import signal
import threading
import time
from types import FrameType
from typing import Any

from executor.errors import TaskCancelled, TimeLimitExceeded

COROUTINE_GRACE_S = 0.5
Interruption = (TimeLimitExceeded, TaskCancelled)


class Gate:
    """`running`: number of the task that may be struck now, 0 for none; written by the main thread alone. `asked`: the last number
    that was told to stop; `why`: and by what."""

    def __init__(self) -> None:
        self.running = 0
        self.asked = 0
        self.why: type[TimeLimitExceeded] | type[TaskCancelled] = TaskCancelled
        self.is_ticking = False  # the timer is set
        self._deadline_s = math.inf
        self._limited = 0  # the task that the deadline belongs to
        self._cancelled = 0
        self._coroutine: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None
        self._main = threading.main_thread().ident or 0
        signal.signal(signal.SIGALRM, self._ring)
        signal.signal(signal.SIGUSR1, self._hear)

    def cancel(self, number: int) -> None:
        """From any thread: the task of this number is to stop, if it is still running when the signal arrives."""
        if self.running == number:
            self._cancelled = number
            signal.pthread_kill(self._main, signal.SIGUSR1)

    def limit(self, timeout_s: float | None) -> None:
        """The running task's time, None for no limit. One timer serves a row of brief tasks: it is set again only when it rang."""
        self._limited = self.running
        if timeout_s is None:
            self._deadline_s = math.inf
            if self.is_ticking:
                self.is_ticking = False
                signal.setitimer(signal.ITIMER_REAL, 0)
            return
        last_s, self._deadline_s = self._deadline_s, time.monotonic() + timeout_s
        if not self.is_ticking or last_s > self._deadline_s:
            self.is_ticking = True
            signal.setitimer(signal.ITIMER_REAL, timeout_s)

    def attach(self, coroutine: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None) -> None:
        """The running task is this coroutine, from here until None."""
        self._coroutine = coroutine

    def close(self) -> None:
        """In a copy of the process nothing is struck."""
        self.running = 0
        self.is_ticking = False

    def _hear(self, signal_number: int, frame: FrameType | None) -> None:
        if self.running and self.running == self._cancelled:
            self._strike(TaskCancelled)

    def _ring(self, signal_number: int, frame: FrameType | None) -> None:
        self.is_ticking = False
        if not self.running or self.running != self._limited or self._deadline_s == math.inf:
            return  # a task that has just begun sets the timer itself
        rest_s = self._deadline_s - time.monotonic()
        if rest_s > 0:
            self.is_ticking = True
            signal.setitimer(signal.ITIMER_REAL, rest_s)
        else:
            self._strike(TimeLimitExceeded)

    def _strike(self, why: type[TimeLimitExceeded] | type[TaskCancelled]) -> None:
        if self.asked != self.running:
            self.asked, self.why = self.running, why
            if self._coroutine is not None:
                loop, task = self._coroutine
                loop.call_soon_threadsafe(task.cancel)
                self._deadline_s = time.monotonic() + COROUTINE_GRACE_S
                self.is_ticking = True
                signal.setitimer(signal.ITIMER_REAL, COROUTINE_GRACE_S)
                return
        self.running = 0
        raise self.why
