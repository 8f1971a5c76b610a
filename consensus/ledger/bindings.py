"""Bindings: a unique value and the key that won it, so that two submits of one value are one task.

A binding stands until its time is over *and* its key was executed: a task that waits for days keeps its value for as long. Times are
those of the entries that come, so all nodes agree; a wrong clock ends a binding early or late, never differently on two nodes.
*Confirmed* follows the broker's acknowledgement; whoever meets an unconfirmed binding stores the record again under that key.
Bindings that are over go at the next `bind` of their value, or when the sweep passes: each `bind` looks at one shard of 65,536.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgpack

from consensus.ledger.blocks import FIRST_KEY, Blocks
from consensus.ledger.commands import CommandRefused, Opcode
from consensus.ledger.executed import Executed
from consensus.ledger.packed_map import SHARDS, PackedMap
from consensus.ledger.table import Context

VALUE_CHARACTERS_MAX = 1024
TIME_MS_END = 1 << 62


class Binding(NamedTuple):
    key: int
    until_ms: int
    confirmed: bool


class Bindings:
    """`get`, `len` and `unconfirmed` may be asked by any thread."""

    name = "bindings"
    version = 1
    opcodes = (Opcode.BIND, Opcode.CONFIRM)

    def __init__(self, blocks: Blocks, executed: Executed) -> None:
        self._blocks, self._executed = blocks, executed
        self._values: PackedMap[str] = PackedMap()
        self._sweep_at = 0

    def __len__(self) -> int:
        return len(self._values)

    def get(self, value: str) -> Binding | None:
        """Also one that is over but was not swept yet."""
        packed = self._values.get(value)
        return None if packed is None else Binding(*packed)

    def unconfirmed(self) -> Iterator[tuple[str, int]]:
        return ((value, key) for value, (key, _, confirmed) in self._values.items() if not confirmed)

    def apply(self, command: list[Any], context: Context) -> Any:
        match command:
            case [Opcode.BIND, str(value), int(key), int(until_ms)] if len(value) <= VALUE_CHARACTERS_MAX:
                if not FIRST_KEY <= key < self._blocks.next_key:
                    raise CommandRefused(f"key {key} was never handed out")
                if not 0 <= until_ms < TIME_MS_END:
                    raise CommandRefused(f"{until_ms} is no time in milliseconds")
                return self._bind(value, Binding(key, until_ms, False), context.time_ms)
            case [Opcode.CONFIRM, str(value), int(key)]:
                return self._confirm(value, key)
            case _:
                raise CommandRefused(f"malformed bind: a value has at most {VALUE_CHARACTERS_MAX} characters")

    def _bind(self, value: str, wanted: Binding, now_ms: int) -> list[Any]:
        self._sweep(now_ms)
        found = self.get(value)
        if found is None or self._over(found, now_ms):
            found = wanted
            self._values.put(value, list(found))
        return [found.key, found.confirmed]

    def _confirm(self, value: str, key: int) -> bool:
        found = self.get(value)
        if found is None or found.key != key:
            return False  # over, and perhaps bound anew to another key: that one is not confirmed by this
        if not found.confirmed:
            self._values.put(value, list(found._replace(confirmed=True)))
        return True

    def _over(self, binding: Binding, now_ms: int) -> bool:
        return binding.until_ms <= now_ms and binding.key in self._executed

    def _sweep(self, now_ms: int) -> None:
        for value, packed in self._values.shard(self._sweep_at).items():
            if self._over(Binding(*packed), now_ms):
                self._values.remove(value)
        self._sweep_at = (self._sweep_at + 1) % SHARDS

    def freeze(self) -> Iterator[bytes]:
        sweep_at = bytes(msgpack.packb(self._sweep_at))
        values = self._values.freeze()
        return (piece for part in ([sweep_at], values) for piece in part)

    def load(self, pieces: Sequence[bytes], version: int) -> None:
        self._sweep_at = msgpack.unpackb(pieces[0])
        self._values.load(pieces[1:])
