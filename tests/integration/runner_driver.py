"""Starts the child's side of a runner as a real process and speaks the node's part of the protocol, one message at a time."""

from __future__ import annotations

import mmap
import os
import select
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from executor import encode_arguments
from executor.runners.frames import FrameReader, encode_frame
from executor.runners.slot import TABLE_BYTES, SlotTable

DEADLINE_S = 20.0
_START = (
    "import sys; from executor.runners.birth import Birth; from executor.runners.child import main; from executor.task import Form; "
    "form, slots, data, control, table, *modules = sys.argv[1:]; "
    "sys.exit(main(Birth(number=1, form=Form(form), is_long=False, slots=int(slots), modules=tuple(modules), "
    "data_fd=int(data), control_fd=int(control), slots_fd=int(table))))"
)


class Runner:
    """`messages`: all that came from either socket, in order of arrival. `ended`: number -> fields of its answer."""

    def __init__(self, form: str, folder: Path, *modules: str, slots: int = 1) -> None:
        self.messages: list[list[Any]] = []
        self.ended: dict[int, list[Any]] = {}
        self.samples: dict[int, list[Any]] = {}
        self.next = 1
        self._errors: str | None = None
        self.data, data = socket.socketpair()
        self.control, control = socket.socketpair()
        slots_fd = os.memfd_create("slots")
        os.ftruncate(slots_fd, TABLE_BYTES)
        self.table = SlotTable(mmap.mmap(slots_fd, TABLE_BYTES))
        path = os.pathsep.join(
            [str(folder), str(Path(__file__).parent), *(entry or os.getcwd() for entry in sys.path)]
        )
        fds = (data.fileno(), control.fileno(), slots_fd)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _START, form, str(slots), *map(str, fds), *modules],
            pass_fds=fds,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        data.close()
        control.close()
        os.close(slots_fd)
        self._readers = {self.data: FrameReader(), self.control: FrameReader()}

    def run(self, handler: str, *args: object, **kwargs: object) -> int:
        """Sends one task; its number."""
        return self.run_many(handler, [(args, kwargs)])[0]

    def run_many(
        self, handler: str, calls: list[tuple[Any, Any]], *, kind: str = "", attempt: int = 1
    ) -> list[int]:
        """Sends one batch; its numbers. Keys are numbers + 100."""
        first = self.next
        tasks = [
            [0, number + 100, attempt, handler, encode_arguments(args, kwargs), kind, 2]
            for number, (args, kwargs) in enumerate(calls, first)
        ]
        self.next += len(calls)
        self.data.sendall(encode_frame(["run", first, tasks]))
        return list(range(first, self.next))

    def run_mixed(self, calls: list[tuple[str, tuple[object, ...]]]) -> list[int]:
        """Sends one batch of different handlers; its numbers."""
        first = self.next
        tasks = [
            [0, number + 100, 1, handler, encode_arguments(args, {}), "", 2]
            for number, (handler, args) in enumerate(calls, first)
        ]
        self.next += len(calls)
        self.data.sendall(encode_frame(["run", first, tasks]))
        return list(range(first, self.next))

    def tell(self, *message: object) -> None:
        self.control.sendall(encode_frame(message))

    def tell_many(self, messages: list[tuple[object, ...]]) -> None:
        self.control.sendall(b"".join(encode_frame(message) for message in messages))

    def pump(self, timeout_s: float) -> bool:
        """Takes in what comes within this time; False when nothing did."""
        ready, _, _ = select.select(list(self._readers), [], [], timeout_s)
        for each in ready:
            try:
                data = each.recv(262_144)
            except ConnectionResetError:  # it ended with something unread
                data = b""
            if not data:
                del self._readers[each]
            for message in self._readers[each].feed(data) if data else []:
                self.messages.append(message)
                if message[0] == "done":
                    self.samples.update((number, sample) for number, *sample in message[2])
                    self._end((number, "done", None, None, None, None, None) for number in message[1])
                elif message[0] == "ended":
                    self.samples.update((fields[0], fields[5]) for fields in message[1] if fields[5])
                    self._end(message[1])
        return bool(ready)

    def _end(self, rows: Any) -> None:
        for number, *fields in rows:
            assert number not in self.ended, f"{number} ended twice"
            self.ended[number] = fields

    def await_message(self, kind: str, *, after: int = 0) -> list[Any]:
        """The first message of this kind from index `after` on."""
        end_s = time.monotonic() + DEADLINE_S
        while True:
            for message in self.messages[after:]:
                if message[0] == kind:
                    return message
            assert time.monotonic() < end_s, f"no {kind!r} came; {self.messages[-5:]}"
            assert self._readers, f"the runner ended without {kind!r}: {self.messages[-5:]}"
            self.pump(0.5)

    def outcome(self, number: int) -> list[Any]:
        """Status, result, error, traceback, sample, output."""
        end_s = time.monotonic() + DEADLINE_S
        while number not in self.ended:
            assert time.monotonic() < end_s, f"no outcome of {number}; {self.messages[-5:]}"
            assert self._readers, f"the runner ended without an outcome of {number}"
            self.pump(0.5)
        return self.ended[number]

    def await_end(self) -> int:
        """Reads both sockets to their ends; the exit code."""
        end_s = time.monotonic() + DEADLINE_S
        while self._readers:
            assert time.monotonic() < end_s, "the runner did not end"
            self.pump(0.5)
        return self.process.wait(DEADLINE_S)

    def close(self) -> str:
        """Ends it for sure; what it wrote to the real stderr."""
        if self._errors is None:
            self.process.kill()
            self._errors = self.process.communicate()[1].decode()
            self.data.close()
            self.control.close()
        return self._errors


def await_file(path: Path) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not path.exists():
        assert time.monotonic() < end_s, f"{path} did not appear"
        select.select([], [], [], 0.002)


def await_text(path: Path, text: str) -> None:
    """Waits until the file holds something, which must be this."""
    await_file(path)
    end_s = time.monotonic() + DEADLINE_S
    while not (found := path.read_text()):
        assert time.monotonic() < end_s, f"{path} stayed empty"
        select.select([], [], [], 0.002)
    assert found == text
