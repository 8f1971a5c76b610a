"""Frames between node and worker: 4 bytes of length (big endian), then msgpack; at most 16 MB each."""

from __future__ import annotations

import struct

import msgpack

from executor.errors import FrameError

RECEIVE_BYTES = 262_144
FRAME_BYTES_MAX = 16 * 1024 * 1024
_LENGTH = struct.Struct(">I")


def encode_frame(message: list[object]) -> bytes:
    """One frame; raises FrameError when it would exceed the limit."""
    body: bytes = msgpack.packb(message)
    if len(body) > FRAME_BYTES_MAX:
        raise FrameError(f"a frame of {len(body)} bytes exceeds the limit of {FRAME_BYTES_MAX}")
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Cuts a stream of bytes into messages; holds at most one unfinished frame."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[list[object]]:
        """The messages that are complete now; raises FrameError for bytes that are no frames."""
        self._buffer += data
        messages: list[list[object]] = []
        start = 0
        while len(self._buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            if length > FRAME_BYTES_MAX:
                raise FrameError(f"a frame announces {length} bytes, the limit is {FRAME_BYTES_MAX}")
            end = start + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            messages.append(_unpack(bytes(self._buffer[start + _LENGTH.size : end])))
            start = end
        del self._buffer[:start]
        return messages


def _unpack(body: bytes) -> list[object]:
    try:
        message = msgpack.unpackb(body)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise FrameError(f"a frame of {len(body)} bytes cannot be decoded: {error!r}") from None
    if not isinstance(message, list) or not message or not isinstance(message[0], str):
        raise FrameError("a frame holds no message: a list that starts with its kind was expected")
    return message
