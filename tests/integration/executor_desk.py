"""What the tests of the executor share: handlers that misbehave in every way, and a desk that waits for outcomes."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import psutil

from executor import Executor, Label, Limits, Outcome, Progress, Status, Task, decode_value, encode_arguments

WAIT_S = 30.0

HANDLERS = '''
import asyncio, ctypes, logging, os, signal, subprocess, sys, threading, time
from executor import handler, on_worker_stop

@handler
def add(a, b): return a + b

@handler
def nothing(): pass

@handler
async def later(value):
    await asyncio.sleep(0.001)
    return value

@handler
def about(context): return [context.key, context.attempt, context.handler, context.kind]

@handler
def pid(): return os.getpid()

@handler
def fail(): raise ValueError("broken on purpose")

@handler
def leave(): sys.exit(3)

@handler
def leave_at_once(): os._exit(7)

@handler
def segfault(): ctypes.string_at(0)

@handler
def unsendable(): return {1, 2}

@handler(timeout_s=0.2)
def soft():
    try:
        time.sleep(60)
    except Exception:
        return "swallowed"

@handler(timeout_s=0.2)
async def soft_async(): await asyncio.sleep(60)

@handler(timeout_s=0.2)
def hard():
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            time.sleep(60)
        except BaseException:
            pass

@handler(timeout_s=0.2)
def hard_in_c():
    """Keeps the interpreter for itself: no exception and no other thread gets through."""
    sum(range(10**12))

@handler
def keep_the_interpreter(started):
    open(started, "w").close()
    sum(range(10**12))

@handler
def brief(seq, killer):
    if seq == killer: os.kill(os.getpid(), 9)

@on_worker_stop
def say_farewell():
    """Takes a moment, as closing a connection does."""
    where = os.environ.get("FAREWELL")
    if where:
        time.sleep(0.2)
        open(os.path.join(where, f"farewell {os.getpid()}"), "w").close()

def wait_until(path):
    while not os.path.exists(path): time.sleep(0.002)

@handler
def wait_for(path, started):
    open(started, "w").close()
    wait_until(path)
    return os.getpid()

@handler(lane="io-short")
def wait_in_thread(path, started):
    open(started, "w").close()
    wait_until(path)
    return os.getpid()

@handler(lane="io-short", timeout_s=0.2)
def deaf_thread(path):
    while not os.path.exists(path):
        try:
            time.sleep(0.01)
        except BaseException:
            pass

@handler(lane="io-short")
def crash_in_thread(): os.kill(os.getpid(), 9)

@handler
async def wait_in_loop(path, started):
    open(started, "w").close()
    while not os.path.exists(path): await asyncio.sleep(0.002)
    return os.getpid()

@handler
async def hold_the_loop(path):
    while not os.path.exists(path): time.sleep(0.01)

@handler
def fork_and_leave(path):
    """The copy runs on into the end of the handler, as a careless program does."""
    if os.fork() == 0:
        return "copy"
    os.wait()
    return "original"

@handler
def fork_and_stay(path):
    """The copy outlives its parent and holds what it inherited."""
    if os.fork() == 0:
        wait_until(path)
        os._exit(0)
    os.kill(os.getpid(), 9)

@handler
def deaf(started, path):
    open(started, "w").close()
    while not os.path.exists(path):
        try:
            time.sleep(60)
        except BaseException:
            pass

@handler
def tell(context, path):
    context.progress(1, 3, "one of three")
    wait_until(path)

@handler
def speak():
    print("said aloud")
    logging.getLogger("shop").error("logged")

@handler
def rich(megabytes):
    rich.kept = getattr(rich, "kept", []) + [bytearray(os.urandom(1024) * 1024 * megabytes)]
    return os.getpid()

@handler(recycle_after=5)
def worn(): return os.getpid()

@handler
def close_everything():
    os.closerange(3, 256)
    time.sleep(60)
'''


class Desk:
    """An executor and the outcomes it gave, to wait for by seq."""

    def __init__(self, modules: Collection[str], workers: int = 1, limits: Limits | None = None) -> None:
        self.outcomes: dict[int, Outcome] = {}
        self.labels: list[Label] = []
        self.progress: list[Progress] = []
        self._changed = threading.Condition()
        self._seq = 0
        self.executor = Executor(
            tuple(modules),
            workers=workers,
            on_outcomes=self._take,
            on_labels=self._note(self.labels),
            on_progress=self._note(self.progress),
            limits=limits,
        )
        self.executor.start()

    def _note(self, where: list[Any]) -> Callable[[list[Any]], None]:
        def note(news: list[Any]) -> None:
            with self._changed:
                where.extend(news)
                self._changed.notify_all()

        return note

    def _take(self, outcomes: list[Outcome]) -> None:
        with self._changed:
            for outcome in outcomes:
                assert outcome.seq not in self.outcomes, f"two outcomes of {outcome.seq}"
                self.outcomes[outcome.seq] = outcome
            self._changed.notify_all()

    def offer(self, handler: str, *args: object, attempt: int = 1, **kwargs: object) -> int:
        """The seq of the task."""
        (seq,) = self.offer_many(handler, [args], attempt=attempt, **kwargs)
        return seq

    def offer_many(
        self, handler: str, calls: Collection[tuple[object, ...]], *, attempt: int = 1, **kwargs: object
    ) -> list[int]:
        """In one go, so that brief ones travel in batches."""
        seqs = list(range(self._seq + 1, self._seq + len(calls) + 1))
        self._seq += len(calls)
        self.executor.offer(
            [
                Task(
                    seq=seq,
                    key=seq + 1_000_000,
                    attempt=attempt,
                    handler=handler,
                    arguments=encode_arguments(args, kwargs),
                )
                for seq, args in zip(seqs, calls, strict=True)
            ]
        )
        return seqs

    def outcome(self, seq: int, timeout_s: float = WAIT_S) -> Outcome:
        self.until(lambda: seq in self.outcomes, f"no outcome of {seq}", timeout_s)
        return self.outcomes[seq]

    def until(self, holds: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> None:
        """Waits for news (outcomes, labels, progress) that make it hold."""
        with self._changed:
            assert self._changed.wait_for(holds, timeout_s), what

    def run(self, handler: str, *args: object, **kwargs: object) -> Outcome:
        return self.outcome(self.offer(handler, *args, **kwargs))

    def value(self, handler: str, *args: object, **kwargs: object) -> Any:
        outcome = self.run(handler, *args, **kwargs)
        assert outcome.status is Status.DONE, outcome
        return None if outcome.result is None else decode_value(outcome.result)

    def pids(self) -> set[int]:
        return {runner.pid for runner in self.executor.statistics().runners if runner.pid}


def await_that(holds: Callable[[], object], what: str, timeout_s: float = WAIT_S) -> None:
    """Asks again and again, for facts of the system that nobody announces: files, processes."""
    end_s = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end_s, what
        threading.Event().wait(0.002)


def await_file(path: Path) -> None:
    await_that(path.exists, f"{path} did not appear")


def is_alive(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def kill(pid: int) -> bool:
    """False: it was gone already."""
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        return False
    return True
