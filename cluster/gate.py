"""The gate: what operators say about one record, between Kafka and the executor (pure).

It is made anew as a whole when limits change, so a reader sees one state. Most handlers are *plain*: nothing was ever said of them, and
their records are not looked at. A paused handler's records are parked, so that they hold no offset; what was purged is dropped. A paused
lane needs no verdict: nothing is fetched of it, and what was fetched waits in the executor.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Self

from cluster.tables.limits import LimitsState


class Verdict(enum.Enum):
    RUN = "run"
    PARK = "park"  # copied to the parked topic, acknowledged by all, then completed here
    DROP = "drop"  # marked cancelled, then completed


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """`purged_..`: name -> what was submitted up to this wall clock, in ms, is dropped."""

    paused: Collection[str] = frozenset()
    purged_handlers: Mapping[str, int] = field(default_factory=dict)
    purged_lanes: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, limits: LimitsState) -> Self:
        return cls(
            paused=limits.paused_handlers(),
            purged_handlers=limits.purged_handlers(),
            purged_lanes=limits.purged_lanes(),
        )

    def is_plain(self, handler: str) -> bool:
        """True: its records may run without being judged. A lane's purge makes every handler be judged."""
        return not self.purged_lanes and handler not in self.paused and handler not in self.purged_handlers

    def judge(self, handler: str, lane: str, submitted_ms: int) -> Verdict:
        """`lane`: of the topic in which the record stands. A purge goes before a pause: purged tasks never come back."""
        if submitted_ms <= self.purged_handlers.get(handler, -1):
            return Verdict.DROP
        if submitted_ms <= self.purged_lanes.get(lane, -1):
            return Verdict.DROP
        return Verdict.PARK if handler in self.paused else Verdict.RUN


OPEN_GATE = Gate()
