"""The lane of each handler: the declared one, else by the mean of its measured times. A pure core.

The first, simple law; histograms, cut-offs and hysteresis replace it behind the same questions.
"""

from __future__ import annotations

from collections.abc import Mapping

from executor.handlers.declaration import Handler
from executor.labels.meter import Meter
from executor.task import HandlerStatistics, Lane

ROOM_S = 0.5  # how much work a worker may have waiting
ROOM_UNKNOWN_TASKS = 16  # a worker, while nothing is measured
ROOM_TASKS_MAX = 2_000


class LabelsByMean:
    """`handlers` is the executor's own mapping of declarations. One thread adds; others may ask."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers
        self._meters: dict[str, Meter] = {}
        self._all = Meter()

    def add(self, handler: str, *, wall_s: float, cpu_s: float) -> None:
        self._meters.setdefault(handler, Meter()).add(wall_s=wall_s, cpu_s=cpu_s)
        self._all.add(wall_s=wall_s, cpu_s=cpu_s)

    def lane(self, handler: str) -> Lane:
        declared = self._handlers[handler]
        if declared.lane is not None:
            return declared.lane
        meter = self._meters.get(handler)
        is_long = meter is not None and meter.is_long
        if declared.is_async:
            return Lane.IO_LONG if is_long else Lane.IO_SHORT
        return Lane.CPU_LONG if is_long else Lane.CPU_SHORT

    def is_brief(self, handler: str) -> bool:
        """Short enough to travel in batches."""
        meter = self._meters.get(handler)
        return meter is not None and meter.is_brief

    def room(self, slots: int) -> int:
        """How many tasks `slots` workers may have waiting and running: half a second of work, in bounds."""
        wanted = slots * ROOM_UNKNOWN_TASKS
        if self._all.is_known:
            wanted = round(slots * ROOM_S / max(self._all.mean_wall_s, 1e-6))
        return min(max(wanted, slots * 2), ROOM_TASKS_MAX)

    def statistics(self) -> dict[str, HandlerStatistics]:
        return {name: meter.statistics() for name, meter in tuple(self._meters.items())}
