"""Memory that node and worker share: number and start of the task the worker is at. It outlives a killed worker."""

from __future__ import annotations

import mmap
import struct

SLOT_BYTES = 16
_START = struct.Struct("<d")
_NUMBER = struct.Struct("<Q")


def write(slot: mmap.mmap, *, number: int, start_s: float) -> None:
    """The start goes first: a reader between the two writes sees an old number with a newer start, never older."""
    _START.pack_into(slot, 8, start_s)
    _NUMBER.pack_into(slot, 0, number)


def read(slot: mmap.mmap) -> tuple[int, float]:
    """Number (0: none yet) and start in monotonic seconds."""
    number: int = _NUMBER.unpack_from(slot, 0)[0]
    start_s: float = _START.unpack_from(slot, 8)[0]
    return number, start_s
