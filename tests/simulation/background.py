"""The executor port in virtual time: a task given now runs whole, a little later, on its node.

In production one worker thread writes snapshots. Here a task is an action of the timeline: between being given and being run, the
node steps on and its ledger changes, which is what a thread would let happen. A crashed node's tasks are forgotten.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from random import Random
from typing import Any

TASK_DELAY_S = (0.0005, 0.03)


class SimBackground(Executor):
    """`run_at(time_s, action)`: the node runs `action` then, if this life of it still runs."""

    def __init__(
        self, now: Callable[[], float], run_at: Callable[[float, Callable[[], None]], None], rng: Random
    ):
        self._now, self._run_at, self._rng = now, run_at, rng
        self._last_s = 0.0
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._closed = False

    def submit(self, task: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self._closed:
            raise RuntimeError("this background has been shut down")
        future: Future[Any] = Future()
        self._waiting.append((future, functools.partial(task, *args, **kwargs)))
        self._last_s = max(self._last_s, self._now()) + self._rng.uniform(*TASK_DELAY_S)
        self._run_at(self._last_s, self._run_next)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._closed = True
        if cancel_futures:
            for future, _ in self._waiting:
                future.cancel()

    def _run_next(self) -> None:
        """One worker: tasks run in the order in which they were given, whatever delayed this one."""
        future, task = self._waiting.popleft()
        if not future.set_running_or_notify_cancel():
            return
        try:
            answer = task()
        except Exception as error:  # as a thread pool does: whoever asks for the result hears of it
            future.set_exception(error)
        else:
            future.set_result(answer)
