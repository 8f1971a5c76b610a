"""The relative law: where the line between short and long should be, from what runs here. Pure functions.

A line too low sends many tasks to the few slots for long work, one too high lets short tasks wait behind longer ones. For each line the
delay in both lanes follows from queueing theory (Sakasegawa's formula for k servers, times Pollaczek and Khinchine's factor for runs of
different lengths). What counts is slowdown, delay in units of a task's own time, averaged over all tasks: a second is nothing to a task of
a minute, and much to one of a millisecond.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from executor.pools.reserve import LONG_LOAD_MAX, reserve

CUTOFFS_S = tuple(0.025 * 2.0**step for step in range(7))  # 25 ms to 1.6 s
CUTOFF_FIRST_S = 0.1
GAIN_MIN = 0.1  # a move must be worth it
SLOWDOWN_MIN = 0.05  # when tasks hardly wait there is nothing to gain


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one (handler, kind) brings. `is_long`: under each of `CUTOFFS_S`; all alike for a declared lane."""

    rate_s: float  # runs a second
    mean_s: float
    square_s2: float  # mean of the square
    is_long: tuple[bool, ...]


def delay_s(loads: Sequence[Load], slots: int) -> float:
    """How long a task waits for one of `slots`, in the mean; infinite when they cannot keep up."""
    work = sum(load.rate_s * load.mean_s for load in loads)
    if work == 0.0:
        return 0.0
    if slots < 1 or work >= slots:
        return math.inf
    rho = work / slots
    squares = sum(load.rate_s * load.square_s2 for load in loads)
    queue = math.pow(rho, math.sqrt(2 * (slots + 1)) - 1) / (slots * (1 - rho))
    return queue * squares / (2 * work)


def slowdown(loads: Sequence[Load], step: int, slots: int) -> float:
    """Mean delay over own time under `CUTOFFS_S[step]`; infinite when a lane cannot keep up."""
    short = [load for load in loads if not load.is_long[step]]
    long = [load for load in loads if load.is_long[step]]
    short_load = sum(load.rate_s * load.mean_s for load in short)
    long_load = sum(load.rate_s * load.mean_s for load in long)
    kept = reserve(slots=slots, short=short_load, long=long_load)
    if long_load >= LONG_LOAD_MAX * (slots - kept) and long:
        return math.inf
    total = 0.0
    # Without long work the short has all slots, not only its reserve.
    for lane, lane_slots in ((short, kept if long else slots), (long, slots - kept)):
        waits = delay_s(lane, lane_slots)
        total += sum(load.rate_s * waits / max(load.mean_s, 1e-6) for load in lane)
    rate = sum(load.rate_s for load in loads)
    return total / rate if rate else 0.0


def next_cutoff(loads: Sequence[Load], cutoff_s: float, slots: int) -> tuple[float, str] | None:
    """One step towards the best line, and why; None: stay.

    Where one of the lanes cannot keep up, no line is better than another: then there is a flood, and to call the long work short is the
    worst that could be done. Nor is a line looked at above which nothing is long any more: whoever came next would wait behind all.
    Where tasks hardly wait there is nothing to win, and the line goes back to where it began: a newcomer is best off there.
    """
    step = CUTOFFS_S.index(cutoff_s)
    now = slowdown(loads, step, slots)
    if math.isinf(now):
        return None
    if now < SLOWDOWN_MIN:
        back = _towards(step, CUTOFFS_S.index(CUTOFF_FIRST_S))
        if back == step or slowdown(loads, back, slots) >= SLOWDOWN_MIN:
            return None
        return CUTOFFS_S[back], f"tasks hardly wait: mean slowdown {now:.3f}"
    has_long = any(load.is_long[step] for load in loads)
    found = [
        slowdown(loads, other, slots)
        if not has_long or any(load.is_long[other] for load in loads)
        else math.inf
        for other in range(len(CUTOFFS_S))
    ]
    best = min(range(len(CUTOFFS_S)), key=lambda other: (found[other], abs(other - step)))
    moved = _towards(step, best)
    if found[best] > (1 - GAIN_MIN) * now or math.isinf(found[moved]):
        return None
    return CUTOFFS_S[moved], (
        f"mean slowdown {now:.2f} at {cutoff_s * 1000:g} ms, {found[best]:.2f} at {CUTOFFS_S[best] * 1000:g} ms"
    )


def _towards(step: int, other: int) -> int:
    return step + (other > step) - (other < step)
