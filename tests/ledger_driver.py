"""Drives a `LedgerMachine` alone, in the words of `operations.py`: each call is an entry of its own, answered at once.

Every entry also goes to a twin machine, so that each test that uses a driver is a test of determinism too; `reload` replaces the twin by
one that loaded a snapshot.
"""

from __future__ import annotations

from typing import Any, TypeVar

from consensus.ledger.commands import Entry, Opcode, encode_entry
from consensus.ledger.machine import LedgerMachine
from consensus.operations import Operation

Answer = TypeVar("Answer")


class Refusal(Exception):
    pass


class Driver:
    def __init__(self, keys: int = 1000) -> None:
        self.machine = LedgerMachine()
        self.twin = LedgerMachine()
        self.proposers: dict[str, int] = {}
        self.sessions: dict[int, str] = {}
        self.entries: list[bytes] = []
        self.time_ms = 0
        self._seq = 0
        self._proposer = 0
        for machine in (self.machine, self.twin):
            machine.blocks.next_key = keys + 1

    def open(self, node: str, *, new_life: bool = True) -> int:
        if new_life or node not in self.proposers:
            self._proposer += 1
            self.proposers[node] = self._proposer
        nonce = self.machine.sessions.next_nonce(node)
        session: int = self.raw([Opcode.OPEN_SESSION, node, nonce], node)
        self.sessions[session] = node
        return session

    def close(self, session: int) -> None:
        self.raw([Opcode.CLOSE_SESSION, session], self._anybody())

    def do(self, operation: Operation[Answer], session: int = 0) -> Answer:
        """By the node of this session; a node that has restarted since brings it in its present life."""
        return operation.read(
            self.raw(operation.command(session), self.sessions.get(session) or self._anybody())
        )

    def raw(self, command: list[Any], node: str) -> Any:
        self._seq += 1
        entry = Entry(self.proposers[node], self._seq, 0, self.time_ms, [command])
        answers = self.feed(encode_entry(entry))
        assert answers is not None
        [answer] = answers
        if isinstance(answer, dict):
            raise Refusal(answer["refused"])
        return answer

    def feed(self, data: bytes) -> list[Any] | None:
        self.entries.append(data)
        applied = self.machine.apply(data, 1)
        assert self.twin.apply(data, 1) == applied
        assert self.twin.hash == self.machine.hash
        return applied.answers

    def reload(self) -> None:
        self.twin = LedgerMachine()
        self.twin.load(self.machine.freeze())
        assert list(self.twin.freeze()) == list(self.machine.freeze())

    def _anybody(self) -> str:
        return next(iter(self.proposers))
