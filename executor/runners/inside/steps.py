"""A coroutine driven step by step, with clocks at each: what its steps cost, not what the loop did between them.

All coroutines of a loop share one thread, so a thread's clock says nothing about one of them. What runs between two awaits is a step; a
step that takes long holds up everybody else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from executor.runners.inside.copies import Origin
from executor.runners.inside.meter import RunQueue


class Steps:
    """Awaitable in the place of the coroutine. Without clocks (`run_queue` None) it only sees to it that a copy of the process goes no
    further. `longest_s`: of a step, without what the whole process waited for a core."""

    __slots__ = ("_coroutine", "_origin", "_run_queue", "cpu_s", "longest_s", "run_queue_s")

    def __init__(
        self, coroutine: Coroutine[Any, Any, Any], origin: Origin, run_queue: RunQueue | None
    ) -> None:
        self.cpu_s = 0.0
        self.run_queue_s = 0.0
        self.longest_s = 0.0
        self._coroutine = coroutine
        self._origin = origin
        self._run_queue = run_queue

    def __await__(self) -> Generator[Any, Any, Any]:
        return self

    def __iter__(self) -> Steps:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        return self._step(self._coroutine.send, value)

    def throw(self, *error: Any) -> Any:
        return self._step(self._coroutine.throw, *error)

    def close(self) -> None:
        self._coroutine.close()

    def _step(self, step: Callable[..., Any], *args: Any) -> Any:
        if self._run_queue is None:
            try:
                return step(*args)
            finally:
                if self._origin.is_copy:
                    self._origin.leave()
        started_queue_s, started_cpu_s = self._run_queue.read(), time.thread_time()
        started_s = time.perf_counter()
        try:
            return step(*args)
        finally:
            wall_s = time.perf_counter() - started_s
            if self._origin.is_copy:
                self._origin.leave()
            run_queue_s = self._run_queue.read() - started_queue_s
            self.cpu_s += time.thread_time() - started_cpu_s
            self.run_queue_s += run_queue_s
            self.longest_s = max(self.longest_s, wall_s - run_queue_s)
