"""An outside witness of effects: a small TCP service, in a process of its own, that has each line on disk before it answers.

`python tests/chaos/witness.py FILE` listens on a free port of loopback and prints "host:port". What the cluster under test says of
itself is one testimony; that a line stands here is another, given by a process that nobody kills. A line that was
acknowledged is in the file. A line that was not may be there, once: so a caller who repeats must make its lines tell apart.
Lines that arrive together share one fsync. Bounds: LINE_BYTES_MAX a line, CALLERS_MAX callers; the next is turned away.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Final

LINE_BYTES_MAX: Final = 4096
CALLERS_MAX: Final = 256
LOG_BYTES_MAX: Final = 1 << 30
START_S: Final = 20.0
ANSWER: Final = b"ok\n"


class WitnessSilent(OSError):
    """The witness did not confirm the line in time: it may be in the log, or not."""


class Witness:
    """A caller, for one thread. `tell` returns when the line is on the witness's disk."""

    def __init__(self, address: str, *, timeout_s: float = 5.0) -> None:
        host, _, port = address.rpartition(":")
        self._address, self._timeout_s = (host, int(port)), timeout_s
        self._socket: socket.socket | None = None

    def tell(self, line: str) -> None:
        """Raises `WitnessSilent`; `ValueError` for what is no single line."""
        data = line.encode() + b"\n"
        if "\n" in line or len(data) > LINE_BYTES_MAX:
            raise ValueError(f"one line of at most {LINE_BYTES_MAX} bytes was expected: {line[:80]!r}")
        try:
            if self._socket is None:
                self._socket = socket.create_connection(self._address, self._timeout_s)
                self._socket.settimeout(self._timeout_s)
            self._socket.sendall(data)
            answer = b""
            while len(answer) < len(ANSWER):
                more = self._socket.recv(len(ANSWER) - len(answer))
                if not more:
                    raise ConnectionResetError("the witness hung up")
                answer += more
        except OSError as error:
            self.close()
            raise WitnessSilent(f"{line[:80]!r} was not confirmed: {error}") from error

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Witness:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()


class WitnessProcess:
    """Starts and ends the service; `log` is read with `read_log`, also after its death."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.address = ""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Its address, when it listens."""
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__)), str(self.log)], stdout=subprocess.PIPE
        )
        self._process = process
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            line = process.stdout.readline() if selector.select(START_S) else b""
        if not line.endswith(b"\n"):
            self.kill()
            raise WitnessSilent(f"the witness of {self.log} did not start within {START_S:g} s")
        self.address = line.decode().strip()
        return self.address

    def kill(self) -> None:
        """Idempotent. SIGKILL: it has nothing to say good-bye to."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(10.0)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def __enter__(self) -> WitnessProcess:
        self.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.kill()


def read_log(log: Path) -> list[str]:
    """All whole lines, in the order in which the witness heard them. A torn last one was never confirmed."""
    if not log.exists():
        return []
    if log.stat().st_size > LOG_BYTES_MAX:
        raise ValueError(f"{log} is larger than {LOG_BYTES_MAX} bytes")
    return [line.decode() for line in log.read_bytes().split(b"\n")[:-1]]


class _Service:
    def __init__(self, log: Path) -> None:
        self._log = os.open(log, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        _drop_torn_line(self._log, log)
        self._selector = selectors.DefaultSelector()
        self._unfinished: dict[socket.socket, bytes] = {}
        self._door = socket.create_server(("127.0.0.1", 0), backlog=CALLERS_MAX)
        self._selector.register(self._door, selectors.EVENT_READ)
        self.address = "{}:{}".format(*self._door.getsockname())

    def serve(self) -> None:
        while True:
            heard: dict[socket.socket, int] = {}
            lines: list[bytes] = []
            for key, _ in self._selector.select():
                if key.fileobj is self._door:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket):
                    own = self._hear(key.fileobj)
                    lines += own
                    if own:
                        heard[key.fileobj] = len(own)
            if lines:
                _write_all(self._log, b"".join(line + b"\n" for line in lines))
                os.fsync(self._log)
            for caller, count in heard.items():
                self._answer(caller, count)

    def _accept(self) -> None:
        caller, _ = self._door.accept()
        if len(self._unfinished) >= CALLERS_MAX:
            caller.close()
            return
        caller.setblocking(False)
        self._unfinished[caller] = b""
        self._selector.register(caller, selectors.EVENT_READ)

    def _hear(self, caller: socket.socket) -> list[bytes]:
        try:
            more = caller.recv(1 << 16)
        except BlockingIOError:
            return []
        except OSError:
            more = b""
        *lines, rest = (self._unfinished[caller] + more).split(b"\n")
        if not more or len(rest) > LINE_BYTES_MAX:
            self._end(caller)  # lines that came with the hang-up are kept, though nobody hears the answer
        else:
            self._unfinished[caller] = rest
        return lines

    def _answer(self, caller: socket.socket, count: int) -> None:
        try:
            caller.sendall(ANSWER * count)
        except OSError:  # it hung up, or never reads its answers: its lines are safe all the same
            self._end(caller)

    def _end(self, caller: socket.socket) -> None:
        if self._unfinished.pop(caller, None) is not None:
            self._selector.unregister(caller)
            caller.close()


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _drop_torn_line(file: int, log: Path) -> None:
    """What a killed witness left half written was never confirmed, and must not become the head of the next line."""
    data = log.read_bytes()
    os.ftruncate(file, data.rfind(b"\n") + 1)


def main() -> None:
    service = _Service(Path(sys.argv[1]))
    sys.stdout.write(service.address + "\n")
    sys.stdout.flush()
    service.serve()


if __name__ == "__main__":
    main()
