"""The side thread of a runner: the control socket, beats, and the end of the process when the node is gone.

It is the only one that writes to the control socket; others leave messages and wake it. It does nothing that may wait for the tasks: a
runner whose handlers hang still beats, hears, and ends.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import threading
import time
import traceback
from collections import deque
from typing import Protocol

from executor.runners.frames import RECEIVE_BYTES, FrameReader, Message, encode_frame
from executor.runners.inside.meter import rss_bytes
from executor.runners.inside.reports import Reports

BEAT_EVERY_S = 0.5
PROBE_S = 0.001
BROKEN_EXIT_CODE = 70


class Work(Protocol):
    """What the side thread asks of a form; none of it may wait."""

    @property
    def looks_every_s(self) -> float: ...
    @property
    def stuck(self) -> int: ...
    @property
    def abandoned(self) -> int: ...

    def recall(self, numbers: list[int]) -> list[int]: ...
    def cancel(self, number: int) -> None: ...
    def resize(self, slots: int) -> None: ...
    def drain(self) -> None: ...
    def look(self, now_s: float) -> None: ...


class SideThread:
    """`probe_s`: how much longer than asked it last slept, the time that threads here wait for the interpreter."""

    def __init__(self, control: socket.socket) -> None:
        self.reports = Reports(self.wake, time.monotonic)
        self.probe_s = 0.0
        self._control = control
        self._wakeup = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._messages: deque[list[object]] = deque()
        self._unheard: deque[Message] = deque()  # what the node said before there was a form
        self._sent = threading.Event()
        self._work: Work | None = None
        self._thread = threading.Thread(target=self._run, name="side", daemon=True)
        self._thread.start()

    def attach(self, work: Work, hello: list[object]) -> None:
        """From here on it serves this form, and says so."""
        self._work = work
        self._messages.appendleft(hello)
        self.wake()

    def post(self, message: list[object]) -> None:
        """Sends it soon; from any thread."""
        self._messages.append(message)
        self.wake()

    def post_last(self, message: list[object], timeout_s: float) -> None:
        """Sends it and waits until it has left."""
        self._sent.clear()
        self.post(message)
        self._sent.wait(timeout_s)

    def wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_write(self._wakeup, 1)

    def _run(self) -> None:
        try:
            self._serve()
        except OSError:
            os._exit(0)  # the control socket broke: the node is gone
        except BaseException:
            print("the side thread of a runner failed; the runner ends:", file=sys.__stderr__)
            traceback.print_exc(file=sys.__stderr__)
            os._exit(BROKEN_EXIT_CODE)

    def _serve(self) -> None:
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        poller.register(self._wakeup, select.POLLIN)
        reader = FrameReader()
        beat_s = look_s = time.monotonic() + BEAT_EVERY_S
        while True:
            wait_s = max(0.0, min(beat_s, look_s) - time.monotonic())
            for descriptor, _ in poller.poll(wait_s * 1000 + 1):
                if descriptor == self._wakeup:
                    with contextlib.suppress(BlockingIOError):
                        os.eventfd_read(self._wakeup)
                    continue
                data = self._control.recv(RECEIVE_BYTES)
                if not data:
                    os._exit(0)
                self._unheard.extend(reader.feed(data))
            work, now_s = self._work, time.monotonic()
            if work is not None:
                while self._unheard:
                    self._heed(work, self._unheard.popleft())
                if now_s >= look_s:
                    work.look(now_s)
                    look_s = now_s + work.looks_every_s
                look_s = min(look_s, now_s + work.looks_every_s)
                if now_s >= beat_s:
                    self._probe()
                    self._messages.append(["beat", rss_bytes(), self.probe_s, work.stuck, work.abandoned])
                    beat_s = now_s + BEAT_EVERY_S
            else:
                beat_s = look_s = now_s + BEAT_EVERY_S
            self._send()

    def _heed(self, work: Work, message: Message) -> None:
        match message:
            case ["recall", list(numbers)]:
                self._messages.append(["recalled", work.recall(numbers)])
            case ["cancel", int(number)]:
                work.cancel(number)
            case ["resize", int(slots)]:
                work.resize(slots)
            case ["drain"]:
                with contextlib.suppress(OSError):  # the node closed that side already
                    work.drain()
            case _:
                raise ValueError(f"the node sent a message that this runner does not know: {message!r}")

    def _probe(self) -> None:
        started_s = time.perf_counter()
        time.sleep(PROBE_S)
        self.probe_s = max(0.0, time.perf_counter() - started_s - PROBE_S)

    def _send(self) -> None:
        while self._messages:
            self._control.sendall(encode_frame(self._messages.popleft()))
        for report in self.reports.take():
            self._control.sendall(encode_frame(report))
        self._sent.set()
