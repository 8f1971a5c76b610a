"""When a node calls a peer. Of a pair the greater id calls at once; the other only after a while without a link, because the
greater one may not know it yet (a new node whose peers have not learnt of it). So two nodes rarely call one another at the same time.
"""

from __future__ import annotations

from dataclasses import dataclass

REDIAL_S = 0.5  # between the starts of two calls: a peer that comes back is found before an election ends
PATIENCE_S = 2.0  # without a link, before the lesser id calls: four calls of the greater one


@dataclass(slots=True)
class Dialling:
    """One peer that is to be called whenever there is no link. Times are the owner's monotonic seconds."""

    eager: bool
    next_at: float

    @classmethod
    def of(cls, own: str, peer: str, now: float) -> Dialling:
        eager = own > peer
        return cls(eager=eager, next_at=now if eager else now + PATIENCE_S)

    def is_due(self, now: float) -> bool:
        return now >= self.next_at

    def started(self, now: float) -> None:
        self.next_at = now + REDIAL_S

    def lost(self, now: float) -> None:
        """The link ended. The pace of calls is kept, else a peer that hangs up at once would be called in a circle."""
        self.next_at = max(self.next_at, now if self.eager else now + PATIENCE_S)
