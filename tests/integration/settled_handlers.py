"""Handlers that fail until a file appears; effects are files, one line for each run that succeeded."""

from __future__ import annotations

from pathlib import Path

from executor import Context, Retry, handler
from tests.integration.steered_handlers import leave_effect


class StillBroken(Exception):
    """As long as the file is not there."""


@handler(retry=Retry(max_attempts=1))
def fails(folder: str, repaired: str, context: Context) -> None:
    if not Path(repaired).exists():
        raise StillBroken(f"{Path(repaired).name} is not there")
    leave_effect(folder, context.key)


@handler(retry=Retry(max_attempts=1))
def fails_otherwise(folder: str, context: Context) -> None:
    raise ValueError("never well")


@handler
def works(folder: str, context: Context) -> int:
    leave_effect(folder, context.key)
    return context.key
