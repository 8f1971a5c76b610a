"""Handlers whose effects are files: one line for each run. Those that wait do so for a file, never for time."""

from __future__ import annotations

import os
import time
from pathlib import Path

from executor import Context, handler


def leave_effect(folder: str, key: int) -> None:
    """One line in the file of this key, written in one call: a second run is a second line."""
    descriptor = os.open(Path(folder) / str(key), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, b"x\n")
    os.close(descriptor)


@handler
def held(folder: str, context: Context) -> None:
    leave_effect(folder, context.key)


@handler
def free(folder: str, context: Context) -> None:
    leave_effect(folder, context.key)


@handler(lane="io-short")
def elsewhere(folder: str, context: Context) -> None:
    leave_effect(folder, context.key)


@handler
def told(gate: str, context: Context) -> str:
    """Says how far it is and what it does, then waits for `gate` to appear."""
    print("printed by", context.key)
    context.logger.warning("logged by %d", context.key)
    context.progress(3, 10, "reading")
    while not Path(gate).exists():
        time.sleep(0.01)
    return "ended"


@handler(lane="io-short")
def gated(folder: str, gate: str, context: Context) -> None:
    """Its effect is there from its start; it ends when `gate` appears."""
    leave_effect(folder, context.key)
    while not Path(gate).exists():
        time.sleep(0.01)


@handler
def takes_long(s: float) -> None:
    time.sleep(s)
