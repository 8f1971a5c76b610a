"""Offsets completed in any order -> the one offset that may be committed.

A partition's window holds every delivered record that is not completed. The low watermark is the first open offset, or the
offset after the last delivered one. Offsets need not be contiguous (compaction leaves gaps). Nothing is ever committed past
an open record, so a crash re-delivers it.
"""

from __future__ import annotations

from collections import deque


class OffsetWindow:
    """One assignment of one partition. Amortised O(1) per record; holds one integer an open record."""

    __slots__ = ("_done", "_order", "_position", "committed")

    def __init__(self) -> None:
        self._order: deque[int] = deque()
        self._done: set[int] = set()
        self._position: int | None = None
        self.committed: int | None = None

    def __len__(self) -> int:
        """Records between the low watermark and the last delivered one, completed or not."""
        return len(self._order)

    def deliver(self, offset: int) -> None:
        """Raises `ValueError` unless offsets of one assignment rise."""
        if self._position is not None and offset < self._position:
            raise ValueError(f"offset {offset} delivered again; expected {self._position} or more")
        self._order.append(offset)
        self._position = offset + 1

    def complete(self, offset: int) -> None:
        """A second completion of the same offset, or one below the watermark, changes nothing."""
        if self._order and offset >= self._order[0]:
            self._done.add(offset)
            while self._order and self._order[0] in self._done:
                self._done.discard(self._order.popleft())

    def to_commit(self) -> int | None:
        """The offset to commit if it has moved since the last `mark_committed`, else None."""
        watermark = self._order[0] if self._order else self._position
        return None if watermark is None or watermark == self.committed else watermark

    def mark_committed(self, offset: int) -> None:
        self.committed = offset
