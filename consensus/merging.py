"""Calls of one kind become one command, and its answer is cut back per call (pure).

Applying one command with 32 keys costs a fraction of 32 commands with one key each, and that on every node. So calls whose answer is a
row for each key (claim, release, fail) share a command, as long as no key comes twice: order between calls on one key must stay.
If the ledger refuses a shared command, one of the calls is at fault: none took effect, and each is proposed again on its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from consensus.ledger.commands import Opcode

MERGED_KEYS_MAX = 4096  # what one command may name


@dataclass(frozen=True, slots=True)
class PerKey:
    """`pairs`: (key, number) with rising keys. The command is `[opcode, session, pairs]`, its answer `stride` values for each key."""

    opcode: Opcode
    pairs: Sequence[tuple[int, int]]
    stride: int


@dataclass(frozen=True, slots=True)
class Cut:
    """Where the answer of a call is: the whole of the answer of `command`, or the rows of these keys."""

    command: int
    shared: bool = False
    places: Sequence[int] = ()
    stride: int = 0

    def of(self, answers: Sequence[Any]) -> Any:
        answer = answers[self.command]
        if not self.shared or isinstance(answer, dict):
            return answer
        if len(self.places) == 1:
            start = self.places[0] * self.stride
            return answer[start : start + self.stride]
        return [
            value
            for place in self.places
            for value in answer[place * self.stride : (place + 1) * self.stride]
        ]


class Merger:
    """The commands of one entry. `add` the calls in their order, then `commands`, then `cut` with what `add` returned."""

    def __init__(self, session: int) -> None:
        self._session = session
        self._commands: list[list[Any]] = []
        self._members: list[tuple[int, PerKey | None]] = []
        self._open: dict[Opcode, tuple[int, dict[int, int]]] = {}
        self._shared: list[tuple[int, dict[int, int]]] = []

    def add(self, command: list[Any]) -> None:
        self._members.append((len(self._commands), None))
        self._commands.append(command)

    def add_per_key(self, wanted: PerKey) -> None:
        shared = self._open.get(wanted.opcode)
        if (
            shared is None
            or len(shared[1]) + len(wanted.pairs) > MERGED_KEYS_MAX
            or any(key in shared[1] for key, _ in wanted.pairs)
        ):
            shared = self._open[wanted.opcode] = (len(self._commands), {})
            self._shared.append(shared)
            self._commands.append([wanted.opcode, self._session, []])
        shared[1].update(wanted.pairs)
        self._members.append((shared[0], wanted))

    def finish(self) -> tuple[list[list[Any]], list[Cut]]:
        """The commands, and a cut for each call in the order of `add`."""
        ranks: dict[int, dict[int, int]] = {}
        for place, numbers in self._shared:
            keys = sorted(numbers)
            flat: list[int] = self._commands[place][2]
            before = 0
            for key in keys:
                flat += (key - before, numbers[key])
                before = key
            ranks[place] = {key: rank for rank, key in enumerate(keys)}
        cuts = [
            Cut(place)
            if wanted is None
            else Cut(place, True, [ranks[place][key] for key, _ in wanted.pairs], wanted.stride)
            for place, wanted in self._members
        ]
        return self._commands, cuts
