"""Arrays of whole numbers as bytes of one order on every machine (pure)."""

from __future__ import annotations

import sys
from array import array


def to_bytes(numbers: array[int]) -> bytes:
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers.tobytes()


def from_bytes(typecode: str, data: bytes) -> array[int]:
    """Raises `ValueError` when `data` is no whole count of numbers."""
    numbers = array(typecode)
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
