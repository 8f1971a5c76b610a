"""What handlers leave behind for a bench: fixed records appended to one file, whole or not at all, whatever process writes them.

Standard library only: peers import this in environments of their own. One clock: all processes of a machine share the monotonic one, so
the submitter's moment in a task's arguments may be compared with the moment at which the handler started.
"""

from __future__ import annotations

import os
import struct
import time
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple


class Event(IntEnum):
    """What happened to a task."""

    SHORT_STARTED = 0
    LONG_STARTED = 1
    LONG_ENDED = 2
    BRIEF_STARTED = 3  # a brief run of the handler that also runs long


class Moment(NamedTuple):
    """`number`: of a long task its own; of all others the moment of the submit call, in monotonic nanoseconds."""

    event: Event
    number: int
    at_ns: int

    @property
    def wait_s(self) -> float:
        """From submit call to handler start."""
        return (self.at_ns - self.number) / 1e9


_RECORD = struct.Struct("<BQQ")
_open_files: dict[str, int] = {}


def note(file: str, event: Event, number: int) -> None:
    """Appends now."""
    at_ns = time.monotonic_ns()
    if file not in _open_files:
        _open_files[file] = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(_open_files[file], _RECORD.pack(event, number, at_ns))


def read_moments(file: Path) -> list[Moment]:
    """All so far, in the order in which they were written. A record that is being written is left out."""
    if not file.exists():
        return []
    data = file.read_bytes()
    whole = data[: len(data) // _RECORD.size * _RECORD.size]
    return [Moment(Event(event), number, at_ns) for event, number, at_ns in _RECORD.iter_unpack(whole)]
