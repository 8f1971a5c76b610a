"""The last decisions and their reasons, for people who ask why."""

from __future__ import annotations

from collections import deque

from executor.task import Reason

REASONS_KEPT = 500


class Diary:
    """Bounded: the oldest goes."""

    def __init__(self) -> None:
        self._reasons: deque[Reason] = deque(maxlen=REASONS_KEPT)

    def note(self, now: float, subject: str, decision: str, why: str) -> None:
        self._reasons.append(Reason(at_s=now, subject=subject, decision=decision, why=why))

    def reasons(self) -> list[Reason]:
        return list(self._reasons)
