"""Offsets completed in any order -> the one offset that may be committed.

A partition's window holds every delivered record that is not completed. The low watermark is the first open offset, or the
offset after the last delivered one. Offsets need not be contiguous (compaction leaves gaps). Nothing is ever committed past
an open record, so a crash re-delivers it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from operator import lt


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

    def deliver(self, offsets: Sequence[int]) -> None:
        """Raises `ValueError`, and takes none, unless the offsets of one assignment rise."""
        position = self._position
        if position is not None and offsets[0] < position:
            raise ValueError(f"offset {offsets[0]} delivered again; expected {position} or more")
        if not all(map(lt, offsets, offsets[1:])):
            raise ValueError(f"offsets {offsets[0]} to {offsets[-1]} of one delivery do not rise")
        self._order.extend(offsets)
        self._position = offsets[-1] + 1

    def complete(self, offsets: Sequence[int]) -> None:
        """A second completion of the same offset, or one below the watermark, changes nothing."""
        order, done = self._order, self._done
        if not order:
            return
        first = order[0]
        if min(offsets) < first:
            offsets = [offset for offset in offsets if offset >= first]
        done.update(offsets)
        while order and order[0] in done:
            done.discard(order.popleft())

    def to_commit(self) -> int | None:
        """The offset to commit if it has moved since the last `mark_committed`, else None."""
        watermark = self._order[0] if self._order else self._position
        return None if watermark is None or watermark == self.committed else watermark

    def mark_committed(self, offset: int) -> None:
        self.committed = offset
