"""What the runs of one (handler, kind) cost: decayed sums, and a histogram of wall times by powers of two. A pure core.

What is old fades by half in 60 s, but never faster than by half in 200 runs. So a handler that runs once an hour is not forgotten, and one
that runs a thousand times a second is judged by its last minutes. Instead of shrinking all that is old with every run, a new run weighs
more than the one before it (`_gain`); only ratios are ever asked for. Time and runs that have not yet faded anything are kept (`_idle`), or
runs that come in bursts would seem to come slowly; only a little is kept, or the first run after a pause would wipe out all before it.

Runs that are known to take long and have not ended yet count with the time they have run so far, until their end says more.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence

from executor.task import Sample

HALF_LIFE_S = 60.0
HALF_LIFE_RUNS = 200
IDLE_HALF_LIVES = 0.1
EDGE_S = 0.025  # every cut-off is this times a power of two, so each threshold is an edge
BUCKETS = 32
_ZERO = 14  # the bucket that ends at EDGE_S: the first ends at 1.5 us, the last begins at 27 min
EDGES_S = tuple(EDGE_S * 2.0 ** (number - _ZERO) for number in range(BUCKETS))

RECENT_RUNS = 100
FEW_RUNS = 20  # below: too few for a mean
RUNNING_MAX = 64
_GAIN_MAX = 1e12


def bucket(wall_s: float) -> int:
    """The first bucket whose edge is not below `wall_s`; longer ones than the last edge are in the last."""
    if wall_s <= EDGES_S[0]:
        return 0
    mantissa, exponent = math.frexp(wall_s / EDGE_S)
    return min(exponent + _ZERO - (mantissa == 0.5), BUCKETS - 1)


class Statistics:
    """`runs`: tasks that ended since the start, `samples`: the measured ones among them."""

    __slots__ = (
        "_blocked",
        "_cpu",
        "_gain",
        "_histogram",
        "_idle_runs",
        "_idle_time",
        "_io",
        "_last_s",
        "_memory",
        "_recent",
        "_run_queue",
        "_running",
        "_square",
        "_wall",
        "_weight",
        "blocked_total_s",
        "cpu_total_s",
        "exact_samples",
        "runs",
        "samples",
        "wall_total_s",
    )

    def __init__(self) -> None:
        self.runs = 0
        self.samples = 0
        self.exact_samples = 0
        self.wall_total_s = 0.0
        self.cpu_total_s = 0.0
        self.blocked_total_s = 0.0
        self._recent: deque[Sample] = deque(maxlen=RECENT_RUNS)
        self._running: deque[float] = deque(maxlen=RUNNING_MAX)  # seconds so far, of runs that take long
        self._last_s = 0.0
        self._idle_time = self._idle_runs = 0.0  # in half-lives
        self._clear()

    def _clear(self) -> None:
        self._gain = 1.0
        self._weight = self._wall = self._square = self._cpu = self._blocked = 0.0
        self._run_queue = self._io = self._memory = 0.0
        self._histogram = [0.0] * BUCKETS

    def add(self, samples: Sequence[Sample], runs: int, now: float) -> None:
        self.runs += runs
        if not samples:
            return
        by_time = self._idle_time + max(0.0, now - self._last_s) / HALF_LIFE_S
        by_runs = self._idle_runs + len(samples) / HALF_LIFE_RUNS
        fade = min(by_time, by_runs)
        self._idle_time = min(by_time - fade, IDLE_HALF_LIVES)
        self._idle_runs = min(by_runs - fade, IDLE_HALF_LIVES)
        self._last_s = now
        self._gain *= 2.0**fade
        if self._gain > _GAIN_MAX:
            self._rescale()
        self._sum(samples)
        self.samples += len(samples)
        self._recent.extend(samples)
        wall = cpu = blocked = 0.0
        exact = 0
        for sample in samples:
            wall += sample.wall_s
            cpu += sample.cpu_s
            blocked += sample.blocked_s
            exact += sample.exact
        self.wall_total_s += wall
        self.cpu_total_s += cpu
        self.blocked_total_s += blocked
        self.exact_samples += exact

    def _sum(self, samples: Iterable[Sample]) -> None:
        gain, histogram = self._gain, self._histogram
        count = 0
        wall = square = cpu = blocked = run_queue = io = memory = 0.0
        for sample in samples:
            wall_s = sample[0]
            count += 1
            wall += wall_s
            square += wall_s * wall_s
            cpu += sample[1]
            blocked += sample[2]
            run_queue += sample[3]
            io += sample[4]
            memory += sample[5]
            histogram[bucket(wall_s)] += gain
        self._weight += gain * count
        self._wall += gain * wall
        self._square += gain * square
        self._cpu += gain * cpu
        self._blocked += gain * blocked
        self._run_queue += gain * run_queue
        self._io += gain * io
        self._memory += gain * memory

    def _rescale(self) -> None:
        shrink = 1.0 / self._gain
        self._gain = 1.0
        self._weight *= shrink
        self._wall *= shrink
        self._square *= shrink
        self._cpu *= shrink
        self._blocked *= shrink
        self._run_queue *= shrink
        self._io *= shrink
        self._memory *= shrink
        self._histogram = [weight * shrink for weight in self._histogram]

    def start_long(self, running_s: float) -> None:
        """A run that takes long so far. When too many are open, the oldest is no longer counted."""
        self._running.append(running_s)

    def end_long(self, wall_s: float) -> bool:
        """A run that ended after `wall_s` may be one of those: then it no longer counts twice."""
        fitting = [running_s for running_s in self._running if running_s <= wall_s]
        if fitting:
            self._running.remove(max(fitting))
        return bool(fitting)

    def forget_open(self) -> None:
        """Those that never said how they ended: killed, or with a runner that died."""
        self._running.clear()

    def restart(self, count: int) -> None:
        """Only the last `count` samples are still true: the handler has changed."""
        kept = list(self._recent)[-count:] if count > 0 else []
        self._recent.clear()
        self._recent.extend(kept)
        self._clear()
        self._sum(kept)

    @property
    def is_empty(self) -> bool:
        return not self._recent and not self._running

    @property
    def open_runs(self) -> int:
        return len(self._running)

    @property
    def shortest_open_s(self) -> float:
        """Of the runs that take long and are not over; infinite when there is none."""
        return min(self._running, default=math.inf)

    @property
    def weight(self) -> float:
        """How many runs the numbers stand for, old ones counted by what is left of them."""
        return self._weight / self._gain + len(self._running)

    @property
    def mean_s(self) -> float:
        """Of wall time, as it is measured; 0.0 when nothing is. See `estimate_s`."""
        return (self._wall / self._gain + sum(self._running)) / max(self.weight, 1.0)

    @property
    def square_s2(self) -> float:
        """Mean of the square of wall time."""
        return self._square / max(self._weight, self._gain)

    @property
    def cpu_s(self) -> float:
        return self._cpu / max(self._weight, self._gain)

    @property
    def blocked_s(self) -> float:
        return self._blocked / max(self._weight, self._gain)

    @property
    def run_queue_s(self) -> float:
        return self._run_queue / max(self._weight, self._gain)

    @property
    def io_s(self) -> float:
        return self._io / max(self._weight, self._gain)

    @property
    def memory_bytes(self) -> float:
        """Growth in a run; below zero when it gives back more than it takes."""
        return self._memory / max(self._weight, self._gain)

    @property
    def estimate_s(self) -> float | None:
        """How long the next run may take: the mean; of few runs the third quartile, as one long one among them says more."""
        count = len(self._recent) + len(self._running)
        if count >= FEW_RUNS:
            return self.mean_s
        if count == 0:
            return None
        walls = sorted([*(sample.wall_s for sample in self._recent), *self._running])
        return walls[math.ceil(0.75 * count) - 1]

    def quantile_s(self, share: float) -> float:
        """The edge below which that share of the runs stays; 0.0 when nothing is measured."""
        histogram, total = self._histogram, self._weight
        if self._running:
            histogram = histogram[:]
            for running_s in self._running:
                histogram[bucket(running_s)] += self._gain
            total += self._gain * len(self._running)
        above = total * (1.0 - share) * (1.0 + 1e-9)
        for number in range(BUCKETS - 1, -1, -1):
            above -= histogram[number]
            if above < 0.0:
                return EDGES_S[number]
        return 0.0

    def share_above(self, edge_s: float) -> float:
        """Of the ended runs, those longer than `edge_s`, which is an edge."""
        return sum(self._histogram[bucket(edge_s) + 1 :]) / max(self._weight, self._gain)
