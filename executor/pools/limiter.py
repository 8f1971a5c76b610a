"""How much of one handler and kind may wait for foreign machines at once: Gradient2, measured by latency alone.

At the end of each window the limit moves towards L x clamp(1.5 x long / short, 0.5, 1) + 4: `short` is the mean of the window, `long` that
of the last 120 windows. As long as more at once takes no longer, the limit rises; when it takes longer, the other side is full and it
falls. It starts at 16 and doubles until the first sign of congestion, because from 4 and by steps of one a thousand calls of a second would
take minutes. It stays where it is while less than half of it is used: what is not used is not measured.
"""

from __future__ import annotations

LIMIT_FIRST = 16.0
LIMIT_MIN = 4.0
LIMIT_MAX = 4_096.0
QUEUE = 4.0  # so many may wait at the other side: else the limit could never rise
TOLERANCE = 1.5
SMOOTHING = 0.2
WINDOW_S = 1.0
WINDOW_START_S = 0.1  # while it doubles
WINDOW_TASKS = 10
FIRST_WINDOWS = 10  # their plain mean is the first measure
LONG_WINDOWS = 120  # not tasks: a busy handler would forget within a second how quick it was


class Limiter:
    """`limit` is a whole number from 4."""

    __slots__ = ("_count", "_is_starting", "_long_s", "_peak", "_since_s", "_total_s", "_value", "_windows")

    def __init__(self) -> None:
        self._value = LIMIT_FIRST
        self._is_starting = True
        self._long_s = 0.0
        self._since_s: float | None = None
        self._total_s = 0.0
        self._count = 0
        self._peak = 0
        self._windows = 0

    @property
    def limit(self) -> int:
        return int(self._value)

    def add(self, wall_s: float, count: int, running: int, now: float) -> str | None:
        """`count` tasks took `wall_s` together, `running` ran at once. Why the limit is another now, or None."""
        if self._since_s is None:
            self._since_s = now
        self._total_s += wall_s
        self._count += count
        self._peak = max(self._peak, running)
        window_s = WINDOW_START_S if self._is_starting else WINDOW_S
        if self._count < WINDOW_TASKS or now - self._since_s < window_s:
            return None
        short_s, peak = self._total_s / self._count, self._peak
        self._since_s, self._total_s, self._count, self._peak = now, 0.0, 0, 0
        return self._end_window(max(short_s, 1e-9), peak)

    def timed_out(self) -> str:
        """It did not answer in time: half of that at once."""
        self._is_starting = False
        before = self.limit
        self._value = max(LIMIT_MIN, self._value / 2)
        return f"{before} -> {self.limit}: a task ran into its time-out"

    def _end_window(self, short_s: float, peak: int) -> str | None:
        if self._long_s == 0.0:
            self._long_s = short_s
        gradient = min(1.0, max(0.5, TOLERANCE * self._long_s / short_s))
        self._windows += 1
        weight = self._windows if self._windows <= FIRST_WINDOWS else LONG_WINDOWS
        self._long_s += (short_s - self._long_s) / weight
        if self._long_s > 2 * short_s:
            self._long_s *= 0.95  # a bad hour must not be the measure of good ones for long
        if peak < self._value / 2:
            return None
        before = self.limit
        if self._is_starting and gradient == 1.0:
            self._value *= 2
        else:
            self._is_starting = False
            self._value += SMOOTHING * (self._value * gradient + QUEUE - self._value)
        self._value = min(max(self._value, LIMIT_MIN), LIMIT_MAX)
        if self.limit == before:
            return None
        return f"{before} -> {self.limit}: {short_s * 1000:.3g} ms now, {self._long_s * 1000:.3g} ms lately, {peak} at once"
