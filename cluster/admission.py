"""Admission: the work that waits in each lane of the whole cluster, in seconds; too much of it, and new tasks are refused (pure).

    backlog_s = records not completed in the lane's topics x mean run time / slots of all nodes

Records are counted at Kafka every few seconds; what this node stored since then is added, so that a burst between two looks is seen. A lane
whose run time nobody has measured yet, or for which no node has slots, refuses nothing. One second of backlog is gone in one second, so
whoever is refused may come back after the seconds that are too many.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

RETRY_AFTER_MIN_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneLoad:
    """What one node says of one lane: slots it has for it, mean run time there (0: nothing measured)."""

    slots: int
    mean_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneBacklog:
    """Of the whole cluster. `mean_s` over the nodes that measured one, weighted by their slots."""

    records: int
    slots: int
    mean_s: float

    @property
    def seconds(self) -> float:
        return self.records * self.mean_s / self.slots if self.slots else 0.0


class Admission:
    """Not thread-safe: the owner holds a lock."""

    def __init__(self) -> None:
        self._looked: dict[str, LaneBacklog] = {}
        self._since: dict[str, int] = {}

    def looked(self, records: Mapping[str, int], loads: Iterable[Mapping[str, LaneLoad]]) -> None:
        """`records`: lane -> not completed now, as Kafka says. `loads`: of each living node, by lane."""
        nodes = list(loads)
        self._looked = {lane: _over_nodes(count, lane, nodes) for lane, count in records.items()}
        self._since = {}

    def admit(self, lane: str, count: int, max_backlog_s: float) -> float | None:
        """None: store these `count` tasks, they are counted. Else seconds after which the lane may have room."""
        over_s = self.backlog(lane).seconds - max_backlog_s
        if over_s > 0:
            return max(over_s, RETRY_AFTER_MIN_S)
        self._since[lane] = self._since.get(lane, 0) + count
        return None

    def backlog(self, lane: str) -> LaneBacklog:
        seen = self._looked.get(lane)
        if seen is None:
            return LaneBacklog(records=self._since.get(lane, 0), slots=0, mean_s=0.0)
        added = self._since.get(lane, 0)
        return LaneBacklog(records=seen.records + added, slots=seen.slots, mean_s=seen.mean_s)


def _over_nodes(records: int, lane: str, nodes: Iterable[Mapping[str, LaneLoad]]) -> LaneBacklog:
    loads = [node[lane] for node in nodes if lane in node and node[lane].slots > 0]
    measured = [load for load in loads if load.mean_s > 0]
    weight = sum(load.slots for load in measured)
    mean_s = sum(load.mean_s * load.slots for load in measured) / weight if weight else 0.0
    return LaneBacklog(records=records, slots=sum(load.slots for load in loads), mean_s=mean_s)
