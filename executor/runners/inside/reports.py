"""Progress of running tasks on its way to the node: the newest of each task, at most five times a second. No clock of its own.

Handlers report as often as they like; what leaves is bounded here, so a busy loop cannot flood the node.
"""

from __future__ import annotations

from collections.abc import Callable

REPORT_EVERY_S = 0.2


class Reports:
    """Any thread adds and forgets; one thread takes. `wake` is called when there is something to take at once."""

    def __init__(self, wake: Callable[[], None], clock: Callable[[], float]) -> None:
        self._wake = wake
        self._clock = clock
        self._newest: dict[int, tuple[float, float | None, str]] = {}
        self._sent_s: dict[int, float] = {}

    def add(self, number: int, done: float, total: float | None, note: str) -> None:
        self._newest[number] = (done, total, note)
        if number not in self._sent_s or self._clock() - self._sent_s[number] >= REPORT_EVERY_S:
            self._wake()

    def forget(self, number: int) -> None:
        """The task ended: its outcome says more."""
        self._newest.pop(number, None)
        self._sent_s.pop(number, None)

    def take(self) -> list[list[object]]:
        """The messages that may leave now."""
        if not self._newest:
            return []
        now_s = self._clock()
        messages: list[list[object]] = []
        for number in list(self._newest):
            if now_s - self._sent_s.get(number, -REPORT_EVERY_S) < REPORT_EVERY_S:
                continue
            report = self._newest.pop(number, None)
            if report is not None:
                self._sent_s[number] = now_s
                messages.append(["progress", number, *report])
        return messages
