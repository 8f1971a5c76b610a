"""The label of one (handler, kind), from what its runs cost: which resource, short or long, and why. A pure core.

It begins *open*: the first runs only hint. It is *settled* when there is enough to judge: 50 samples, or 10 that took 10 s together or
stand for 100 runs; for "long" three runs that overran are enough. From then on it changes with hysteresis: to long at once, to short only
after minutes, between cpu and io only after three windows that agree. A wrong "short" makes others wait; a wrong "long" only costs its own
tasks some time.

The resource is never told by cpu / wall alone: beside a busy thread of the same process pure computing shows 0.3, native code 0.05. A
coroutine belongs to its loop, and to io, until it holds the loop up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from executor.labels.statistics import Statistics
from executor.task import Resource, Sample

SETTLED_SAMPLES = 50
SETTLED_FEW_SAMPLES = 10
SETTLED_FEW_S = 10.0  # long runs say more, and 50 of them may take an hour
SETTLED_FEW_AMONG = 100  # runs; who is not measured each time is known to be brief

CPU_S = 0.020  # who computes that long is in the way of others, unless it hardly does anything but wait
SHARE_CPU, SHARE_CPU_HARDLY = 0.5, 0.05
BLOCKED_MIN_S = 0.001  # a wait that is worth a thread; below, threads would only share one core

OVERRUNS, OVERRUNS_AMONG = 3, 100  # that many among so many runs: long
OVERRUN_SHARE = OVERRUNS / OVERRUNS_AMONG
CALM_S, CALM_SAMPLES = 300.0, 50  # before a long handler is short again
CALM_SHARE = 0.005  # well below OVERRUN_SHARE, or it would come back at once
OPEN_S = 600.0  # a run that overran and never said how it ended is forgotten
CAREFUL_S = 10.0  # after an overrun its tasks go one at a time

WINDOW_S, WINDOW_SAMPLES, WINDOWS = 30.0, 10, 3

STEP_S = 0.020  # longer, and one coroutine holds up all others of its loop
SLOW_STEPS, SLOW_STEPS_AMONG = 2, 100


def resource_of(cpu_s: float, blocked_s: float) -> Resource:
    """By the means of a run."""
    share = SHARE_CPU if cpu_s < CPU_S else SHARE_CPU_HARDLY
    waits = blocked_s >= BLOCKED_MIN_S and cpu_s < share * (cpu_s + blocked_s)
    return Resource.IO if waits else Resource.CPU


class Classifier:
    """`leaves_loop`: a coroutine that holds its loop up. `is_careful`: an overrun lately, so its tasks go one at a time."""

    __slots__ = (
        "_calm_marks",
        "_calm_since_s",
        "_contrary",
        "_is_async",
        "_ordinal",
        "_overran_at_s",
        "_overrun_count",
        "_overruns",
        "_slow_steps",
        "_window_began_s",
        "_window_marks",
        "is_careful",
        "is_long",
        "is_resource_settled",
        "is_settled",
        "leaves_loop",
        "resource",
        "statistics",
        "why",
    )

    def __init__(self, *, is_async: bool, now: float) -> None:
        self.statistics = Statistics()
        self.resource = Resource.IO if is_async else Resource.CPU
        self.is_resource_settled = False
        self.is_long = False
        self.is_settled = False
        self._is_async = is_async
        self.is_careful = False
        self.leaves_loop = False
        self.why = "nothing measured yet"
        self._ordinal = 0  # of runs, those that overran and are not over included
        self._overruns: deque[int] = deque(maxlen=OVERRUNS)
        self._slow_steps: deque[int] = deque(maxlen=SLOW_STEPS)
        self._overran_at_s = 0.0
        self._overrun_count = 0
        self._calm_since_s: float | None = None
        self._calm_marks = (0, 0)  # samples and overruns when it began
        self._contrary = 0
        self._window_began_s = now
        self._window_marks = (0, 0, 0.0, 0.0)

    # Events. Each answers whether anything that a lane follows from has changed.

    def observe(self, samples: Sequence[Sample], runs: int, now: float, cutoff_s: float) -> bool:
        """`runs` have ended, `samples` tell of some of them."""
        if not samples:
            self.statistics.runs += runs
            return False
        limit_s = min(2 * cutoff_s, self.statistics.shortest_open_s)
        long_runs = slow_steps = 0
        for sample in samples:
            if sample.wall_s > limit_s:
                long_runs += 1
            if sample.step_s > STEP_S:
                slow_steps += 1
        self._ordinal += len(samples)
        if slow_steps:
            self._see_steps(samples)
        if long_runs:
            self._see_overruns(samples, 2 * cutoff_s, now)
        self.statistics.add(samples, runs, now)
        return self._judge(cutoff_s, bool(long_runs))

    def overran(self, running_s: float, now: float, cutoff_s: float) -> bool:
        """A run takes longer than twice the cut-off, and is not over."""
        self.statistics.start_long(running_s)
        self._ordinal += 1
        self._note_overrun(self._ordinal, now)
        return self._judge(cutoff_s, True)

    def tick(self, now: float, cutoff_s: float) -> bool:
        """About once a second: what only time can tell."""
        if self.is_careful and now - self._overran_at_s >= CAREFUL_S:
            self.is_careful = False
        if now - self._overran_at_s >= OPEN_S:
            self.statistics.forget_open()
        before = self._verdict()
        if self.is_settled:
            self._look_for_calm(now, cutoff_s)
        if now - self._window_began_s >= WINDOW_S:
            self._close_window(now)
        return before != self._verdict()

    def judge_again(self, cutoff_s: float) -> bool:
        """The cut-off has moved: by the law as it stands, without hysteresis."""
        if not self.is_settled or self.is_long == self.is_long_under(cutoff_s):
            return False
        self._turn(not self.is_long, f"{self._p95(cutoff_s)}, the cut-off moved")
        return True

    def is_long_under(self, cutoff_s: float) -> bool:
        """The absolute law: p95 above the cut-off, or as many overruns as would turn it."""
        return self.is_long_under_each([cutoff_s])[0]

    def is_long_under_each(self, cutoffs_s: Sequence[float]) -> tuple[bool, ...]:
        statistics = self.statistics
        p95_s = statistics.quantile_s(0.95)
        tail_s = statistics.quantile_s(1 - OVERRUN_SHARE) if statistics.weight >= OVERRUNS_AMONG else 0.0
        return tuple(p95_s > cutoff_s or tail_s > 2 * cutoff_s for cutoff_s in cutoffs_s)

    # Judging.

    def _judge(self, cutoff_s: float, long_runs: bool) -> bool:
        before = self._verdict()
        statistics = self.statistics
        is_enough = statistics.samples >= SETTLED_SAMPLES or (
            statistics.samples >= SETTLED_FEW_SAMPLES
            and (statistics.wall_total_s >= SETTLED_FEW_S or statistics.runs >= SETTLED_FEW_AMONG)
        )
        if is_enough and not self.is_resource_settled:
            self.is_resource_settled = True
            if not self._is_async:
                self.resource = resource_of(statistics.cpu_s, statistics.blocked_s)
                self.why = f"{self.resource}: {self._costs()}"
        if self.leaves_loop:
            self.resource, self.is_resource_settled = Resource.CPU, True
        if not self.is_settled:
            self._judge_open(cutoff_s, is_enough)
        elif long_runs and not self.is_long:
            self._judge_overruns(cutoff_s)
        return before != self._verdict()

    def _verdict(self) -> tuple[object, ...]:
        return (self.resource, self.is_resource_settled, self.is_long, self.is_settled, self.leaves_loop)

    def _judge_open(self, cutoff_s: float, is_enough: bool) -> None:
        if self._judge_overruns(cutoff_s):
            self.is_settled = True
        elif is_enough:
            self.is_settled = True
            self.is_long = self.is_long_under(cutoff_s)
            self.why = f"first label: {self._p95(cutoff_s)}, {self._costs()}"
        else:
            early = self.statistics.quantile_s(0.95) > 2 * cutoff_s
            if early != self.is_long:
                self.is_long = early
                self.why = f"so far: {self._p95(cutoff_s)}"

    def _judge_overruns(self, cutoff_s: float) -> bool:
        """To long at once, if there is cause. No need to ask for p95 as well: it cannot rise above without these."""
        if len(self._overruns) < OVERRUNS or self._ordinal - self._overruns[0] >= OVERRUNS_AMONG:
            return False
        among = min(self._ordinal, OVERRUNS_AMONG)
        self._turn(True, f"{OVERRUNS} of the last {among} runs took more than {2000 * cutoff_s:g} ms")
        return True

    def _turn(self, to_long: bool, why: str) -> None:
        """What was measured before the handler changed would only blur what it is now."""
        if to_long and not self.is_long and len(self._overruns) == OVERRUNS:
            self.statistics.restart(self._ordinal - self._overruns[0] + 1 - self.statistics.open_runs)
        self.is_long = to_long
        self.why = why
        self._calm_since_s = None
        self._overruns.clear()

    def _look_for_calm(self, now: float, cutoff_s: float) -> None:
        statistics = self.statistics
        if not self.is_long or statistics.quantile_s(0.95) > cutoff_s / 2:
            self._calm_since_s = None
            return
        if self._calm_since_s is None:
            self._calm_since_s = now
            self._calm_marks = (statistics.samples, self._overrun_count)
        calm_s = now - self._calm_since_s
        samples, overruns = (
            statistics.samples - self._calm_marks[0],
            self._overrun_count - self._calm_marks[1],
        )
        if calm_s < CALM_S or samples < CALM_SAMPLES:
            return
        if overruns < CALM_SHARE * samples:
            self._turn(False, f"p95 <= {500 * cutoff_s:g} ms for {calm_s:.0f} s and {samples} runs")
        else:
            self._calm_since_s = None  # look again

    def _close_window(self, now: float) -> None:
        statistics = self.statistics
        samples, exact, cpu_s, blocked_s = self._window_marks
        count = statistics.samples - samples
        if count < WINDOW_SAMPLES:
            return  # it stays open until it can tell
        cpu_s = (statistics.cpu_total_s - cpu_s) / count
        blocked_s = (statistics.blocked_total_s - blocked_s) / count
        seen = resource_of(cpu_s, blocked_s)
        if seen is Resource.IO and (statistics.exact_samples - exact) * 2 < count:
            seen = self.resource  # what looks blocked may have waited for a neighbour's thread
        self._contrary = self._contrary + 1 if seen is not self.resource else 0
        self._window_began_s = now
        self._window_marks = (
            statistics.samples,
            statistics.exact_samples,
            statistics.cpu_total_s,
            statistics.blocked_total_s,
        )
        if self._contrary >= WINDOWS and self.is_resource_settled and not self._is_async:
            self.resource = seen
            self._contrary = 0
            self.why = f"{WINDOWS} windows of {WINDOW_S:g} s agree: {_costs(cpu_s, blocked_s)}"

    def _see_overruns(self, samples: Sequence[Sample], limit_s: float, now: float) -> None:
        for place, sample in enumerate(samples):
            if not self.statistics.end_long(sample.wall_s) and sample.wall_s > limit_s:
                self._note_overrun(self._ordinal - len(samples) + place + 1, now)

    def _note_overrun(self, ordinal: int, now: float) -> None:
        self._overruns.append(ordinal)
        self._overrun_count += 1
        self._overran_at_s = now
        self.is_careful = True

    def _see_steps(self, samples: Sequence[Sample]) -> None:
        for place, sample in enumerate(samples):
            if sample.step_s - sample.run_queue_s > STEP_S:
                self._slow_steps.append(self._ordinal - len(samples) + place + 1)
        if (
            not self.leaves_loop
            and len(self._slow_steps) == SLOW_STEPS
            and self._ordinal - self._slow_steps[0] < SLOW_STEPS_AMONG
        ):
            self.leaves_loop = True
            self.why = (
                f"two of its steps between awaits took more than {STEP_S * 1000:g} ms: out of the event loop"
            )

    def _p95(self, cutoff_s: float) -> str:
        """In words: the greatest of the thresholds that it is above, or the edge it stays below."""
        statistics = self.statistics
        p95_s = statistics.quantile_s(0.95)
        runs = round(statistics.weight)
        cutoff = f"the cut-off is {cutoff_s * 1000:g} ms, {runs} run{'s' if runs != 1 else ''}"
        if p95_s > 2 * cutoff_s:
            return f"p95 > {2000 * cutoff_s:g} ms, {cutoff}"
        if p95_s > cutoff_s:
            return f"p95 > {1000 * cutoff_s:g} ms, {cutoff}"
        return f"p95 <= {1000 * p95_s:.3g} ms, {cutoff}"

    def _costs(self) -> str:
        return _costs(self.statistics.cpu_s, self.statistics.blocked_s)


def _costs(cpu_s: float, blocked_s: float) -> str:
    return f"{cpu_s * 1000:.3g} ms on a core and {blocked_s * 1000:.3g} ms blocked in the mean"
