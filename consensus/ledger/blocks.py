"""Blocks: runs of keys handed out by moving one number up. No key is handed out twice, whoever asks and whatever is lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgpack

from consensus.ledger.commands import CommandRefused, Opcode
from consensus.ledger.sessions import Sessions
from consensus.ledger.table import Context

FIRST_KEY = 1
KEYS_END = 1 << 63
RESERVE_KEYS_MAX = 1 << 20


class Blocks:
    """`next_key`, the high-water mark, may be read by any thread."""

    name = "blocks"
    version = 1
    opcodes = (Opcode.RESERVE,)

    def __init__(self, sessions: Sessions) -> None:
        self.next_key = FIRST_KEY
        self._sessions = sessions

    def apply(self, command: list[Any], context: Context) -> Any:
        match command:
            case [Opcode.RESERVE, int(session), int(count)]:
                self._sessions.require_open(session)
                return self.reserve(count)
            case _:
                raise CommandRefused("malformed reserve")

    def reserve(self, count: int) -> int:
        """The first of `count` fresh keys; for tables whose commands need keys. Raises `CommandRefused`."""
        if not 1 <= count <= RESERVE_KEYS_MAX:
            raise CommandRefused(f"a block of {count} keys: ask for 1 to {RESERVE_KEYS_MAX}")
        if self.next_key + count > KEYS_END:
            raise CommandRefused("all keys below 2^63 were handed out")
        first = self.next_key
        self.next_key += count
        return first

    def freeze(self) -> Iterator[bytes]:
        return iter([bytes(msgpack.packb(self.next_key))])

    def load(self, pieces: Sequence[bytes], version: int) -> None:
        [piece] = pieces
        self.next_key = msgpack.unpackb(piece)
