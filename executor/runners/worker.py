"""The child's side: `python -m executor.runners.worker SOCKET_FD SLOT_FD MODULE...`

The main thread reads batches and runs handlers; a side thread ends the process when the node is gone. Before each
task its number and start time go to the shared slot, so that the node knows who pays when this process dies.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from types import FrameType
from typing import Any

from executor.context import Context
from executor.errors import HandlerLoadError, PayloadError
from executor.handlers.loading import load
from executor.handlers.registry import Registered
from executor.payload import decode_arguments, encode_value
from executor.runners.frames import RECEIVE_BYTES, FrameReader, encode_frame
from executor.runners.slot import SLOT_BYTES, write
from executor.task import Status

PROTOCOL = 1
FLUSH_S = 0.002
FLUSH_BYTES = 1_000_000
ERROR_CHARS_MAX = 2_000
TRACEBACK_CHARS_MAX = 16_000
BLOCKED_COROUTINE_S = 0.5


class _SoftTimeout(BaseException):
    """Raised inside a handler by the timer; no `except Exception` of a handler catches it."""


class _Alarm:
    """The timer of the running task. Raises only while a handler is running."""

    def __init__(self) -> None:
        self._armed = False
        signal.signal(signal.SIGALRM, self._ring)

    def _ring(self, number: int, frame: FrameType | None) -> None:
        if self._armed:
            self._armed = False
            raise _SoftTimeout

    def arm(self, after_s: float) -> None:
        self._armed = True
        signal.setitimer(signal.ITIMER_REAL, after_s)

    def disarm(self) -> None:
        self._armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)


async def _limited(function: Any, args: list[Any], kwargs: dict[str, Any], timeout_s: float | None) -> Any:
    """Runs a coroutine function; its time-out is a cancellation at the next await."""
    limit = asyncio.timeout(timeout_s)
    try:
        async with limit:
            return await function(*args, **kwargs)
    except TimeoutError:
        if limit.expired():
            raise _SoftTimeout from None
        raise


def _call(found: Registered, args: list[Any], kwargs: dict[str, Any], alarm: _Alarm) -> Any:
    timeout_s = found.declaration.timeout_s
    if not found.declaration.is_async:
        if timeout_s is None:
            return found.function(*args, **kwargs)
        try:
            alarm.arm(timeout_s)
            return found.function(*args, **kwargs)
        finally:
            alarm.disarm()
    try:
        if timeout_s is not None:
            alarm.arm(timeout_s + BLOCKED_COROUTINE_S)
        return asyncio.run(_limited(found.function, args, kwargs, timeout_s))
    finally:
        if timeout_s is not None:
            alarm.disarm()


def _run(
    handlers: Mapping[str, Registered], key: int, attempt: int, name: str, arguments: bytes, alarm: _Alarm
) -> tuple[Status, bytes | None, str | None, str | None]:
    """Status, result, error and traceback of one task; nothing a handler raises gets out."""
    found = handlers.get(name)
    if found is None:
        return Status.UNKNOWN_HANDLER, None, f"no handler is named {name!r} in this worker", None
    try:
        args, kwargs = decode_arguments(arguments)
    except PayloadError as error:
        return Status.FAILED, None, f"PayloadError: {error}", None
    if found.wants_context:
        if "context" in kwargs:
            return Status.FAILED, None, f"{name}: 'context' is given by the executor, not by the caller", None
        kwargs["context"] = Context(key=key, attempt=attempt, handler=name)
    try:
        if found.signature is not None:
            found.signature.bind(*args, **kwargs)
    except TypeError as error:
        text = (
            f"TypeError: wrong arguments for handler {name!r}, declared as {name}{found.signature}: {error}"
        )
        return Status.FAILED, None, text[:ERROR_CHARS_MAX], None
    try:
        value = _call(found, args, kwargs, alarm)
    except _SoftTimeout:
        text = f"handler {name!r} ran longer than its timeout_s of {found.declaration.timeout_s}"
        return Status.TIMED_OUT, None, text, traceback.format_exc()[-TRACEBACK_CHARS_MAX:]
    except BaseException as error:
        return Status.FAILED, None, _describe(error), _trace()
    try:
        return Status.DONE, encode_value(value), None, None
    except PayloadError as error:
        return (
            Status.FAILED,
            None,
            f"PayloadError: the return value of {name!r} cannot be sent: {error}",
            None,
        )


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _describe(error: BaseException) -> str:
    try:
        message = str(error)
    except BaseException as broken:
        message = f"(its message cannot be shown: {type(broken).__name__})"
    return _clean(f"{type(error).__name__}: {message}"[:ERROR_CHARS_MAX])


def _trace() -> str | None:
    try:
        return _clean(traceback.format_exc()[-TRACEBACK_CHARS_MAX:])
    except BaseException:
        return None


def _end_with_node(connection: socket.socket) -> None:
    """Waits until the other end is closed, then ends the process at once, also amid a handler."""
    poller = select.poll()
    poller.register(connection.fileno(), 0)
    poller.poll()
    os._exit(0)


def _serve(connection: socket.socket, slot: mmap.mmap, handlers: Mapping[str, Registered]) -> None:
    alarm = _Alarm()
    reader = FrameReader()
    while data := connection.recv(RECEIVE_BYTES):
        for message in reader.feed(data):
            tasks: Any = message[1]
            outcomes: list[object] = []
            size_bytes = 0
            flushed_s = time.monotonic()
            for number, key, attempt, name, arguments in tasks:
                start_s, start_cpu_s = time.monotonic(), time.thread_time()
                write(slot, number=number, start_s=start_s)
                status, result, error, trace = _run(handlers, key, attempt, name, arguments, alarm)
                now_s = time.monotonic()
                cpu_s = time.thread_time() - start_cpu_s
                outcomes.append([number, status.value, result, error, trace, now_s - start_s, cpu_s])
                size_bytes += len(result or b"")
                if now_s - flushed_s > FLUSH_S or size_bytes > FLUSH_BYTES:
                    connection.sendall(encode_frame(["outcomes", outcomes]))
                    outcomes, size_bytes, flushed_s = [], 0, now_s
            if outcomes:
                connection.sendall(encode_frame(["outcomes", outcomes]))


def main(arguments: list[str]) -> int:
    """Loads the modules, says hello (or why not), and serves until the node closes the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = socket.socket(fileno=int(arguments[0]))
    slot = mmap.mmap(int(arguments[1]), SLOT_BYTES)
    os.close(int(arguments[1]))
    connection.set_inheritable(False)
    threading.Thread(target=_end_with_node, args=(connection,), daemon=True, name="end-with-node").start()
    try:
        handlers = load(arguments[2:])
    except HandlerLoadError as error:
        connection.sendall(encode_frame(["refused", _clean(str(error))]))
        return 1
    declared: list[object] = [each.declaration.to_fields() for each in handlers.values()]
    connection.sendall(encode_frame(["hello", PROTOCOL, declared]))
    try:
        _serve(connection, slot, handlers)
    except OSError:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
