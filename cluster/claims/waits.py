"""Waits of claimed tasks: how long until a held key, or a check that could not tell, is asked again; and the hours that are due.

Hours are numbers of a task that may have gone its way since, so a popped key is only a hint: it counts if its task still waits for that
very hour. Old hints cost one look each.
"""

from __future__ import annotations

from heapq import heappop, heappush

HELD_FIRST_S, HELD_LONGEST_S = 1.0, 30.0
HELD_FOR_S = 60.0  # then it is parked: it keeps an offset open
HELD_OF_A_PARTITION_MAX = 500  # more are parked at once: a partition's window is 10,000 open records
CHECK_FIRST_S, CHECK_LONGEST_S = 1.0, 60.0
CHECK_FOR_S = 600.0  # then it is in doubt


def held_again_s(asked: int) -> float:
    """1, 2, 4 .. 30 s. `asked`: how often it was already."""
    return min(HELD_LONGEST_S, HELD_FIRST_S * (1 << min(asked, 10)))


def check_again_s(asked: int) -> float:
    return min(CHECK_LONGEST_S, CHECK_FIRST_S * (1 << min(asked, 10)))


class Hours:
    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []

    def add(self, due: float, key: int) -> None:
        heappush(self._heap, (due, key))

    def pop(self, now: float) -> list[tuple[float, int]]:
        found = []
        while self._heap and self._heap[0][0] <= now:
            found.append(heappop(self._heap))
        return found

    def next_due(self) -> float | None:
        return self._heap[0][0] if self._heap else None
