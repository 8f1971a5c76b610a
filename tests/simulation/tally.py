"""A table of the simulator's own: each of its commands has a number, and the table notes the order in which they took effect.

It is the plainest witness of what the core promises: a number noted twice is a doubled effect, a missing one is a lost effect,
and the answer, its place in the order, tells whether a call heard its own answer or another's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgpack

from consensus.ledger.commands import FIRST_FOREIGN_OPCODE, CommandRefused
from consensus.ledger.table import Context

NOTE = (
    FIRST_FOREIGN_OPCODE  # [number, padding] -> place, from 1; a number that is odd in `refuses` is refused
)
PIECE_NUMBERS = 200


class Tally:
    name = "tally"
    version = 1
    opcodes = (NOTE,)

    def __init__(self) -> None:
        self.places: dict[int, int] = {}
        self.doubled: list[int] = []

    def apply(self, command: list[Any], context: Context) -> Any:
        match command:
            case [_, int(number), bytes()] if number % 50 != 0:
                if number in self.places:
                    self.doubled.append(number)
                self.places[number] = len(self.places) + 1
                return self.places[number]
            case _:
                raise CommandRefused("the tally refuses every fiftieth number")

    def freeze(self) -> Iterator[bytes]:
        numbers = list(self.places)  # in the order of their places
        pieces = [numbers[start : start + PIECE_NUMBERS] for start in range(0, len(numbers), PIECE_NUMBERS)]
        return iter([bytes(msgpack.packb(piece)) for piece in pieces])

    def load(self, pieces: Sequence[bytes], version: int) -> None:
        numbers = [number for piece in pieces for number in msgpack.unpackb(piece)]
        self.places = {number: place for place, number in enumerate(numbers, 1)}
