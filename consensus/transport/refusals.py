"""Which refusals are worth a line in the log: each (who, reason) once in a while, and never more than a few lines a minute.

A wrong node tries again twice a second and a port scan comes from a thousand places: an operator needs the first line of each.
"""

from __future__ import annotations

from collections import OrderedDict, deque

AGAIN_S = 600.0  # the same trouble is said again, so that it stands in today's log too
REMEMBERED_MAX = 256
LINES_MAX = 20  # in LINES_WITHIN_S, whoever it is
LINES_WITHIN_S = 60.0


class Refusals:
    """`counted` holds all of them, said or not."""

    def __init__(self) -> None:
        self.counted = 0
        self._said_at: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._lines_at: deque[float] = deque()

    def is_worth_a_line(self, who: str, reason: str, now: float) -> bool:
        self.counted += 1
        said_at = self._said_at.get((who, reason))
        if said_at is not None and now - said_at < AGAIN_S:
            return False
        while self._lines_at and now - self._lines_at[0] >= LINES_WITHIN_S:
            self._lines_at.popleft()
        if len(self._lines_at) >= LINES_MAX:
            return False
        self._lines_at.append(now)
        self._said_at[who, reason] = now
        self._said_at.move_to_end((who, reason))
        if len(self._said_at) > REMEMBERED_MAX:
            self._said_at.popitem(last=False)
        return True

    def forget(self, who: str) -> None:
        """It is linked now: new trouble with it is worth a line again."""
        for key in [key for key in self._said_at if key[0] == who]:
            del self._said_at[key]
