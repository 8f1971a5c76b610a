"""When the machine itself is short: of memory (nothing more is taken in, no place is added) or of cores (one long process less).

Both let go later than they take hold, so that they do not flutter.
"""

from __future__ import annotations

from collections import deque

MEMORY_SHARE_MAX = 0.8  # of the limit of the node's group
MEMORY_SHARE_LOW = 0.75
CPU_PRESSURE_MAX = 40.0  # percent of time in which something waited for a core (some avg10)
CPU_PRESSURE_LOW = 20.0
LAG_S_MAX = 0.02  # p99: then the node's own thread is late, which delays every task
LAGS_KEPT = 200
TURN_S = 0.05  # the executor's thread looks at its runners so often
CALM_S = 30.0
LONG_MIN = 2  # long tasks that may run at once however short of cores the machine is


class Pressure:
    """`is_short_of_memory`; `squeezed`: so many long places are closed."""

    def __init__(self) -> None:
        self.is_short_of_memory = False
        self.squeezed = 0
        self._lags_s: deque[float] = deque(maxlen=LAGS_KEPT)
        self._turned_s: float | None = None
        self._counted_s = 0.0  # one lag each 50 ms at most, however often it turns
        self._calm_since_s: float | None = None
        self._changed_s = 0.0

    def turned(self, now: float, *, is_busy: bool) -> None:
        """The executor's thread came round: within 50 ms, if it got a core and something is to be looked at."""
        if self._turned_s is not None and now - self._turned_s >= TURN_S:
            self._lags_s.append(now - self._turned_s - TURN_S)
            self._counted_s = now
        elif now - self._counted_s >= TURN_S:
            self._lags_s.append(0.0)
            self._counted_s = now
        self._turned_s = now if is_busy else None

    @property
    def lag_s(self) -> float:
        """The p99 of the lateness of the executor's thread."""
        if not self._lags_s:
            return 0.0
        return sorted(self._lags_s)[int(len(self._lags_s) * 0.99)]

    def gauges(
        self, memory_share: float, cpu_pressure: float, long_slots: int, now: float
    ) -> list[tuple[str, str]]:
        """(decision, why) of each change."""
        changes: list[tuple[str, str]] = []
        was = self.is_short_of_memory
        self.is_short_of_memory = memory_share > (MEMORY_SHARE_LOW if was else MEMORY_SHARE_MAX)
        if was != self.is_short_of_memory:
            decision = "takes nothing more in, adds no place" if not was else "takes work in again"
            changes.append((decision, f"memory in use: {memory_share:.0%} of the limit"))
        changes += self._squeeze(cpu_pressure, long_slots, now)
        return changes

    def _squeeze(self, cpu_pressure: float, long_slots: int, now: float) -> list[tuple[str, str]]:
        if cpu_pressure >= CPU_PRESSURE_LOW:
            self._calm_since_s = None
        elif self._calm_since_s is None:
            self._calm_since_s = now
        lag_s = self.lag_s
        before = self.squeezed
        if cpu_pressure > CPU_PRESSURE_MAX and lag_s > LAG_S_MAX and now - self._changed_s >= CALM_S:
            if long_slots > LONG_MIN:
                self.squeezed += 1
        elif self.squeezed and self._calm_since_s is not None and now - self._calm_since_s >= CALM_S:
            self.squeezed -= 1
            self._calm_since_s = now
        if self.squeezed == before:
            return []
        self._changed_s = now
        change = "one long place less" if self.squeezed > before else "one long place more"
        return [
            (
                change,
                f"CPU pressure {cpu_pressure:.0f} %, the executor's thread is up to {lag_s * 1000:.0f} ms late",
            )
        ]
