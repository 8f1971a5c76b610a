"""A record as it stands in a topic, and its place in words: "PARTITION:OFFSET" (pure)."""

from __future__ import annotations

from typing import NamedTuple

PLACE_CHARACTERS_MAX = 30


class StoredRecord(NamedTuple):
    partition: int
    offset: int
    stored_ms: int
    key: bytes
    value: bytes

    @property
    def place(self) -> str:
        return f"{self.partition}:{self.offset}"


def parse_place(text: str) -> tuple[int, int] | None:
    """(partition, offset), or None if it is no place."""
    partition, colon, offset = text.partition(":")
    if (
        not (colon and partition.isdecimal() and offset.isdecimal() and text.isascii())
        or len(text) > PLACE_CHARACTERS_MAX
    ):
        return None
    return int(partition), int(offset)
