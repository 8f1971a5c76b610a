"""What has ended and is not told yet. Runners add, whoever is at hand sends.

Three lists that only grow at their end and are only cut at their front: each step is one atomic operation of the interpreter, so adding
needs no lock. A sample is added before its number and sent no later than it, so the node always finds the task it belongs to.
"""

from __future__ import annotations

import os
import socket
import threading
from typing import Any

from executor.runners.frames import encode_frame
from executor.runners.inside.calls import FINAL, Misfit, result_bytes
from executor.task import Fault, Sample, Status

FLUSH_BYTES = 1_000_000
FRAME_RESULT_BYTES = 4_000_000  # results and output in one frame, so that it stays far below its limit
ENTRY_BYTES = 20_000  # bound of error, traceback and output of one entry, roughly


class Answers:
    """`done`: numbers of plain successes. `ended`: everything else, as lists of fields."""

    def __init__(self, data: socket.socket) -> None:
        self.done: list[int] = []
        self.samples: list[list[object]] = []
        self.ended: list[list[Any]] = []
        self.held_bytes = 0
        self._data = data
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def end(
        self,
        number: int,
        status: Status,
        *,
        result: bytes | None = None,
        error: str | None = None,
        trace: str | None = None,
        sample: Sample | None = None,
        output: str | None = None,
        fault: Fault | None = None,
    ) -> None:
        """Everything that is no plain success."""
        self.held_bytes += len(result or b"")
        fields = None if sample is None else list(sample)
        self.ended.append([number, status.value, result, error, trace, fields, output, fault])

    def succeed(
        self, number: int, name: str, value: object, sample: Sample | None, output: str | None
    ) -> None:
        """The handler of this name returned `value`."""
        if value is None and output is None:
            if sample is not None:
                self.samples.append([number, *sample])
            self.done.append(number)
            return
        try:
            self.end(number, Status.DONE, result=result_bytes(name, value), sample=sample, output=output)
        except Misfit as misfit:
            self.end(number, Status.FAILED, error=str(misfit), sample=sample, output=output, fault=FINAL)

    def flush(self) -> None:
        """Sends all there is, unless another thread is just doing so: that one looks again before it leaves. Raises OSError: the
        node is gone."""
        if os.getpid() != self._pid:
            os._exit(0)  # a copy of this process, made behind the interpreter's back
        while self.done or self.ended:
            if not self._lock.acquire(blocking=False):
                return
            try:
                self._send()
            finally:
                self._lock.release()

    def _send(self) -> None:
        frames = b""
        if self.done:
            numbers = self.done[:]
            del self.done[: len(numbers)]
            samples = self.samples[:]
            del self.samples[: len(samples)]
            frames = encode_frame(["done", numbers, samples])
        while self.ended:
            ended, size_bytes = [], 0
            while self.ended and size_bytes < FRAME_RESULT_BYTES:
                ended.append(self.ended.pop(0))
                size_bytes += len(ended[-1][2] or b"") + ENTRY_BYTES
            self.held_bytes = 0
            self._data.sendall(frames + encode_frame(["ended", ended]))
            frames = b""
        if frames:
            self._data.sendall(frames)
