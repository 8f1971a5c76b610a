"""Makes the context of one task, if its handler wants one. Most do not, so nothing is made before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from executor.context import Context
from executor.runners.inside.reports import Reports


class TaskContext:
    """`task`: its fields as they came. `is_cancelled`: whether it was told to stop."""

    __slots__ = ("_context", "_is_cancelled", "_number", "_reports", "_task")

    def __init__(
        self, number: int, task: list[Any], reports: Reports, is_cancelled: Callable[[], bool]
    ) -> None:
        self._number = number
        self._task = task
        self._reports = reports
        self._is_cancelled = is_cancelled
        self._context: Context | None = None

    def make(self) -> Context:
        _, key, attempt, handler, _, kind, _ = self._task
        self._context = Context(
            key=key,
            attempt=attempt,
            handler=handler,
            kind=kind,
            report=self._report,
            is_cancelled=self._is_cancelled,
        )
        return self._context

    @property
    def io_s(self) -> float:
        return 0.0 if self._context is None else self._context.io_s

    def end(self) -> None:
        """The task ended: nothing more is said of its progress."""
        if self._context is not None:
            self._reports.forget(self._number)

    def _report(self, done: float, total: float | None, note: str) -> None:
        self._reports.add(self._number, done, total, note)
