"""The executed set: which keys are final, and with which outcome. It only grows; nothing expires.

Keys done are the many: one sharded bitmap holds all executed keys. Each other outcome has a bitmap of its own beside it, so that a
million cancelled keys cost bits, not objects. Which command may mark what is decided in `marks.py`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from typing import Any

import msgpack

from consensus.ledger.commands import CommandRefused
from consensus.ledger.sharded_bitmap import Keys, ShardedBitmap, without
from consensus.ledger.table import Context


class Outcome(enum.StrEnum):
    """How a key ended. A `str`, as it travels in commands and snapshots."""

    DONE = "done"
    DEAD = "dead"  # failed for good
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"  # at-most-once: started once, never run again


OTHERS = tuple(outcome for outcome in Outcome if outcome is not Outcome.DONE)


class Executed:
    """`in`, `len`, `found` and `outcome` may be asked by any thread: each is a few atomic steps on sets that only grow."""

    name = "executed"
    version = 1
    opcodes = ()

    def __init__(self) -> None:
        self._all = ShardedBitmap()
        self._others: dict[Outcome, ShardedBitmap] = {outcome: ShardedBitmap() for outcome in OTHERS}

    def __contains__(self, key: int) -> bool:
        return key in self._all

    def __len__(self) -> int:
        return len(self._all)

    def outcome(self, key: int) -> Outcome | None:
        if key not in self._all:
            return None
        return next((outcome for outcome, keys in self._others.items() if key in keys), Outcome.DONE)

    def counts(self) -> dict[Outcome, int]:
        others = {outcome: len(keys) for outcome, keys in self._others.items()}
        return {Outcome.DONE: len(self._all) - sum(others.values()), **others}

    def found(self, keys: Sequence[int]) -> set[int]:
        """Those of `keys` that are executed; by any thread."""
        return self._all.found(keys) if keys else set()

    def already(self, keys: Keys) -> Keys:
        return self._all.common(keys)

    def mark(self, keys: Keys, outcome: Outcome) -> Keys:
        """Those that were not executed before take this outcome; -> those that were and keep theirs."""
        already = self._all.common(keys)
        fresh = without(keys, already) if already else keys
        if outcome is not Outcome.DONE:
            self._others[outcome].add(
                fresh
            )  # before the key shows as executed: no reader sees another outcome
        self._all.add(fresh)
        return already

    def apply(self, command: list[Any], context: Context) -> Any:
        raise CommandRefused("the executed set has no commands of its own")

    def freeze(self) -> Iterator[bytes]:
        parts = [("", self._all.freeze()), *((str(o), keys.freeze()) for o, keys in self._others.items())]
        return (bytes(msgpack.packb([name, piece])) for name, pieces in parts for piece in pieces)

    def load(self, pieces: Sequence[bytes], version: int) -> None:
        parts: dict[str, list[bytes]] = {}
        for piece in pieces:
            name, data = msgpack.unpackb(piece)
            parts.setdefault(name, []).append(data)
        for outcome, keys in self._others.items():
            keys.load(parts.pop(str(outcome), []))
        self._all.load(parts.pop("", []))
        if parts:
            raise ValueError(f"the executed set has outcomes that this node does not know: {sorted(parts)}")
