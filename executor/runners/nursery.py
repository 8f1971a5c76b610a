"""The node's side of the zygote: starts it, asks it for runners, hears of their births and ends (shell).

Used by the executor's own thread only. Nothing here waits, but `close`, for `CLOSE_S` at most.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from executor.runners.descriptors import receive, send

CLOSE_S = 3.0  # it gives its children one second


@dataclass(frozen=True, slots=True, kw_only=True)
class Forked:
    """The runner is a process now; `pidfd` belongs to who reads this."""

    number: int
    pid: int
    pidfd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NotForked:
    number: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """`code`: of its exit, or minus the number of the signal."""

    number: int
    code: int


class Nursery:
    """One zygote. It is started at once; requests may be made before it is ready."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.setblocking(False)
        # Runners find modules where the node does; "" stands for the working directory.
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "executor.runners.zygote", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path},
            )
        except BaseException:
            self.socket.close()
            raise
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, request: Sequence[object], fds: Sequence[int]) -> None:
        """Raises OSError when the zygote takes nothing now, or is dead."""
        send(self.socket, request, fds)

    def receive(self) -> tuple[list[Forked | NotForked | Ended], bool]:
        """What it has said since, and whether it is still there."""
        news: list[Forked | NotForked | Ended] = []
        while True:
            try:
                received = receive(self.socket)
            except BlockingIOError:
                return news, True
            if received is None:
                return news, False
            match received:
                case ["forked", int(number), int(pid)], [pidfd]:
                    news.append(Forked(number=number, pid=pid, pidfd=pidfd))
                case ["failed", int(number), str(why)], []:
                    news.append(NotForked(number=number, why=why))
                case ["ended", int(number), int(code)], []:
                    news.append(Ended(number=number, code=code))

    def close(self) -> None:
        """The zygote ends; runners that have not ended by then are killed by it."""
        self.socket.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(CLOSE_S)
        if self._process.poll() is None:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(CLOSE_S)
