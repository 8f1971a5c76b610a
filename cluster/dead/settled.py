"""Which dead records were dealt with: the view of a node, made of what it reads of the dead topic (pure).

It keeps keys as bits, so a million settled tasks cost little, and says nothing of how; the topic knows.
"""

from __future__ import annotations

from pyroaring import BitMap64

from cluster.dead.record import DeadRecord, Settlement
from cluster.dead.search import is_task

PLACES_MAX = 100_000  # of records that are no tasks: beyond, an old one may be shown again


class Settled:
    """For one thread at a time."""

    def __init__(self) -> None:
        self._dead = BitMap64()
        self._settled = BitMap64()
        self._places: dict[str, None] = {}

    def read(self, key: bytes, one: DeadRecord | Settlement) -> None:
        if len(key) > 8:
            key = b""  # no key of a task
        match one:
            case DeadRecord():
                if task := is_task(key, one):
                    self._dead.add(task)
            case Settlement(place=place):
                if (number := int.from_bytes(key, "big")) in self._dead:
                    self._settled.add(number)
                    return
                self._places[place] = None
                if len(self._places) > PLACES_MAX:
                    del self._places[next(iter(self._places))]

    def knows(self, key: int) -> bool:
        """It stands in the dead topic, settled or not."""
        return key in self._dead

    def has(self, key: int, place: str) -> bool:
        """Key 0 is no task: its place tells."""
        return key in self._settled if key else place in self._places

    def open_count(self) -> int:
        """Tasks with a dead record that nobody has dealt with; a few of them may have succeeded after all."""
        return len(self._dead) - len(self._settled)

    def open_keys(self) -> list[int]:
        return list(self._dead - self._settled)
