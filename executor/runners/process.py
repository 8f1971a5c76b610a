"""The parent's side of one worker process: starts it, moves its bytes, and knows which task it was at.

Used by the executor's own thread only. Nothing here waits, but `reap`, which ends within 5 s.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence

from executor.errors import FrameError
from executor.runners.frames import RECEIVE_BYTES, FrameReader, encode_frame
from executor.runners.slot import SLOT_BYTES, read
from executor.task import Task

POLITE_S = 0.5
REAP_S = 4.0


class WorkerProcess:
    """One worker. `in_flight` maps the number given to each sent task to that task, in the order sent."""

    def __init__(self, slot: int, modules: Sequence[str]) -> None:
        self.slot = slot
        self.ready = False
        self.refusal: str | None = None
        self.in_flight: dict[int, Task] = {}
        self.batches: list[int] = []  # last number of each batch that is not finished
        self.hard_timeout: int | None = None
        self._out = bytearray()
        self._reader = FrameReader()
        self.socket, child = socket.socketpair()
        slot_fd = os.memfd_create("quorate-slot")
        try:
            os.ftruncate(slot_fd, SLOT_BYTES)
            self._slot = mmap.mmap(slot_fd, SLOT_BYTES)
            self.socket.setblocking(False)
            # The worker finds modules where the node does; "" stands for the working directory.
            path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "executor.runners.worker",
                    str(child.fileno()),
                    str(slot_fd),
                    *modules,
                ],
                pass_fds=(child.fileno(), slot_fd),
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path},
            )
        except BaseException:
            self.socket.close()
            raise
        finally:
            child.close()
            os.close(slot_fd)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, numbered: Sequence[tuple[int, Task]]) -> None:
        """Queues one batch; `flush` moves it. At most two batches are under way, so this queue is bounded."""
        tasks: list[object] = [
            [number, task.key, task.attempt, task.handler, task.arguments] for number, task in numbered
        ]
        self._out += encode_frame(["run", tasks])
        self.in_flight.update(numbered)
        self.batches.append(numbered[-1][0])
        self.flush()

    def flush(self) -> None:
        """Writes what the socket takes now; a broken socket shows itself in `receive`."""
        with contextlib.suppress(OSError):
            while self._out:
                del self._out[: self.socket.send(self._out)]

    @property
    def wants_write(self) -> bool:
        return bool(self._out)

    def receive(self) -> tuple[list[list[object]], bool]:
        """Messages that are complete now, and whether the worker is still there."""
        messages: list[list[object]] = []
        while True:
            try:
                data = self.socket.recv(RECEIVE_BYTES)
            except BlockingIOError:
                return messages, True
            except OSError:
                return messages, False
            if not data:
                return messages, False
            try:
                messages += self._reader.feed(data)
            except FrameError:
                return messages, False

    def finish(self, number: int) -> Task | None:
        """Takes the task off the list of those in flight; None if it is not there."""
        task = self.in_flight.pop(number, None)
        while self.batches and number >= self.batches[0]:
            self.batches.pop(0)
        return task

    def started(self) -> tuple[int, float]:
        """Number and start (monotonic seconds) of the last task that the worker began; number 0 for none."""
        return read(self._slot)

    @property
    def is_gone(self) -> bool:
        """The process ended; a child of a handler may still hold its socket open."""
        return self._process.poll() is not None

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)

    def reap_wait(self) -> None:
        """After `kill`: waits until the process is gone, so that all it wrote can be read."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(REAP_S)

    def reap(self) -> str:
        """Ends the process for sure, frees everything, and says how it ended."""
        self.socket.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(POLITE_S)
        self.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(REAP_S)
        code = self._process.returncode
        if code is not None and code < 0:
            return f"signal {signal.Signals(-code).name}"
        return f"exit code {code}"
