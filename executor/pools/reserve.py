"""How many places rather idle than take long work: the law R.

    R = max(1, floor(r_s), min(ceil(r_s + sqrt(r_s)), W - ceil(r_l / 0.9)))      and at most W - 1

r_s, r_l: seconds of short and long work that arrive in a second. Short work gets what it uses and a margin of a square root for its bursts;
the margin, but not what it uses anyway, yields when long work would not get through otherwise.
"""

from __future__ import annotations

import math

WINDOW_S = 5.0
LONG_LOAD_MAX = 0.9  # of the places for long work; above it waits grow without bound
NEW_WEIGHT = 0.5


def reserve(*, slots: int, short: float, long: float) -> int:
    """R for `slots` places (W); short and long in places."""
    wanted = math.ceil(short + math.sqrt(short) - 1e-9)
    bound = slots - math.ceil(long / LONG_LOAD_MAX - 1e-9)
    return max(1, min(max(math.floor(short), min(wanted, bound)), slots - 1))


class Arrivals:
    """Seconds of work per second, decayed over windows of five seconds."""

    def __init__(self) -> None:
        self._short_s = 0.0
        self._long_s = 0.0
        self._since_s: float | None = None
        self.short = 0.0
        self.long = 0.0

    def add(self, work_s: float, *, is_long: bool) -> None:
        if is_long:
            self._long_s += work_s
        else:
            self._short_s += work_s

    def turn(self, now: float) -> bool:
        """True when a window is over and the rates are new."""
        if self._since_s is None:
            self._since_s = now
            return False
        past_s = now - self._since_s
        if past_s < WINDOW_S:
            return False
        weight = 1.0 if self.short == self.long == 0.0 else NEW_WEIGHT
        self.short += weight * (self._short_s / past_s - self.short)
        self.long += weight * (self._long_s / past_s - self.long)
        self._short_s = self._long_s = 0.0
        self._since_s = now
        return True
