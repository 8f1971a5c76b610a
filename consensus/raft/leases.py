"""Who still lives, by the leader's own monotonic clock (pure: `now` is an argument).

A session renews itself through the log. The leader notes on its clock when it saw each renewal, anew in each leadership, and closes
a session whose last one is `lease_s` plus a margin ago. No wall clock ends a session, and a new leader gives everybody a whole lease.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class LeaseJudge:
    lease_s: float
    _term: int = 0
    _seen: dict[int, tuple[int, float]] = field(default_factory=dict)  # session -> renewals, when

    def overdue(self, term: int, open_sessions: Iterable[tuple[int, int]], now: float) -> list[int]:
        """`open_sessions`: (number, renewals) as applied here. A session is named once a lease, until it is closed."""
        if term != self._term:
            self._term = term
            self._seen.clear()
        late: list[int] = []
        seen: dict[int, tuple[int, float]] = {}
        for number, renewals in open_sessions:
            before, at = self._seen.get(number, (-1, now))
            if before != renewals:
                at = now
            elif now - at > self.lease_s:
                late.append(number)
                at = now
            seen[number] = (renewals, at)
        self._seen = seen
        return late


@dataclass(slots=True)
class OwnLease:
    """How long this node may rely on its session: counted from when the renewal was *sent*, so that it ends before the leader's."""

    lease_s: float
    until: float = float("-inf")

    def renewed(self, sent_at: float) -> None:
        self.until = max(self.until, sent_at + self.lease_s)

    def lost(self) -> None:
        self.until = float("-inf")

    def left_s(self, now: float) -> float:
        return max(0.0, self.until - now)
