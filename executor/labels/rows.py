"""Which (handler, kind) are learnt apart: a bounded number, however many kinds a caller makes up.

Above `KINDS_MAX` of one handler a new kind takes the place of one that did not run for a while; if all are busy, it is learnt together
with the runs that have no kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from executor.labels.classifier import Classifier
from executor.task import Form, Lane

KINDS_MAX = 64  # of a handler
ROWS_MAX = 1_000  # kinds of all handlers; a row takes up to 40 kB
IDLE_S = 600.0
ROOM_S = 60.0  # so often a crowded handler is looked at again

Key = tuple[str, str]  # handler, kind


@dataclass(slots=True)
class Row:
    """What is known of one (handler, kind); `shown`: the lane and form that were last said of it."""

    classifier: Classifier
    shown: tuple[Lane, Form]
    observed_s: float
    estimate_s: float | None = None
    rate_s: float = 0.0
    runs_counted: int = 0
    is_warned: bool = False


class Rows:
    """One thread changes it; `items` may be asked by any."""

    def __init__(self) -> None:
        self._rows: dict[Key, Row] = {}
        self._kinds: dict[str, int] = {}
        self._crowded: dict[str, float] = {}  # handler -> when to look for room again

    def find(self, handler: str, kind: str) -> Row | None:
        """The own row, or the one that it has to share."""
        row = self._rows.get((handler, kind))
        if row is None and handler in self._crowded:
            row = self._rows.get((handler, ""))
        return row

    def own(self, handler: str, kind: str) -> Row | None:
        return self._rows.get((handler, kind))

    def key(self, handler: str, kind: str) -> Key:
        """Under which its runs are learnt."""
        return (handler, kind if (handler, kind) in self._rows else "")

    def make(self, handler: str, kind: str, *, is_async: bool, shown: tuple[Lane, Form], now: float) -> Row:
        """The own row, new if need be, or the one that it has to share."""
        if kind and (handler, kind) not in self._rows and not self._has_room(handler, now):
            kind = ""
        known = self._rows.get((handler, kind))
        if known is not None:
            return known
        row = Row(classifier=Classifier(is_async=is_async, now=now), shown=shown, observed_s=now)
        self._rows[handler, kind] = row
        self._kinds[handler] = self._kinds.get(handler, 0) + bool(kind)
        return row

    def items(self) -> Sequence[tuple[Key, Row]]:
        return tuple(self._rows.items())

    def keys(self) -> Sequence[Key]:
        return tuple(self._rows)

    def values(self) -> Sequence[Row]:
        return tuple(self._rows.values())

    def _has_room(self, handler: str, now: float) -> bool:
        if self._kinds.get(handler, 0) < KINDS_MAX and len(self._rows) < ROWS_MAX:
            return True
        if now < self._crowded.get(handler, now):
            return False
        self._crowded[handler] = now + ROOM_S
        own = [(row.observed_s, kind) for (name, kind), row in self._rows.items() if name == handler and kind]
        if not own or now - min(own)[0] < IDLE_S:
            return False
        del self._rows[handler, min(own)[1]]
        self._kinds[handler] -= 1
        return True
