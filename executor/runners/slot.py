"""Memory that node and runner share: which tasks the runner is at, since when. It outlives a killed runner, so that the right task pays.

Two columns, number and start, one row a slot; a process that runs one task at a time uses row 0 only. The runner writes, the node reads.
Each cell is 8 bytes, aligned, and written at once. The start is written before the number: a reader between the two sees an old number
with a newer start, never a number that seems to run for longer than it does.
"""

from __future__ import annotations

import mmap

SLOTS_MAX = 1024
_HEADER_BYTES = 64
_COLUMN_BYTES = 8 * SLOTS_MAX
TABLE_BYTES = _HEADER_BYTES + 2 * _COLUMN_BYTES


class SlotTable:
    """`numbers[i]` 0: nothing ever ran here, or it has ended. `starts[i]` (monotonic seconds) 0.0: the number beside it has ended."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        view = memoryview(memory)
        self._header = view[:_HEADER_BYTES].cast("Q")
        self.numbers = view[_HEADER_BYTES : _HEADER_BYTES + _COLUMN_BYTES].cast("Q")
        self.starts = view[_HEADER_BYTES + _COLUMN_BYTES : TABLE_BYTES].cast("d")
        view.release()

    @property
    def begun(self) -> int:
        """The highest number that was ever begun. A process need not write it: its row 0 says the same."""
        return max(self._header[0], self.numbers[0])

    @begun.setter
    def begun(self, number: int) -> None:
        self._header[0] = number

    def running(self, rows: int = SLOTS_MAX) -> list[tuple[int, float]]:
        """Number and start of what runs now, of the first `rows` rows."""
        numbers, starts = self.numbers[:rows].tolist(), self.starts[:rows].tolist()
        return [row for row in zip(numbers, starts, strict=True) if row[0] and row[1]]

    def close(self) -> None:
        """No row can be read any more."""
        for view in (self._header, self.numbers, self.starts):
            view.release()
        self._memory.close()
