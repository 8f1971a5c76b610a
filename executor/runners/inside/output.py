"""What a task prints and logs is kept with the task: its last part, in the order written.

`sys.stdout`, `sys.stderr` and the root logger lead to the *current* capture. Where many tasks run at once, a context variable names it:
each thread and each coroutine has its own. Where one task runs at a time, the capture is simply set for the whole process, so that
threads that the handler starts are heard too. What is written outside of tasks goes to the real stderr; programs that a handler starts
write where they always would.
"""

from __future__ import annotations

import io
import logging
import sys
import threading
from contextvars import ContextVar
from typing import Any, TextIO

OUTPUT_BYTES_MAX = 16_384  # a task's share of an answer; enough for the end of a story


class Capture:
    """The end of what one task wrote. Any thread may write."""

    __slots__ = ("_lock", "text")

    def __init__(self) -> None:
        self.text = ""
        self._lock = threading.Lock()

    def write(self, text: str) -> None:
        with self._lock:
            self.text = (self.text + text[-OUTPUT_BYTES_MAX:])[-OUTPUT_BYTES_MAX:]

    def take(self) -> str | None:
        """What was written since the last take, within the bound; None for nothing."""
        if not self.text:
            return None
        with self._lock:
            text, self.text = self.text, ""
        encoded = text.encode("utf-8", "replace")
        return encoded[-OUTPUT_BYTES_MAX:].decode("utf-8", "ignore")


class Output:
    """Decides where text goes. `everywhere`: the capture of a process that runs one task at a time."""

    def __init__(self) -> None:
        self.everywhere: Capture | None = None
        self._current: ContextVar[Capture | None] = ContextVar("quorate_task_output", default=None)
        self._real: tuple[TextIO, TextIO] | None = None
        self._log = _TaskLog(self)

    def enter(self, capture: Capture | None) -> None:
        """From here on this thread, or this coroutine, writes to `capture`."""
        self._current.set(capture)

    def write(self, text: str) -> None:
        capture = self._current.get() or self.everywhere
        if capture is not None:
            capture.write(text)
        elif self._real is not None:
            self._real[1].write(text)
            self._real[1].flush()

    def install(self) -> None:
        """Takes the place of the streams and joins the root logger."""
        self._real = (sys.stdout, sys.stderr)
        sys.stdout, sys.stderr = _Stream(self, sys.stdout), _Stream(self, sys.stderr)
        logging.getLogger().addHandler(self._log)

    def remove(self) -> None:
        """Gives the streams back: at the end, and in a copy of the process that a handler made."""
        if self._real is not None:
            sys.stdout, sys.stderr = self._real
            self._real = None
        logging.getLogger().removeHandler(self._log)


class _Stream(io.TextIOBase):
    """Stands for one real stream: text is sorted by task, the descriptor is the real one."""

    def __init__(self, output: Output, real: TextIO) -> None:
        self._output = output
        self._descriptor = real.fileno
        self.buffer = _Bytes(output)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "replace"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor()

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if text:
            self._output.write(text)
        return len(text)


class _Bytes(io.RawIOBase):
    """`sys.stdout.buffer`: bytes that are text after all."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = bytes(data)
        self._output.write(view.decode("utf-8", "replace"))
        return len(view)


class _TaskLog(logging.Handler):
    """Log records as lines of the task's output."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._output.write(self.format(record) + "\n")
        except Exception:
            self.handleError(record)
