"""The ledger of a simulated cluster: one real machine, to which entries are applied in the order in which they arrive.

An entry that was cut off on its way may arrive later, or never; one that arrives twice is answered from what the machine kept.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, TypeVar

from consensus.ledger.commands import Entry, Opcode, encode_entry
from consensus.ledger.machine import LedgerMachine
from consensus.operations import ClaimAnswer, ExecuteAnswer, Operation
from tests.claims.judges import Broken

Answer = TypeVar("Answer")
CLOSED = "is closed"


class SessionClosed(Exception):
    pass


class NoLife(Exception):
    """The proposer is not the present life of its node: the entry has no effect."""


class Ledger:
    def __init__(self, keys: int) -> None:
        self.machine = LedgerMachine()
        self.machine.blocks.next_key = keys + 1
        self.fresh_marks: Counter[int] = Counter()
        self.met: Counter[str] = Counter()  # answers by name
        self.entries = 0
        self._seqs: Counter[int] = Counter()
        self._leader = self.new_life()
        self.open(self._leader, "leader")

    def new_life(self) -> int:
        self.entries += 1
        return 1000 + self.entries

    def open(self, proposer: int, node: str) -> int:
        nonce = self.machine.sessions.next_nonce(node)
        session: int = self._apply(self.entry(proposer, [Opcode.OPEN_SESSION, node, nonce]))
        return session

    def renew(self, proposer: int, session: int) -> None:
        self._apply(self.entry(proposer, [Opcode.RENEW, session]))

    def close(self, session: int) -> None:
        self._apply(self.entry(self._leader, [Opcode.CLOSE_SESSION, session]))

    def decide(self, operation: Operation[Answer]) -> Answer:
        """An operator's word, by way of the leader."""
        return operation.read(self._apply(self.entry(self._leader, operation.command(0))))

    def entry(self, proposer: int, command: list[Any]) -> bytes:
        self.entries += 1
        self._seqs[proposer] += 1
        return encode_entry(Entry(proposer, self._seqs[proposer], 0, 0, [command]))

    def arrive(self, entry: bytes, operation: Operation[Answer], keys: list[int], *, again: bool) -> Answer:
        """Raises SessionClosed or NoLife. `again`: it may have been applied before."""
        answer = operation.read(self._apply(entry))
        if not again and isinstance(answer, list):
            for key, each in zip(keys, answer, strict=False):
                self._meet(each)
                if each in (ExecuteAnswer.NEW, ExecuteAnswer.LATE):
                    self.fresh_marks[key] += 1
                    if self.fresh_marks[key] > 1:
                        raise Broken(f"key {key} was marked anew a second time")
        return answer

    def _meet(self, answer: object) -> None:
        if isinstance(answer, ClaimAnswer):
            self.met[f"claim {answer.kind.name}"] += 1
        elif isinstance(answer, ExecuteAnswer):
            self.met[f"execute {answer.name}"] += 1
        elif isinstance(answer, bool):
            self.met["fail or release " + ("own" if answer else "not own")] += 1
        else:
            self.met["in doubt"] += 1

    def _apply(self, entry: bytes) -> Any:
        answers = self.machine.apply(entry, 1).answers
        if answers is None:
            raise NoLife
        [answer] = answers
        if isinstance(answer, dict):
            if CLOSED in answer["refused"]:
                raise SessionClosed
            raise Broken(f"the ledger refused: {answer['refused']}")
        return answer
