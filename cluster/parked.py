"""Parked tasks: what stands in `<prefix>.parked`, and when a part of it is taken out again (pure).

A record of a paused handler is copied there so that it holds no offset of its lane. The owner of a parked partition *scans*: it reads on
and changes nothing while all is still paused. When it meets a record that is free, it goes back to the first record that still counts and
*acts* on all up to the end that it sees: what is free goes to its lane, what is not is parked again at the end; each offset completes after
that is acknowledged. So an idle pause costs one reading of what is parked and no writing, and a resume costs one pass. A death on the way
leaves copies; they have one key, so one runs.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import msgpack

from cluster.errors import RecordError


def encode_parked(topic: str, value: bytes) -> bytes:
    """`topic`: where the record stood; it keeps its priority, and a purge of that lane still finds it."""
    return bytes(msgpack.packb([topic, value]))


def decode_parked(value: bytes | None) -> tuple[str, str, bytes]:
    """(lane, priority, bytes of the task). Raises `RecordError`."""
    try:
        topic, record = msgpack.unpackb(value or b"")
        _, lane, priority = topic.rsplit(".", 2)
        return lane, priority, bytes(record)
    except Exception as error:  # msgpack raises several unrelated classes for foreign bytes
        raise RecordError(f"the parked record cannot be read: {type(error).__name__}") from error


class Step(enum.Enum):
    """What to do with a record, or with the whole partition."""

    KEEP = "keep"  # leave it where it is
    GO_BACK = "go back"  # forget what was read after it, read again from `next`
    ACT = "act"
    SKIP = "skip"  # nothing to do with: seen before, or from before a seek


@dataclass(slots=True)
class ParkedPartition:
    """One assignment. `first`: all below is completed, so it is the offset to commit; `next`: the record that is expected."""

    first: int
    next: int = -1
    until: int | None = None  # while acting: the end that was seen when it began
    gap: tuple[int, int] | None = None  # the last one: (expected, met)

    def __post_init__(self) -> None:
        self.next = max(self.next, self.first)

    def look(self, offset: int, *, is_free: bool, end: int) -> Step:
        """`end`: of the partition, at least `offset + 1`. Offsets below the expected one are skipped.

        A gap is GO_BACK: a record that was read before a seek took effect must not make others be passed over. The same record is not read
        twice before a seek, so the same gap again is a hole in the topic.
        """
        if offset < self.next:
            return Step.SKIP
        if offset > self.next and self.gap != (self.next, offset):
            self.gap = self.next, offset
            return Step.GO_BACK
        if self.until is None:
            if not is_free:
                self.next = offset + 1
                return Step.KEEP
            self.until = max(end, offset + 1)
            if self.first < self.next:
                self.next = self.first
                return Step.GO_BACK
        self.next = offset + 1
        return Step.ACT

    def acted(self) -> int:
        """All that was given out as ACT is acknowledged -> the offset to commit."""
        self.first = self.next
        if self.until is not None and self.first >= self.until:
            self.until = None
        return self.first

    def not_acted(self) -> None:
        """Some of it was not acknowledged: everything from `first` is to be read and acted on again."""
        self.next = self.first

    def limits_changed(self) -> bool:
        """True: what was kept has to be looked at again, from `first`."""
        if self.until is not None or self.next == self.first:
            return False
        self.next = self.first
        return True

    def begins_at(self, low: int) -> None:
        """Records below `low` are gone from Kafka: they were completed."""
        if low > self.first:
            self.first = low
            self.next = max(self.next, low)
