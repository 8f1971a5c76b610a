"""Ends a conversation with a server at a fixed time, whatever the server does.

The time limit of a socket is one for each read: a server that sends a byte now and then never meets it. Here a timer shuts the
connection down when the time of the whole question is over; the read then ends at once.
"""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from types import TracebackType


class Deadline:
    """`with Deadline(10) as deadline:`; each connection is given to `watch`. Afterwards `is_over` tells whether it cut them."""

    def __init__(self, timeout_s: float) -> None:
        self.is_over = False
        self._lock = threading.Lock()
        self._watched: list[socket.socket] = []
        self._timer = threading.Timer(timeout_s, self._cut)
        self._timer.name = "check-deadline"
        self._timer.daemon = True

    def __enter__(self) -> Deadline:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            for each in self._watched:
                each.close()
            self._watched.clear()

    def watch(self, connection: socket.socket) -> None:
        """Kept as a duplicate: TLS gives the same connection another object, and closes the first."""
        with self._lock:
            self._watched.append(socket.socket(fileno=os.dup(connection.fileno())))
            if self.is_over:
                self._shut()

    def _cut(self) -> None:
        with self._lock:
            self.is_over = True
            self._shut()

    def _shut(self) -> None:
        for each in self._watched:
            with suppress(OSError):  # the other side may have been faster
                each.shutdown(socket.SHUT_RDWR)
