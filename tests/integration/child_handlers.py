"""Handlers that behave well, badly, or not at all; what the tests of the child's side run in real runners."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import hashlib
import logging
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from executor import Context, RetryLater, handler

print("said at import, by no task")


@handler
def noop() -> None: ...


@handler
async def async_noop() -> None: ...


@handler
def add(a: int, b: int) -> int:
    return a + b


@handler
async def async_add(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


@handler
def about(context: Context) -> list[object]:
    return [context.key, context.attempt, context.handler, context.kind]


@handler
async def async_about(context: Context) -> list[object]:
    return [context.key, context.attempt, context.handler, context.kind]


@handler
def fail() -> None:
    raise ValueError("broken on purpose")


@handler
async def async_fail() -> None:
    raise ValueError("broken on purpose")


@handler
def ask_again(after_s: float) -> None:
    raise RetryLater(after_s)


@handler
async def async_ask_again(after_s: float) -> None:
    raise RetryLater(after_s)


@handler
def unsendable() -> object:
    return {1, 2}


@handler
def leave() -> None:
    sys.exit(3)


@handler
async def async_leave() -> None:
    sys.exit(3)


@handler
def die_at_once() -> None:
    os._exit(5)


@handler
def segfault() -> None:
    ctypes.string_at(0)


# Time


def _appear(path: str) -> None:
    Path(path).touch()


@handler
def spin(started: str) -> None:
    _appear(started)
    while True:
        pass


@handler
def doze(started: str) -> None:
    _appear(started)
    time.sleep(600)


@handler
async def async_doze(started: str) -> None:
    _appear(started)
    await asyncio.sleep(600)


@handler(timeout_s=0.2)
def limited_spin() -> str:
    try:
        while True:
            pass
    except Exception:
        return "swallowed"


@handler(timeout_s=0.2)
def limited_sleep() -> str:
    try:
        time.sleep(600)
    except Exception:
        return "swallowed"
    return "woke"


@handler(timeout_s=0.2)
def limited_naps() -> str:
    """For a thread: an exception reaches it between two naps."""
    while True:
        time.sleep(0.01)


@handler(timeout_s=0.2)
async def async_limited() -> None:
    await asyncio.sleep(600)


@handler(timeout_s=0.2)
async def async_limited_spin() -> None:
    while True:
        pass


@handler(timeout_s=0.3)
def nap(seconds: float) -> None:
    time.sleep(seconds)


@handler
def stubborn(started: str) -> None:
    """Swallows whatever is raised in it."""
    _appear(started)
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(600)


@handler(timeout_s=0.1)
def deaf(path: str) -> None:
    """A thread that no exception reaches until the file appears, as one in C code."""
    subprocess.run([sys.executable, "-c", _WAIT, path], check=True)


_WAIT = "import os, sys, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.01)"


@handler(timeout_s=0.1)
async def async_deaf(path: str) -> None:
    while not os.path.exists(path):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.01)


@handler
def wait_for(path: str, started: str) -> str:
    _appear(started)
    while not os.path.exists(path):
        time.sleep(0.002)
    return "seen"


@handler
async def async_wait_for(path: str, started: str) -> str:
    _appear(started)
    while not os.path.exists(path):
        await asyncio.sleep(0.002)
    return "seen"


@handler
def interval(seconds: float) -> list[float]:
    """When it ran."""
    started_s = time.monotonic()
    time.sleep(seconds)
    return [started_s, time.monotonic()]


@handler
async def async_interval(seconds: float) -> list[float]:
    started_s = time.monotonic()
    await asyncio.sleep(seconds)
    return [started_s, time.monotonic()]


@handler
def blink(count: int) -> None:
    """Busy for a few dozen microseconds, so that what strikes may come at any step."""
    for _ in range(count):
        len("")


@handler
async def async_blink(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@handler
async def hold_the_loop(path: str) -> None:
    while not os.path.exists(path):
        time.sleep(0.01)


@handler
def ask_whether_cancelled(context: Context, started: str) -> str:
    _appear(started)
    with contextlib.suppress(BaseException):
        while True:
            time.sleep(0.001)
    return str(context.cancelled)


@handler
def tiny(path: str, number: int) -> None:
    """Leaves a trace of every run."""
    with open(path, "a") as runs:
        runs.write(f"{number}\n")


@handler
async def async_tiny(path: str, number: int) -> None:
    with open(path, "a") as runs:
        runs.write(f"{number}\n")


# Copies


@handler
def fork(path: str, end: str) -> str:
    pid = os.fork()
    if pid == 0:
        return "copy"
    Path(path).write_text(str(os.waitpid(pid, 0)[1]))
    while not os.path.exists(end):
        time.sleep(0.002)
    return "original"


@handler
async def async_fork(path: str, end: str) -> str:
    pid = os.fork()
    if pid == 0:
        await asyncio.sleep(0)
        return "copy"
    Path(path).write_text(str(os.waitpid(pid, 0)[1]))
    while not os.path.exists(end):
        await asyncio.sleep(0.002)
    return "original"


@handler
def pool(method: str) -> list[int]:
    with multiprocessing.get_context(method).Pool(2) as workers:
        return workers.map(abs, [-1, -2, -3])


# Output


@handler
def say(word: str, times: int, pause: str | None = None) -> None:
    for _ in range(times):
        print(word)
        time.sleep(0.001)
    sys.stderr.write(f"{word} to stderr\n")
    sys.stdout.buffer.write(f"{word} as bytes\n".encode())
    logging.getLogger("somebody").error("%s logged", word)


@handler
async def async_say(word: str, times: int) -> None:
    for _ in range(times):
        print(word)
        await asyncio.sleep(0.001)
    sys.stderr.write(f"{word} to stderr\n")
    sys.stdout.buffer.write(f"{word} as bytes\n".encode())
    logging.getLogger("somebody").error("%s logged", word)


@handler
def say_much(count: int) -> None:
    for number in range(count):
        print(f"line {number} ü")


@handler
def say_by_others() -> None:
    thread = threading.Thread(target=print, args=("from a thread of the handler",))
    thread.start()
    thread.join()
    subprocess.run([sys.executable, "-c", "import sys; sys.stderr.write('from a program')"], check=True)


@handler
def say_later(path: str, said: str) -> None:
    """A thread that outlives its task."""

    def speak() -> None:
        while not os.path.exists(path):
            time.sleep(0.002)
        print("long after")
        _appear(said)

    threading.Thread(target=speak, daemon=True).start()


@handler
def say_then_fail() -> None:
    print("before the end")
    raise ValueError("broken on purpose")


@handler
def log_by_context(context: Context) -> None:
    context.logger.info("at %s", context.key)


# Progress


@handler
def report_fast(context: Context, seconds: float, path: str) -> None:
    """Reports as fast as it can for a while, then waits for the file with its last word said."""
    end_s = time.monotonic() + seconds
    done = 0
    while time.monotonic() < end_s:
        done += 1
        context.progress(done, None, "busy")
    context.progress(done + 1, done + 1, "last word")
    while not os.path.exists(path):
        time.sleep(0.002)


# Costs


@handler
def burn(seconds: float) -> None:
    end_s = time.thread_time() + seconds
    while time.thread_time() < end_s:
        pass


@handler
def sleep(seconds: float) -> None:
    time.sleep(seconds)


@handler
def burn_then_sleep(seconds: float) -> None:
    burn(seconds)
    time.sleep(seconds)


@handler
def burn_native(seconds: float) -> None:
    block = b"x" * 1_000_000
    end_s = time.thread_time() + seconds
    while time.thread_time() < end_s:
        hashlib.sha256(block).digest()


@handler
def call_somebody(context: Context, seconds: float) -> None:
    with context.io("somebody"):
        time.sleep(seconds)
    time.sleep(seconds)


@handler
def grow(megabytes: int) -> None:
    _kept.append(b"x" * (megabytes * 1_000_000))


_kept: list[bytes] = []


@handler
async def steps(count: int, seconds: float) -> None:
    """`count` steps of this much CPU, with a wait after each."""
    for _ in range(count):
        burn(seconds)
        await asyncio.sleep(seconds)


@handler
async def wait_in_the_loop(seconds: float) -> None:
    """What a coroutine must not do."""
    time.sleep(seconds)
