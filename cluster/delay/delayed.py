"""A delayed task as bytes: two magic bytes, one version byte, then msgpack `[due_ms, priority, bytes of the task]`.

The lane is not kept: a task is routed when it is due, by what the cluster knows of its handler then.
"""

from __future__ import annotations

from typing import NamedTuple

import msgpack

from cluster.errors import RecordError
from cluster.routing import PRIORITIES

MAGIC = b"QD"
VERSION = 1
HEAD = MAGIC + bytes([VERSION])


class Delayed(NamedTuple):
    """`due_ms`: wall clock. `value`: the task's own record."""

    due_ms: int
    priority: str
    value: bytes


def encode_delayed(delayed: Delayed) -> bytes:
    return HEAD + bytes(msgpack.packb(delayed))


def decode_delayed(value: bytes | None) -> Delayed:
    """Raises `RecordError` for anything that is no delayed task of a version that this node knows."""
    if value is None or value[:2] != MAGIC or len(value) < 4:
        raise RecordError("the record is no delayed task (magic bytes missing)")
    if value[2] != VERSION:
        raise RecordError(
            f"the delayed record has version {value[2]}, this node reads version {VERSION}: update this node"
        )
    try:
        fields = msgpack.unpackb(value[3:])
    except Exception as error:  # msgpack raises several unrelated classes for broken bytes
        raise RecordError(f"the delayed record is damaged: {type(error).__name__}") from error
    match fields:
        case [int(due_ms), str(priority), bytes(record)] if priority in PRIORITIES:
            return Delayed(due_ms, priority, record)
    raise RecordError("the delayed record has unexpected fields")
