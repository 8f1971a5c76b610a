"""A handler may fork. The copy must never act for the runner: it cannot reach the node, and ends when the handler returns in it.

Until then it behaves like any program: signals have their usual meaning again, and what it prints is not kept with the task.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Sequence
from typing import NoReturn


class Origin:
    """Knows whether this is still the process that the node started."""

    def __init__(self, sockets: Sequence[socket.socket], forget: Callable[[], None]) -> None:
        self.is_copy = False
        self._sockets = sockets
        self._forget = forget
        os.register_at_fork(after_in_child=self._become_copy)

    def leave(self) -> NoReturn:
        """The handler returned in a copy."""
        os._exit(0)

    def _become_copy(self) -> None:
        self.is_copy = True
        for each in self._sockets:
            os.close(each.detach())
        for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._forget()
