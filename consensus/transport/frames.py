"""Frames between nodes: u32 length, u32 CRC32C of the body (both big endian), then the body: one msgpack map with a "type".

Whatever a stranger sends ends as a `FrameError` with a sentence, and costs no more memory than one frame. Plain data only:
no pickles, no extension types (a foreign class can then never be asked for), no keys but texts and bytes. TCP's own checksum is 16 bits
and the memory of a bad machine has none, so each frame carries a better one.
"""

from __future__ import annotations

import struct
from typing import Any, NoReturn

import msgpack
from crc32c import crc32c

FRAME_BYTES_MAX = (
    1 << 20
)  # an entry is below 64 KiB, a chunk of a snapshot below that; the rest is room to grow
HANDSHAKE_BYTES_MAX = 4096  # what somebody may send who has not yet said who they are
ITEMS_MAX = (
    65_536  # of one list or map: a length is believed, and memory taken for it, before the items are there
)
_HEAD = struct.Struct(">II")


class FrameError(ValueError):
    """These bytes are no frame of ours; the text says in what way."""


class FrameTooLong(FrameError):
    """The length that it announces is above the limit."""


class FrameWriter:
    """Keeps its packer, for packing into a warm buffer is the cheaper half of sending. Not thread-safe."""

    def __init__(self) -> None:
        self._packer = msgpack.Packer(autoreset=True)

    def encode(self, message: dict[str, Any]) -> bytes:
        """One frame. Raises `FrameError` when it would be too long or holds what is no plain data: a bug of ours."""
        try:
            body: bytes = self._packer.pack(message)
        except (TypeError, ValueError, OverflowError) as error:
            self._packer.reset()  # else the half that was packed would stand before the next message
            raise FrameError(f"a message of type {message.get('type')!r} is no plain data: {error}") from None
        if len(body) > FRAME_BYTES_MAX:
            kind = message.get("type")
            raise FrameError(
                f"a message of type {kind!r} takes {len(body)} bytes, the limit is {FRAME_BYTES_MAX}"
            )
        return _HEAD.pack(len(body), crc32c(body)) + body


class FrameReader:
    """Cuts a stream of bytes into messages; holds one unfinished frame and what came with it."""

    def __init__(self, body_bytes_max: int = HANDSHAKE_BYTES_MAX) -> None:
        self.body_bytes_max = body_bytes_max  # raised by the owner when the other side is known
        self._data: bytes | bytearray = b""

    def add(self, data: bytes) -> None:
        if not self._data:
            self._data = data
            return
        if isinstance(self._data, bytes):
            self._data = bytearray(self._data)
        self._data += data

    def take(self, most: int | None = None) -> list[dict[str, Any]]:
        """The messages that are complete, `most` at most. Raises `FrameError`; the reader is then of no more use."""
        data, start, size = self._data, 0, len(self._data)
        messages: list[dict[str, Any]] = []
        while size - start >= _HEAD.size and (most is None or len(messages) < most):
            length, checksum = _HEAD.unpack_from(data, start)
            if length > self.body_bytes_max:
                raise FrameTooLong(f"a frame announces {length} bytes, the limit is {self.body_bytes_max}")
            end = start + _HEAD.size + length
            if end > size:
                break
            body = data[start + _HEAD.size : end]
            if crc32c(body) != checksum:
                raise FrameError(f"a frame of {length} bytes does not match its checksum")
            messages.append(_unpack(body))
            start = end
        if start:
            self._data = data[start:]
        return messages


def _unpack(body: bytes | bytearray) -> dict[str, Any]:
    try:
        message = msgpack.unpackb(
            body,
            ext_hook=_no_extension,
            max_ext_len=0,  # the hook is not asked for timestamps
            max_array_len=min(ITEMS_MAX, len(body)),
        )
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        said = str(error) or type(error).__name__
        raise FrameError(f"a frame of {len(body)} bytes is no msgpack of plain data: {said}") from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise FrameError("a frame holds no message: a map with a type was expected")
    return message


def _no_extension(code: int, _: bytes) -> NoReturn:
    raise ValueError(f"extension type {code}")
