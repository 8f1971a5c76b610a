"""Frames between node and runner: 4 bytes of length (big endian), then msgpack; at most 16 MB each.

Whole frames are decoded out of the received bytes as they are; only an unfinished one is kept, and copied once.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import msgpack

from executor.errors import FrameError

RECEIVE_BYTES = 262_144
FRAME_BYTES_MAX = 16 * 1024 * 1024
_LENGTH = struct.Struct(">I")

Message = list[Any]


def encode_frame(message: Sequence[object]) -> bytes:
    """One frame; raises FrameError when it would exceed the limit."""
    body: bytes = msgpack.packb(message)
    if len(body) > FRAME_BYTES_MAX:
        raise FrameError(f"a frame of {len(body)} bytes exceeds the limit of {FRAME_BYTES_MAX}")
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Cuts a stream of bytes into messages; holds at most one unfinished frame."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are complete now; raises FrameError for bytes that are no frames."""
        if self._rest:
            self._rest += data
            if len(self._rest) < _LENGTH.size + self._announced(self._rest, 0):
                return []
            data, self._rest = bytes(self._rest), bytearray()
        messages: list[Message] = []
        start, size = 0, len(data)
        while size - start >= _LENGTH.size:
            end = start + _LENGTH.size + self._announced(data, start)
            if end > size:
                break
            messages.append(_unpack(data[start + _LENGTH.size : end]))
            start = end
        if start < size:
            self._rest += data[start:]
        return messages

    @staticmethod
    def _announced(data: bytes | bytearray, start: int) -> int:
        if len(data) - start < _LENGTH.size:
            return 0
        length: int = _LENGTH.unpack_from(data, start)[0]
        if length > FRAME_BYTES_MAX:
            raise FrameError(f"a frame announces {length} bytes, the limit is {FRAME_BYTES_MAX}")
        return length


def _unpack(body: bytes) -> Message:
    try:
        message = msgpack.unpackb(body)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise FrameError(f"a frame of {len(body)} bytes cannot be decoded: {error!r}") from None
    if not isinstance(message, list) or not message or not isinstance(message[0], str):
        raise FrameError("a frame holds no message: a list that starts with its kind was expected")
    return message
