"""What one run costs: clocks read before and after it, on the thread that runs it.

A full reading costs about 2 us at each end, so brief handlers are read once in a while (`Pace`). The clocks: wall (perf_counter), the
thread's own CPU time, its wait for a core (/proc/self/task/<id>/schedstat; 0 where the kernel does not tell), growth of the process's
memory. What is left of the wall time was spent blocked: I/O, locks, sleep.
"""

from __future__ import annotations

import os
import resource
import threading
import time

from executor.task import Sample

BRIEF_S = 50e-6  # below this mean: 1 task in 16
LIGHT_S = 500e-6  # below this mean: 1 task in 4, so that reading stays under 2 % of the work
BRIEF_EVERY, LIGHT_EVERY = 16, 4
MEAN_WEIGHT = 0.2
ALWAYS_COUNT = 64  # the first runs are all measured, so that a label comes soon
_PAGE_BYTES = resource.getpagesize()


class Pace:
    """When to read the clocks for one handler. `left` counts down; at 0 the task at hand is measured."""

    __slots__ = ("_count", "_mean_s", "left")

    def __init__(self) -> None:
        self._count = 0
        self._mean_s: float | None = None
        self.left = 1

    def learn(self, wall_s: float) -> None:
        """After a measured task: how many until the next."""
        self._count += 1
        mean_s = wall_s if self._mean_s is None else self._mean_s + MEAN_WEIGHT * (wall_s - self._mean_s)
        self._mean_s = mean_s
        if self._count < ALWAYS_COUNT or mean_s >= LIGHT_S:
            self.left = 1
        else:
            self.left = BRIEF_EVERY if mean_s < BRIEF_S else LIGHT_EVERY


def rss_bytes() -> int:
    """Memory of this process now."""
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[1]) * _PAGE_BYTES


class RunQueue:
    """How long this thread has waited for a core, in seconds; always 0 where the kernel does not tell."""

    def __init__(self) -> None:
        self._descriptor = _open(f"/proc/self/task/{threading.get_native_id()}/schedstat")

    def read(self) -> float:
        if self._descriptor < 0:
            return 0.0
        return int(os.pread(self._descriptor, 80, 0).split()[1]) / 1e9

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Meter:
    """The clocks of one thread. `is_alone`: the thread runs the only task of its process, so memory growth is that task's."""

    def __init__(self, *, is_alone: bool) -> None:
        self._is_alone = is_alone
        self._run_queue = RunQueue()
        self._statm = _open("/proc/self/statm") if is_alone else -1
        self._wall_s = self._cpu_s = self._run_queue_s = 0.0
        self._rss = self._switches = 0

    def begin(self) -> None:
        self._rss = self._memory()
        if not self._is_alone:
            self._switches = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
        self._run_queue_s = self._run_queue.read()
        self._cpu_s = time.thread_time()
        self._wall_s = time.perf_counter()

    def end(self, *, io_s: float = 0.0, probe_s: float = 0.0, exact: bool = True) -> Sample:
        """`probe_s`: how much a thread of this process waits for the interpreter each time it wakes; taken off what looks blocked."""
        wall_s = time.perf_counter() - self._wall_s
        cpu_s = time.thread_time() - self._cpu_s
        run_queue_s = self._run_queue.read() - self._run_queue_s
        blocked_s = wall_s - cpu_s - run_queue_s
        if probe_s > 0.0:
            switches = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - self._switches
            blocked_s -= probe_s * min(switches, wall_s / probe_s)
        return Sample(
            wall_s=wall_s,
            cpu_s=cpu_s,
            blocked_s=max(0.0, blocked_s),
            run_queue_s=run_queue_s,
            io_s=min(io_s, wall_s),
            memory_bytes=self._memory() - self._rss,
            exact=exact,
        )

    def close(self) -> None:
        self._run_queue.close()
        if self._statm >= 0:
            os.close(self._statm)
            self._statm = -1

    def _memory(self) -> int:
        return int(os.pread(self._statm, 80, 0).split()[1]) * _PAGE_BYTES if self._statm >= 0 else 0


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
