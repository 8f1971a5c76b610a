"""The last stretch: what is due soon, in due order, bounded in number and bytes (pure).

A heap of single integers, `due_ms << 24 | slot`: 56 bytes an entry, and no object is compared. Nothing leaves before its time has come
by the clock that is passed in. When it is full its owner stops reading: Kafka keeps the rest, and only lateness grows.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

TASKS_MAX = 200_000
BYTES_MAX = 64 << 20
SLOT_BITS = 24
_SLOTS = 1 << SLOT_BITS

T = TypeVar("T")


class DueHeap(Generic[T]):
    """Entries of any kind, each with its hour and its size."""

    def __init__(self, *, tasks_max: int = TASKS_MAX, bytes_max: int = BYTES_MAX) -> None:
        assert 0 < tasks_max <= _SLOTS, "a slot must fit its bits"
        self._tasks_max, self._bytes_max = tasks_max, bytes_max
        self._heap: list[int] = []
        self._entries: list[tuple[T, int] | None] = []  # by slot
        self._free: list[int] = []
        self.held_bytes = 0

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def is_full(self) -> bool:
        return len(self._heap) >= self._tasks_max or self.held_bytes >= self._bytes_max

    @property
    def next_ms(self) -> int | None:
        """When the first of them is due."""
        return self._heap[0] >> SLOT_BITS if self._heap else None

    def push(self, due_ms: int, entry: T, size_bytes: int) -> None:
        """Not when it is full."""
        assert not self.is_full, "nothing may be read while the heap is full"
        if self._free:
            slot = self._free.pop()
            self._entries[slot] = entry, size_bytes
        else:
            slot = len(self._entries)
            self._entries.append((entry, size_bytes))
        self.held_bytes += size_bytes
        heappush(self._heap, due_ms << SLOT_BITS | slot)

    def pop(self, now_ms: int, count_max: int) -> list[T]:
        """What is due by now, in due order, at most so many."""
        found: list[T] = []
        end = (now_ms + 1) << SLOT_BITS
        while self._heap and self._heap[0] < end and len(found) < count_max:
            found.append(self._release(heappop(self._heap) & (_SLOTS - 1)))
        return found

    def drop(self, is_gone: Callable[[T], bool]) -> None:
        """Forgets those of which it is true."""
        kept: list[int] = []
        for number in self._heap:
            slot = number & (_SLOTS - 1)
            held = self._entries[slot]
            assert held is not None
            if is_gone(held[0]):
                self._release(slot)
            else:
                kept.append(number)
        heapify(kept)
        self._heap = kept

    def _release(self, slot: int) -> T:
        held = self._entries[slot]
        assert held is not None
        self._entries[slot] = None
        self._free.append(slot)
        self.held_bytes -= held[1]
        return held[0]
