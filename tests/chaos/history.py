"""What callers asked and what they were told, with the times: written so that no crash of a caller can hide a call.

A call is one line in a file before it leaves and one line after it returned. `write(2)` hands each line to the kernel, so a
killed process loses none; at most its last line is torn, and a call without a second line stays open for ever: it may have taken
effect at any time, or never. A call that was refused has surely not, and is dropped. Times are CLOCK_MONOTONIC, which all
processes of one machine share; the invocation is read before the first line and the return after the answer, so that a slow
writer makes an interval wider, never wrong.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from consensus import Refused

Answer = TypeVar("Answer")
HISTORY_BYTES_MAX = 256 * 1024 * 1024  # a longer file was not written by a test of minutes


class HistoryDamaged(ValueError):
    """A file of a history has a line that no recorder wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCall:
    """`answer` is plain JSON, None as long as `returned_ns` is None. `session` and `session_after`: what the caller
    believed to hold before and after.
    """

    node: str
    operation: str
    arguments: dict[str, Any]
    answer: Any
    invoked_ns: int
    returned_ns: int | None
    session: int | None
    session_after: int | None


class Recorder:
    """One file of one life of one caller; any of its threads may call. `session()` is asked around each call."""

    def __init__(
        self,
        file: Path,
        *,
        node: str,
        session: Callable[[], int | None] = lambda: None,
        refused: tuple[type[Exception], ...] = (Refused,),
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._node, self._session, self._refused, self._clock_ns = node, session, refused, clock_ns
        self._numbers = itertools.count(1)

    def call(self, operation: str, arguments: dict[str, Any], ask: Callable[[], Answer]) -> Answer:
        """Asks, between two lines. `ask` returns plain JSON. What it raises is raised: of `refused` the call is dropped,
        anything else leaves it open.
        """
        number = next(self._numbers)
        session, at = self._session(), self._clock_ns()
        line = {"call": number, "node": self._node, "operation": operation, "arguments": arguments}
        self._write({**line, "session": session, "at": at})
        try:
            answer = ask()
        except self._refused:
            self._write({"refused": number})
            raise
        at = self._clock_ns()
        self._write({"answered": number, "answer": answer, "session": self._session(), "at": at})
        return answer

    def _write(self, line: dict[str, Any]) -> None:
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        if os.write(self._file, data) != len(data):
            raise OSError("a line of the history was only written in part: is the disk full?")

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()


def read_history(files: Iterable[Path]) -> list[RecordedCall]:
    """All calls that were not refused, by invocation. Raises `HistoryDamaged`, but not for a torn last line."""
    calls = [call for file in files for call in _read_file(file)]
    return sorted(calls, key=lambda call: call.invoked_ns)


def _read_file(file: Path) -> list[RecordedCall]:
    if file.stat().st_size > HISTORY_BYTES_MAX:
        raise HistoryDamaged(f"{file} is larger than {HISTORY_BYTES_MAX} bytes")
    *whole, _torn = file.read_bytes().split(b"\n")
    started: dict[int, dict[str, Any]] = {}
    ended: dict[int, dict[str, Any]] = {}
    for place, data in enumerate(whole, 1):
        try:
            line = json.loads(data)
            if "call" in line:
                started[line["call"]] = line
            elif "refused" in line:
                del started[line["refused"]]
            else:
                ended[line["answered"]] = line
        except (ValueError, KeyError, TypeError) as error:
            raise HistoryDamaged(f"{file}, line {place} is no line of a history: {data[:80]!r}") from error
    if lost := ended.keys() - started.keys():
        raise HistoryDamaged(f"{file} has answers to calls that it does not have: {sorted(lost)[:5]}")
    return [_joined(line, ended.get(number)) for number, line in started.items()]


def _joined(line: dict[str, Any], end: dict[str, Any] | None) -> RecordedCall:
    return RecordedCall(
        node=line["node"],
        operation=line["operation"],
        arguments=line["arguments"],
        answer=None if end is None else end["answer"],
        invoked_ns=line["at"],
        returned_ns=None if end is None else end["at"],
        session=line["session"],
        session_after=None if end is None else end["session"],
    )
