"""One end of a socket that carries frames, and never waits: what the socket does not take now is kept (shell)."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from executor.errors import FrameError
from executor.runners.frames import RECEIVE_BYTES, FrameReader, Message, encode_frame


class Channel:
    """`is_open` turns False for good when the other end is gone or talks nonsense; then all is dropped."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self.is_open = True
        self._out = bytearray()
        self._reader = FrameReader()
        end.setblocking(False)

    @property
    def unsent_bytes(self) -> int:
        return len(self._out)

    def put(self, message: Sequence[object]) -> None:
        """Keeps one frame until `flush`: each system call lets go of the interpreter, so one for many. Who calls bounds what is kept."""
        self._out += encode_frame(message)

    def flush(self) -> None:
        """Writes what the socket takes now."""
        try:
            while self._out:
                del self._out[: self.socket.send(self._out)]
        except BlockingIOError:
            return
        except OSError:
            self._out.clear()  # the end shows itself in `receive`, after all that was written before it

    def receive(self) -> list[Message]:
        """What is complete now. One call reads one buffer at most, so that no runner keeps the others waiting."""
        try:
            data = self.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self.is_open = False
            return []
        try:
            return self._reader.feed(data)
        except FrameError:
            self.is_open = False
            return []

    def receive_all(self) -> list[Message]:
        """All that was written before the end of a process that is gone. A copy of it may hold the other end open: so not until EOF."""
        messages: list[Message] = []
        while self.is_open:
            try:
                data = self.socket.recv(RECEIVE_BYTES)
                if not data:
                    break
                messages += self._reader.feed(data)
            except (OSError, FrameError):
                break
        self.is_open = False
        return messages

    def close(self) -> None:
        self.is_open = False
        self.socket.close()
