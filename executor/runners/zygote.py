"""One clean process that does nothing but fork runners: `python -m executor.runners.zygote SOCKET_FD` (shell).

The node has threads, so it must never fork; a fresh interpreter for each runner costs 50 to 100 ms. The zygote has one thread, has
imported what every runner needs and no handler, and forks one in a millisecond. It tells the node how each of its children ended. Runners
do not depend on it: the node starts another when it dies. When the node is gone, it gives its children a moment to end by themselves and
kills the rest.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from typing import NoReturn

from executor.errors import FrameError
from executor.runners import child
from executor.runners.birth import LONG_NICE, Birth, read_request
from executor.runners.descriptors import receive, send

ORPHAN_GRACE_S = 1.0  # runners end themselves when the node is gone; one that holds the GIL in C code cannot


class Zygote:
    """`live`: what a child does with its birth, until it ends with that exit code."""

    def __init__(self, connection: socket.socket, live: Callable[[Birth], int]) -> None:
        self._connection, self._live = connection, live
        self._poll = select.poll()
        self._poll.register(connection.fileno(), select.POLLIN)
        self._children: dict[int, tuple[int, int]] = {}  # by pid: number of the runner, pidfd
        self._pids: dict[int, int] = {}  # by pidfd

    def serve(self) -> None:
        """Until the node is gone."""
        while True:
            for fd, _ in self._poll.poll():
                if fd != self._connection.fileno():
                    self._bury(self._pids[fd])
                elif not self._hear():
                    return

    def end_orphans(self) -> None:
        deadline = time.monotonic() + ORPHAN_GRACE_S
        self._poll.unregister(self._connection.fileno())
        self._connection.close()
        while self._children and (left_s := deadline - time.monotonic()) > 0:
            for fd, _ in self._poll.poll(left_s * 1000):
                self._forget(self._pids[fd])
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)  # not reaped yet, so the pid is still its own

    def _hear(self) -> bool:
        received = receive(self._connection)
        if received is None:
            return False
        request, fds = received
        try:
            birth = read_request(request, fds)
            pid = os.fork()
        except (FrameError, OSError) as error:
            number = request[1] if isinstance(request, list) and len(request) > 1 else 0
            send(self._connection, ["failed", number, str(error)])
        else:
            if pid == 0:
                self._become(birth)
            pidfd = os.pidfd_open(pid)
            self._children[pid] = (birth.number, pidfd)
            self._pids[pidfd] = pid
            self._poll.register(pidfd, select.POLLIN)
            send(self._connection, ["forked", birth.number, pid], [pidfd])
        for fd in fds:
            os.close(fd)
        return True

    def _bury(self, pid: int) -> None:
        number, _ = self._children[pid]
        status = self._forget(pid)
        send(self._connection, ["ended", number, status])

    def _forget(self, pid: int) -> int:
        _, pidfd = self._children.pop(pid)
        del self._pids[pidfd]
        self._poll.unregister(pidfd)
        os.close(pidfd)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def _become(self, birth: Birth) -> NoReturn:
        """The child: becomes the runner, and never returns."""
        code = 1
        try:
            self._connection.close()
            for _, pidfd in self._children.values():
                os.close(pidfd)
            gc.unfreeze()
            if birth.is_long:
                os.nice(LONG_NICE)
            code = self._live(birth)
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            os._exit(code)


def main(arguments: list[str]) -> int:
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # sent to the whole group; the node decides when runners end
        signal.signal(number, signal.SIG_IGN)
    zygote = Zygote(socket.socket(fileno=int(arguments[0])), child.main)
    gc.collect()
    gc.freeze()  # shared pages stay shared
    with contextlib.suppress(
        ConnectionError
    ):  # broken or reset, as the node died: its orphans still have to end
        zygote.serve()
    zygote.end_orphans()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
