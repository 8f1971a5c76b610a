"""How many records one lane's consumers may deliver, and who of them first (pure).

A lane's room is what its executor wants, less what is on its way there. High, normal and low share it strictly: while a higher priority
waits for room, a lower one gets an eighth of what the higher takes, so that it neither fills the executor before the higher is seen nor
stands still for ever. (Ageing in the executor cannot see what was never fetched.)
"""

from __future__ import annotations

LOWER_SHARE = 1 / 8
OWED_MAX = 500.0  # records: one fetch; what was not used in time is not saved up
WANTS_S = (
    0.3  # a consumer that waits asks again at least this often: one that ended must not hold the others up
)


class Credits:
    """One lane. Ranks: 0 is the highest priority."""

    def __init__(self, ranks: int) -> None:
        self.on_the_way = 0
        self._wants_until = [0.0] * ranks
        self._owed = [0.0] * ranks

    def take(self, rank: int, wanted: int, room: int, now: float) -> int:
        """-> how many records may be delivered; they are on the way until `arrived`, or given back."""
        granted = max(0, min(wanted, room - self.on_the_way))
        if any(until > now for until in self._wants_until[:rank]):
            granted = min(granted, int(self._owed[rank]))
            self._owed[rank] -= granted
        elif granted:
            self._owed[rank] = 0.0
        self._wants_until[rank] = now + WANTS_S if granted < wanted else 0.0
        self.on_the_way += granted
        for lower in range(rank + 1, len(self._owed)):
            if self._wants_until[lower] > now:
                self._owed[lower] = min(OWED_MAX, self._owed[lower] + granted * LOWER_SHARE)
        return granted

    def give_back(self, rank: int, count: int) -> None:
        """There were fewer records than granted: this rank waits for nothing."""
        self.on_the_way -= count
        self._wants_until[rank] = 0.0

    def arrived(self, count: int) -> None:
        self.on_the_way -= count
