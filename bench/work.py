"""What the tasks of the benches do, the same for us and for each peer. Standard library only."""

from __future__ import annotations

import time

from bench.moments import Event, note

LONG_S = 1.0
BRIEF_S = 0.005


def nothing() -> None:
    return None


def note_start(submitted_ns: int, file: str) -> None:
    note(file, Event.SHORT_STARTED, submitted_ns)


def sleep_long(number: int, file: str) -> None:
    note(file, Event.LONG_STARTED, number)
    time.sleep(LONG_S)
    note(file, Event.LONG_ENDED, number)


def burn_long(number: int, file: str) -> None:
    note(file, Event.LONG_STARTED, number)
    burn(LONG_S)
    note(file, Event.LONG_ENDED, number)


def two_faced(number: int, file: str, is_long: bool) -> None:
    """Brief or long, and only its arguments tell; `number` as in `Moment`."""
    if is_long:
        burn_long(number, file)
    else:
        note(file, Event.BRIEF_STARTED, number)
        burn(BRIEF_S)


def burn(cpu_s: float) -> None:
    """So much time of a core, however long that takes beside others."""
    until = time.thread_time() + cpu_s
    while time.thread_time() < until:
        for _ in range(1000):
            pass
