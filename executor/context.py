"""What a handler is told about its task, and what it may say of itself, if it has a parameter named `context`."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

NOTE_CHARS_MAX = 200


class Context:
    """Given to handlers that have a parameter named `context`. Belongs to one run of one task."""

    __slots__ = ("_io_s", "_is_cancelled", "_report", "attempt", "handler", "key", "kind")

    def __init__(
        self,
        *,
        key: int,
        attempt: int,
        handler: str,
        kind: str = "",
        report: Callable[[float, float | None, str], None] = lambda done, total, note: None,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self.key = key
        self.attempt = attempt
        self.handler = handler
        self.kind = kind
        self._report = report
        self._is_cancelled = is_cancelled
        self._io_s = 0.0

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Tells whoever follows the task how far it is. Cheap: call it as often as you like, five a second leave, the newest always.

        Raises TypeError or ValueError for what is no number.
        """
        for name, value in (("done", done), ("total", 0 if total is None else total)):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"progress: {name} is {value!r}; give a number")
            if not math.isfinite(value):
                raise ValueError(f"progress: {name} is {value!r}; give a finite number")
        text = str(note)[:NOTE_CHARS_MAX].encode("utf-8", "replace").decode()
        self._report(float(done), None if total is None else float(total), text)

    @property
    def cancelled(self) -> bool:
        """The task was cancelled or its time is over. For loops in code that no exception can reach."""
        return self._is_cancelled()

    @property
    def logger(self) -> logging.Logger:
        """What is logged here is kept with the task, from level INFO on. Every other logger is kept too, at its own level."""
        logger = logging.getLogger(f"task.{self.handler}")
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.INFO)
        return logger

    @contextmanager
    def io(self, name: str) -> Iterator[None]:
        """Names a part that waits for another machine, so that its time counts as such: `with context.io("smtp"): ...`"""
        started_s = time.perf_counter()
        try:
            yield
        finally:
            self._io_s += time.perf_counter() - started_s

    @property
    def io_s(self) -> float:
        """Seconds spent in the parts named by `io` so far."""
        return self._io_s
