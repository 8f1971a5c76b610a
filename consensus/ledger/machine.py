"""The replicated ledger: a deterministic machine over entries. No clock, no chance, no I/O.

Every entry is applied at most once: its answers are kept by (proposer, seq) until the proposer has seen them, a seq below
`answered_below` was settled, and entries of a retired proposer (its node has opened a session in a later life) are ignored.
The rolling hash covers every applied entry, so that nodes with equal history, and only those, show equal hashes.
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass, field
from typing import Any

import msgpack
from pyroaring import BitMap64

from consensus.ledger.commands import Opcode, decode_entry, decode_runs, encode_runs

FIRST_KEY = 1
RESERVE_KEYS_MAX = 1 << 20
DUMP_VERSION = 1
OUTCOMES = ("done", "dead", "cancelled", "abandoned")


class ExecuteAnswer(enum.Enum):
    NEW = "new"  # this call marked it
    ALREADY = "already"  # it was marked before
    LATE = "late"  # marked now, though the caller's session is closed in the ledger


@dataclass(slots=True, kw_only=True)
class Session:
    """One life of one node. `renewals` only counts; leases are judged by the leader's own clock."""

    node: str
    proposer: int
    open: bool = True
    renewals: int = 0


@dataclass(slots=True, kw_only=True)
class _Proposer:
    answered_below: int = 0
    answers: dict[int, list[Any]] = field(default_factory=dict)


class LedgerMachine:
    """One thread applies; `executed` and `outcomes` may be read by any (single calls are atomic under the GIL)."""

    def __init__(self) -> None:
        self.executed = BitMap64()
        self.outcomes: dict[int, str] = {}  # only of executed keys whose outcome is not "done"
        self.sessions: dict[int, Session] = {}
        self.next_session = 1
        self.next_key = FIRST_KEY
        self.hash = bytes(16)
        self._proposers: dict[int, _Proposer] = {}
        self._retired: set[int] = set()

    def apply(self, data: bytes) -> tuple[int, int, list[Any] | None]:
        """(proposer, seq, answers). Answers are None for an entry of a retired proposer or a settled seq.

        An answer is a value, or `{"refused": reason}`. Raises `ValueError` for bytes that are no entry: every node does, at
        the same index.
        """
        entry = decode_entry(data)
        self.hash = hashlib.blake2b(self.hash + data, digest_size=16).digest()
        if entry.proposer in self._retired:
            return entry.proposer, entry.seq, None
        proposer = self._proposers.setdefault(entry.proposer, _Proposer())
        if entry.seq in proposer.answers:
            return entry.proposer, entry.seq, proposer.answers[entry.seq]
        if entry.seq < proposer.answered_below:
            return entry.proposer, entry.seq, None
        answers = [self._command(entry.proposer, command) for command in entry.commands]
        proposer.answers[entry.seq] = answers
        if entry.answered_below > proposer.answered_below:
            proposer.answered_below = entry.answered_below
            for seq in [seq for seq in proposer.answers if seq < entry.answered_below]:
                del proposer.answers[seq]
        return entry.proposer, entry.seq, answers

    def stored_answers(self, proposer: int) -> dict[int, list[Any]]:
        """What this proposer has not yet confirmed to have seen; ends its calls after a snapshot was installed."""
        known = self._proposers.get(proposer)
        return {} if known is None else dict(known.answers)

    def _command(self, proposer: int, command: list[Any]) -> Any:
        match command:
            case [Opcode.BARRIER]:
                return None
            case [Opcode.OPEN_SESSION, str(node)]:
                return self._open(node, proposer)
            case [Opcode.RENEW, int(number)]:
                session = self.sessions.get(number)
                if session is None or not session.open:
                    return {"refused": f"session {number} is closed"}
                session.renewals += 1
                return None
            case [Opcode.CLOSE_SESSION, int(number)]:
                if (session := self.sessions.get(number)) is not None:
                    session.open = False
                return None
            case [Opcode.RESERVE, int(number), int(count)]:
                return self._reserve(number, count)
            case [Opcode.EXECUTE, int(number), str(outcome), list(runs)]:
                return self._execute(number, outcome, runs)
            case _:
                return {"refused": f"unknown command {command[:1]}: this node's version is too old"}

    def _open(self, node: str, proposer: int) -> int:
        for number, session in list(self.sessions.items()):
            if session.node == node:
                if session.proposer != proposer:
                    self._retired.add(session.proposer)
                    self._proposers.pop(session.proposer, None)
                del self.sessions[number]
        number = self.next_session
        self.next_session += 1
        self.sessions[number] = Session(node=node, proposer=proposer)
        return number

    def _reserve(self, number: int, count: int) -> Any:
        session = self.sessions.get(number)
        if session is None or not session.open:
            return {"refused": f"session {number} is closed"}
        if not 1 <= count <= RESERVE_KEYS_MAX:
            return {"refused": f"a block of {count} keys: ask for 1 to {RESERVE_KEYS_MAX}"}
        first = self.next_key
        self.next_key += count
        return first

    def _execute(self, number: int, outcome: str, runs: list[int]) -> Any:
        if outcome not in OUTCOMES:
            return {"refused": f"outcome {outcome!r}: use one of {', '.join(OUTCOMES)}"}
        keys = BitMap64()
        for run in decode_runs(runs):
            if run.start < FIRST_KEY or run.stop > self.next_key:
                return {"refused": f"keys {run.start} to {run.stop - 1} were never all handed out"}
            keys |= BitMap64(run)
        already = keys & self.executed
        self.executed |= keys
        if outcome != "done":
            for key in keys - already:
                self.outcomes[key] = outcome
        session = self.sessions.get(number)
        return [session is None or not session.open, encode_runs(already)]

    def dump(self) -> bytes:
        """The whole state; `load` of it gives an equal machine with an equal hash."""
        self.executed.run_optimize()
        return bytes(
            msgpack.packb(
                [
                    DUMP_VERSION,
                    self.executed.serialize(),
                    self.outcomes,
                    [[n, s.node, s.proposer, s.open, s.renewals] for n, s in sorted(self.sessions.items())],
                    self.next_session,
                    self.next_key,
                    self.hash,
                    [[n, p.answered_below, p.answers] for n, p in sorted(self._proposers.items())],
                    sorted(self._retired),
                ]
            )
        )

    def load(self, data: bytes) -> None:
        """Raises `ValueError` for a dump of another version; then nothing has changed."""
        fields = msgpack.unpackb(data, strict_map_key=False)
        if fields[0] != DUMP_VERSION:
            raise ValueError(f"a ledger dump has version {fields[0]}, this node knows {DUMP_VERSION}")
        _, executed, outcomes, sessions, next_session, next_key, state_hash, proposers, retired = fields
        self.executed = BitMap64.deserialize(executed)
        self.outcomes = outcomes
        self.sessions = {
            n: Session(node=node, proposer=proposer, open=is_open, renewals=renewals)
            for n, node, proposer, is_open, renewals in sessions
        }
        self.next_session, self.next_key, self.hash = next_session, next_key, state_hash
        self._proposers = {n: _Proposer(answered_below=below, answers=a) for n, below, a in proposers}
        self._retired = set(retired)
