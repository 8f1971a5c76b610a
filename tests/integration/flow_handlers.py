"""Handlers whose order and duration the tests of the flow see in files."""

from __future__ import annotations

import time
from pathlib import Path

from executor import handler

HELD_S_MAX = 60.0


def _note(file: str, word: str) -> None:
    with Path(file).open("a") as notes:
        notes.write(f"{word}\n")


@handler(lane="cpu-short")
def note(file: str, word: str) -> None:
    _note(file, word)


@handler(lane="cpu-short")
def note_slowly(file: str, word: str) -> None:
    time.sleep(0.005)
    _note(file, word)


@handler(lane="cpu-long")
def hold(until: str) -> None:
    """Runs until the file is there."""
    end = time.monotonic() + HELD_S_MAX
    while not Path(until).exists() and time.monotonic() < end:
        time.sleep(0.01)


@handler(lane="io-short")
def hold_io(until: str) -> None:
    hold(until)


@handler(lane="io-short")
def note_io(file: str, word: str) -> None:
    _note(file, word)
