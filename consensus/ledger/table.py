"""What a replicated table is to the machine that hosts it: the door through which another package brings its own.

A table is a pure value that changes by commands only. It sees no clock, no chance and nothing of the world, so that all nodes agree;
what it needs of the tables of keys comes with the `Context`. It validates a command wholly before it changes anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from consensus.ledger.blocks import Blocks
    from consensus.ledger.executed import Executed
    from consensus.ledger.sessions import Sessions


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What surrounds a command: who proposed it, the proposer's wall clock (it may be wrong), and the tables of keys."""

    proposer: int
    time_ms: int
    sessions: Sessions
    blocks: Blocks
    executed: Executed


class Table(Protocol):
    """`name` and `version` stand in snapshots; `opcodes` are its own, from `FIRST_FOREIGN_OPCODE` on for foreign tables."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def opcodes(self) -> Collection[int]: ...

    def apply(self, command: list[Any], context: Context) -> Any:
        """-> the answer: plain msgpack data, lists not tuples. Raises `CommandRefused` before any change, and nothing else."""
        ...

    def freeze(self) -> Iterator[bytes]:
        """The state as of this call, in pieces that are made as they are asked for, while later commands are applied.

        Whoever asks may be another thread: what is frozen must not be changed in place any more. No step, neither this call nor a
        piece nor the first change after it, may take more than a few milliseconds.
        """
        ...

    def load(self, pieces: Sequence[bytes], version: int) -> None:
        """Replaces the state by what `freeze` gave under this version, the own or an older one.

        Version 0, with no pieces: the snapshot was written before this table existed. Raises `ValueError` for pieces it cannot read.
        """
        ...
