"""What one call carries: many tasks or keys are cut into calls that a node answers soon and a message holds (pure)."""

from __future__ import annotations

from collections.abc import Sequence

from cluster.api import NewTask
from cluster.rpc import wire


def key_parts(keys: Sequence[int]) -> list[list[int]]:
    return [list(keys[start : start + wire.TASKS_MAX]) for start in range(0, len(keys), wire.TASKS_MAX)]


def submit_parts(tasks: Sequence[NewTask]) -> list[Sequence[NewTask]]:
    """What several calls at a time may carry: while a node works on one, the next is made."""
    return [tasks[start : start + wire.TASKS_MAX] for start in range(0, len(tasks), wire.TASKS_MAX)]


def fitting(tasks: Sequence[NewTask], places: Sequence[int]) -> list[int]:
    """As many of `places` as one message carries, at least one; a quarter is left for names and frames."""
    room_bytes = wire.MESSAGE_BYTES_MAX * 3 // 4
    chosen: list[int] = []
    for place in places[: wire.TASKS_MAX]:
        room_bytes -= len(tasks[place].arguments)
        if chosen and room_bytes < 0:
            break
        chosen.append(place)
    return chosen
