"""How many threads an io process should have, and how many such processes there should be. Every 500 ms, with a reason for each change.

First guess (Goetz): 0.75 x (1 + blocked / cpu), so that one core, which is all that a GIL lets a process have, is three quarters used.
More, by a tenth, while tasks wait though all threads are busy and the core is not; one more when nothing could be taken for half a second;
fewer, one each 5 s, when more than half idle for 30 s. Another process when the core of the first is used up for 30 s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from executor.lanes.in_flight import RunnerState
from executor.lanes.instructions import Instruction, Resize
from executor.pools.pool import Pool
from executor.task import Form, Lane, Sample

THREADS_MIN = 4
THREADS_MAX = 256
SLOTS_MAX = 1_024  # rows in a runner's table of slots
GOETZ_SHARE = 0.75
GOETZ_TASKS = 20  # fewer say nothing
WAIT_S_MIN = 0.05
STARVED_S = 0.5
PROBE_S_MAX = 0.005  # above it the GIL is the bottleneck, and more threads make it worse
IDLE_S = 30.0
SHRINK_EVERY_S = 5.0
CORE_SHARE_MAX = 0.9
CORE_SHARE_LOW = 0.3
CORE_S = 30.0
WINDOW_KEEP = 0.95  # of sums, each half second: a half-life of 7 s


class Sizing:
    """Of one pool of threads or event loops. `tick` answers with (decision, why) of each change."""

    def __init__(self, pool: Pool, *, cores: int) -> None:
        self._pool = pool
        self._cores = cores
        self.total_max: int | None = None  # the operator's
        self._usual_max = THREADS_MAX if pool.form is Form.THREADS else pool.each
        self.probe_s = 0.0
        self._tasks = 0.0
        self._cpu_s = 0.0
        self._blocked_s = 0.0
        self._cpu_tick_s = 0.0
        self._core_share = 0.0
        self._ticked_s: float | None = None
        self._idle_since_s: float | None = None
        self._shrunk_s = 0.0
        self._full_since_s: float | None = None
        self._low_since_s: float | None = None

    def measured(self, samples: Sequence[Sample], count: int) -> None:
        share = count / len(samples)
        self._tasks += count
        cpu_s = share * sum(sample.cpu_s for sample in samples)
        self._cpu_s += cpu_s
        self._cpu_tick_s += cpu_s
        self._blocked_s += share * sum(sample.blocked_s for sample in samples)

    @property
    def each_max(self) -> int:
        """Places in one process at most."""
        if self.total_max is None:
            return self._usual_max
        return min(SLOTS_MAX, max(1, self.total_max // self._pool.processes))

    @property
    def goetz(self) -> int | None:
        """Threads for a process, from what its tasks did lately; None: too few of them."""
        if self._tasks < GOETZ_TASKS:
            return None
        wanted = math.ceil(GOETZ_SHARE * (1 + self._blocked_s / max(self._cpu_s, 1e-9)))
        return min(max(wanted, THREADS_MIN), self.each_max)

    def tick(self, now: float) -> list[tuple[str, str]]:
        past_s = 0.0 if self._ticked_s is None else now - self._ticked_s
        self._ticked_s = now
        if past_s > 0:
            share = self._cpu_tick_s / past_s / self._pool.processes
            self._core_share += min(1.0, past_s / 5.0) * (share - self._core_share)
            self._cpu_tick_s = 0.0
        changes = self._processes(now)
        if self._pool.form is Form.THREADS:
            changes += self._threads(now)
        self.bound()
        for keep in ("_tasks", "_cpu_s", "_blocked_s"):
            setattr(self, keep, getattr(self, keep) * WINDOW_KEEP)
        return changes

    def bound(self) -> None:
        """Keeps to the operator's bound."""
        pool = self._pool
        pool.each = self.each_max if pool.form is Form.LOOP else min(pool.each, self.each_max)
        pool.slots = pool.each * pool.processes

    def fit(self, out: list[Instruction]) -> None:
        """Tells the runners; the places of spares are with the first."""
        more = self._pool.spares
        for runner in self._pool.runners.values():
            if runner.is_alive:
                slots = self._pool.each + more
                more = 0
                if runner.slots != slots and runner.state is RunnerState.READY:
                    self._pool.resize(runner, slots)
                    out.append(Resize(runner=runner.number, slots=slots))

    def _threads(self, now: float) -> list[tuple[str, str]]:
        pool = self._pool
        lane = self._pressed()
        if lane is not None:
            self._idle_since_s = None
            return self._grow(lane, now)
        if pool.busy * 2 >= pool.slots:
            self._idle_since_s = None
        elif self._idle_since_s is None:
            self._idle_since_s = now
        elif (
            pool.each > THREADS_MIN
            and now - self._idle_since_s >= IDLE_S
            and now - self._shrunk_s >= SHRINK_EVERY_S
        ):
            self._shrunk_s = now
            return [self._set(pool.each - 1, f"more than half idle for {now - self._idle_since_s:.0f} s")]
        return []

    def _pressed(self) -> Lane | None:
        """The lane whose tasks wait because all its places are taken."""
        pool = self._pool
        short, long = pool.lanes[Lane.IO_SHORT], pool.lanes[Lane.IO_LONG]
        if pool.free <= 0 and short.runnable:
            return Lane.IO_SHORT
        if (pool.free <= 0 or not pool.may_start_long()) and long.runnable:
            return Lane.IO_LONG
        return None

    def _grow(self, lane: Lane, now: float) -> list[tuple[str, str]]:
        pool, goetz = self._pool, self.goetz
        if pool.each >= self.each_max:
            return []
        if goetz is not None and pool.each < goetz:
            ratio = self._blocked_s / max(self._cpu_s, 1e-9)
            return [self._set(goetz, f"tasks wait; blocked {ratio:.1f} times as long as computing")]
        queue = pool.lanes[lane]
        mean_s = (self._cpu_s + self._blocked_s) / max(self._tasks, 1.0)
        wait_s = max(queue.median_wait_s, now - queue.taken_s)
        if wait_s > max(0.1 * mean_s, WAIT_S_MIN) and self._core_share < CORE_SHARE_MAX:
            why = f"{lane} tasks wait {wait_s * 1000:.0f} ms, all threads busy, {self._core_share:.0%} of a core"
            return [self._set(min(self.each_max, pool.each + max(1, pool.each // 10)), why)]
        if now - queue.taken_s > STARVED_S and self.probe_s < PROBE_S_MAX:
            return [
                self._set(pool.each + 1, f"nothing of {lane} could start for {now - queue.taken_s:.1f} s")
            ]
        return []

    def _set(self, each: int, why: str) -> tuple[str, str]:
        before, self._pool.each = self._pool.each, each
        return f"threads {before} -> {each}", why

    def _processes(self, now: float) -> list[tuple[str, str]]:
        pool, share = self._pool, self._core_share
        self._full_since_s = _since(self._full_since_s, share >= CORE_SHARE_MAX, now)
        self._low_since_s = _since(self._low_since_s, share < CORE_SHARE_LOW and pool.processes > 1, now)
        before, why = pool.processes, ""
        if self._full_since_s is not None and now - self._full_since_s >= CORE_S and before < self._cores:
            pool.processes += 1
            why = f"{share:.0%} of a core for {CORE_S:.0f} s"
        elif self._low_since_s is not None and now - self._low_since_s >= CORE_S:
            pool.processes -= 1
            why = f"{share:.0%} of a core each for {CORE_S:.0f} s"
        if pool.processes == before:
            return []
        self._full_since_s = self._low_since_s = None
        return [(f"processes {before} -> {pool.processes}", why)]


def _since(since_s: float | None, is_so: bool, now: float) -> float | None:
    if not is_so:
        return None
    return now if since_s is None else since_s
