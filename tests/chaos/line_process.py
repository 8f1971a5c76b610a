"""A process under test that is driven by lines of JSON on stdin and answers with lines of JSON on stdout.

A line is a list: a word, then values. Pipes tell apart what a test must not confuse: a line that was read was said, also by a process
that is dead by now. Only processes started here are signalled.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
END_S = 10.0
TROUBLE = ("ended", "error", "no answer")
LINES_MAX = 1_000_000  # unread; a test reads what it asked for


class LineProcess:
    """One life of one process. `heard(line)` is called for each line, on a thread of its own, before `wait` sees it."""

    def __init__(self, script: Path, arguments: Sequence[str], errors: Path) -> None:
        self.errors = errors
        with errors.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, str(script), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env=ENVIRONMENT,
            )
        self._lines: queue.Queue[list[Any]] = queue.Queue(LINES_MAX)
        self._reader = threading.Thread(target=self._read, name="lines", daemon=True)
        self._reader.start()

    def heard(self, line: list[Any]) -> None:
        """For subclasses that note what was said."""

    def _read(self) -> None:
        assert self.process.stdout is not None
        for data in self.process.stdout:
            if not data.endswith(b"\n"):
                break  # killed in the middle of a line
            line = json.loads(data)
            self.heard(line)
            self._lines.put(line)
        self._lines.put(["ended"])

    def tell(self, *command: Any) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(command).encode() + b"\n")
            self.process.stdin.flush()
        except (
            BrokenPipeError,
            ValueError,
        ):  # a pipe without a reader, or one that was closed with its process
            pytest.fail(f"it had ended before it was told {command}; {self.last_words()}")

    def wait(self, *words: str, timeout_s: float = 20.0) -> list[Any]:
        """The values of the line that `wait_line` gives."""
        return self.wait_line(*words, timeout_s=timeout_s)[1:]

    def wait_line(self, *words: str, timeout_s: float = 20.0) -> list[Any]:
        """The next line with one of these words; other lines are passed over. Fails the test at the deadline,
        at the process's end, and at a line of trouble that is not waited for: "error" or "no answer".
        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                pytest.fail(f"no {words} within {timeout_s} s; {self.last_words()}")
            if line[0] in words:
                return line
            if line[0] in TROUBLE:
                pytest.fail(f"{line} before {words}; {self.last_words()}")

    def ask(self, *command: Any, answers: tuple[str, ...], timeout_s: float = 20.0) -> list[Any]:
        self.tell(*command)
        return self.wait(*answers, timeout_s=timeout_s)

    def forget_lines(self) -> None:
        """Of what was said until now nothing is waited for any more."""
        while not self._lines.empty():
            self._lines.get_nowait()

    def last_words(self) -> str:
        return self.errors.read_text(errors="replace")[-2000:]

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, also to a stopped process; gone when this returns."""
        self._signal(signal.SIGKILL)
        self.close()

    def _signal(self, number: signal.Signals) -> None:
        if self.running:
            self.process.send_signal(number)

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if self.running:
            self.process.kill()
        self.process.wait(END_S)
        self._reader.join(END_S)
        self.process.stdin.close()
        self.process.stdout.close()
