"""Members: the nodes of the group, as the last applied change says. Whether a change may be made is judged by the leader and by Raft."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgpack

from consensus.ledger.commands import CommandRefused, Opcode
from consensus.ledger.sessions import NODE_CHARACTERS_MAX
from consensus.ledger.table import Context

MEMBERS_MAX = 31


class Members:
    """`nodes`, sorted, may be read by any thread; () until the first change: then the founders are the group."""

    name = "members"
    version = 1
    opcodes = (Opcode.GROUP,)

    def __init__(self) -> None:
        self.nodes: tuple[str, ...] = ()

    def apply(self, command: list[Any], context: Context) -> Any:
        match command:
            case [Opcode.GROUP, list(before), list(after)] if _is_group(before) and _is_group(after):
                self.nodes = tuple(after)
                return after
            case _:
                raise CommandRefused(f"a group is 1 to {MEMBERS_MAX} different node names, sorted")

    def freeze(self) -> Iterator[bytes]:
        return iter([bytes(msgpack.packb(self.nodes))])

    def load(self, pieces: Sequence[bytes], version: int) -> None:
        [piece] = pieces
        self.nodes = tuple(msgpack.unpackb(piece))


def _is_group(nodes: list[Any]) -> bool:
    return (
        1 <= len(nodes) <= MEMBERS_MAX
        and all(isinstance(node, str) and 0 < len(node) <= NODE_CHARACTERS_MAX for node in nodes)
        and nodes == sorted(set(nodes))
    )
