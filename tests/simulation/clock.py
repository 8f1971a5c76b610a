"""Virtual time: a heap of things to do, and the clocks that each node reads.

Nothing here waits. `Timeline` jumps from one action to the next; equal times run in the order they were asked for, so a run is a
function of its seed. A node sees time through its own `NodeClock`: its monotonic clock starts at another value on every machine (nobody
may compare two of them), its wall clock may jump, and both go on while the node computes, because what a step costs is spent on them.
Without that cost a retry storm, or a loop that ends by the clock, would be free and so invisible.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

WALL_AT_START_S = 1_750_000_000.0
READING_S = 0.5e-6  # a loop that only looks at the clock must end as well


class Timeline:
    """Actions in order of (time, order of asking)."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.actions_done = 0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._asked = 0

    def at(self, time_s: float, action: Callable[[], None]) -> None:
        """`action` runs at `time_s`, or next if that has passed."""
        self._asked += 1
        heapq.heappush(self._heap, (max(time_s, self.now_s), self._asked, action))

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        self.at(self.now_s + delay_s, action)

    def run_until(self, end_s: float) -> None:
        """Also what the actions ask for on the way, up to and including `end_s`."""
        heap = self._heap
        while heap and heap[0][0] <= end_s:
            self.now_s, _, action = heapq.heappop(heap)
            self.actions_done += 1
            action()
        self.now_s = end_s


@dataclass(slots=True, kw_only=True)
class NodeClock:
    """One node's view of time. `spent_s` is what its present step has cost so far."""

    timeline: Timeline
    boot_s: float
    wall_offset_s: float = 0.0
    slowness: float = 1.0  # 10 = this node's processor is ten times slower
    spent_s: float = field(default=0.0)

    def monotonic(self) -> float:
        self.spent_s += READING_S
        return self.boot_s + self.timeline.now_s + self.spent_s

    def wall(self) -> float:
        return WALL_AT_START_S + self.timeline.now_s + self.spent_s + self.wall_offset_s

    def compute(self, seconds: float) -> None:
        """The processor worked: slower on a slow one."""
        self.spent_s += seconds * self.slowness

    def wait(self, seconds: float) -> None:
        """The node waited for a device: the same on each processor."""
        self.spent_s += seconds

    def now_s(self) -> float:
        """The cluster's time at this point inside the node's step; for the simulator only."""
        return self.timeline.now_s + self.spent_s
