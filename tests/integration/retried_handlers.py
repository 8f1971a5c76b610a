"""Handlers that fail in every way; each run leaves a line: when it began, and as which attempt."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from executor import Context, Retry, RetryLater, handler

QUICK = Retry(max_attempts=4, base_s=0.2, cap_s=1.0)


class Hopeless(ValueError):
    """Not worth a second run."""


def _note(folder: str, context: Context) -> int:
    """-> which run of this key it is."""
    with (Path(folder) / str(context.key)).open("a") as runs:
        runs.write(f"{time.time()} {context.attempt}\n")
    return context.attempt


@handler(retry=QUICK)
def fails_twice(folder: str, context: Context) -> int:
    if _note(folder, context) <= 2:
        raise ConnectionError("not yet")
    return context.attempt


@handler(retry=QUICK)
def fails(folder: str, context: Context) -> None:
    raise ConnectionError(f"no, not at attempt {_note(folder, context)}")


@handler(retry=Retry(max_attempts=4, base_s=0.1, never=(Hopeless,)))
def is_hopeless(folder: str, context: Context) -> None:
    _note(folder, context)
    raise Hopeless("never")


@handler(retry=None)
def fails_once_for_all(folder: str, context: Context) -> None:
    _note(folder, context)
    raise ConnectionError("no")


@handler(retry=QUICK)
def comes_back_later(folder: str, after_s: float, context: Context) -> int:
    if _note(folder, context) == 1:
        raise RetryLater(after_s)
    return context.attempt


@handler(retry=Retry(max_attempts=9, base_s=0.1, cap_s=0.2))
def kills_its_worker(folder: str, context: Context) -> None:
    _note(folder, context)
    os.kill(os.getpid(), signal.SIGKILL)


@handler(timeout_s=0.2, retry=Retry(max_attempts=2, base_s=0.1))
def is_too_slow(folder: str, context: Context) -> None:
    _note(folder, context)
    time.sleep(30)


@handler
def takes_one(folder: str, one: int, context: Context) -> None:
    _note(folder, context)
