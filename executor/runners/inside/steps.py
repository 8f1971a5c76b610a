"""A coroutine driven step by step, with clocks at each: what its steps cost, not what the loop did between them.

All coroutines of a loop share one thread, so a thread's clock says nothing about one of them. What runs between two awaits is a step; a
step that takes long holds up everybody else.
"""

from __future__ import annotations

import time
from collections.abc import Coroutine, Generator
from typing import Any

from executor.runners.inside.copies import Origin


class Steps:
    """Awaitable in the place of the coroutine. Without clocks it only sees to it that a copy of the process goes no further."""

    __slots__ = ("_coroutine", "_is_measured", "_origin", "cpu_s", "longest_s")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], origin: Origin, *, is_measured: bool) -> None:
        self.cpu_s = 0.0
        self.longest_s = 0.0
        self._coroutine = coroutine
        self._origin = origin
        self._is_measured = is_measured

    def __await__(self) -> Generator[Any, Any, Any]:
        return self

    def __iter__(self) -> Steps:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        if not self._is_measured:
            try:
                return self._coroutine.send(value)
            finally:
                if self._origin.is_copy:
                    self._origin.leave()
        started_s, started_cpu_s = time.perf_counter(), time.thread_time()
        try:
            return self._coroutine.send(value)
        finally:
            self._add(started_s, started_cpu_s)

    def throw(self, *error: Any) -> Any:
        started_s, started_cpu_s = time.perf_counter(), time.thread_time()
        try:
            return self._coroutine.throw(*error)
        finally:
            self._add(started_s, started_cpu_s)

    def close(self) -> None:
        self._coroutine.close()

    def _add(self, started_s: float, started_cpu_s: float) -> None:
        if self._origin.is_copy:
            self._origin.leave()
        self.cpu_s += time.thread_time() - started_cpu_s
        self.longest_s = max(self.longest_s, time.perf_counter() - started_s)
