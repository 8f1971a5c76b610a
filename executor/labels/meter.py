"""Measured times of handlers: a decayed mean that follows the recent past."""

from __future__ import annotations

from executor.task import HandlerStatistics

WEIGHT_MIN = 0.05
BRIEF_MEAN_S = 0.002
LONG_MEAN_S = 1.0
CERTAIN_COUNT = 4


class Meter:
    """Means of one handler. A new value weighs 1/n for the first 20, then 1/20."""

    __slots__ = ("_count", "_mean_cpu_s", "_mean_wall_s")

    def __init__(self) -> None:
        self._count = 0
        self._mean_wall_s = 0.0
        self._mean_cpu_s = 0.0

    def add(self, *, wall_s: float, cpu_s: float) -> None:
        self._count += 1
        weight = max(WEIGHT_MIN, 1 / self._count)
        self._mean_wall_s += weight * (wall_s - self._mean_wall_s)
        self._mean_cpu_s += weight * (cpu_s - self._mean_cpu_s)

    @property
    def mean_wall_s(self) -> float:
        return self._mean_wall_s

    @property
    def is_known(self) -> bool:
        return self._count >= CERTAIN_COUNT

    @property
    def is_brief(self) -> bool:
        """Short enough to travel in batches; a handler that is not measured yet is not."""
        return self.is_known and self._mean_wall_s < BRIEF_MEAN_S

    @property
    def is_long(self) -> bool:
        """Long enough for a *-long lane, when the handler declares none."""
        return self._count > 0 and self._mean_wall_s >= LONG_MEAN_S

    def statistics(self) -> HandlerStatistics:
        return HandlerStatistics(
            count=self._count, mean_wall_s=self._mean_wall_s, mean_cpu_s=self._mean_cpu_s
        )
