"""The replicated ledger: a deterministic machine over entries, hosting tables. No clock, no chance, no I/O.

An entry takes effect at most once and only within the life of its proposer (`sessions.py`); a repeat is given the stored answers. A
command that is unknown, malformed or not allowed is answered with a refusal and changes nothing. The rolling hash covers term, bytes
and answers of every entry: nodes with equal history and equal machines, and only those, show equal hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgpack

from consensus.ledger.bindings import Bindings
from consensus.ledger.blocks import Blocks
from consensus.ledger.claims import Claims
from consensus.ledger.commands import (
    FIRST_FOREIGN_OPCODE,
    CommandRefused,
    Entry,
    Opcode,
    decode_entry,
    refused,
)
from consensus.ledger.executed import Executed
from consensus.ledger.marks import Marks
from consensus.ledger.members import Members
from consensus.ledger.sessions import Sessions
from consensus.ledger.table import Context, Table

FORMAT_VERSION = 2
HASH_BYTES = 16
HEAD, END = "ledger", "end"  # the first and the last section


class Applied(NamedTuple):
    """`answers`: one a command, plain data or `{"refused": sentence}`. None: no effect now; the entry's seq is settled, or its
    proposer is not the current life of a node."""

    proposer: int
    seq: int
    answers: list[Any] | None


class LedgerMachine:
    """One thread applies, freezes and loads. Others may read `hash` and, of the tables, what their classes name."""

    def __init__(self, tables: Sequence[Table] = ()) -> None:
        self.sessions = Sessions()
        self.blocks = Blocks(self.sessions)
        self.executed = Executed()
        self.claims = Claims(self.sessions, self.blocks, self.executed)
        self.marks = Marks(self.sessions, self.executed, self.claims)
        self.bindings = Bindings(self.blocks, self.executed)
        self.members = Members()
        self.hash = bytes(HASH_BYTES)
        own: list[Table] = [
            self.sessions,
            self.blocks,
            self.executed,
            self.claims,
            self.marks,
            self.bindings,
            self.members,
        ]
        _check_foreign(own, tables)
        self._tables = {table.name: table for table in (*own, *tables)}
        self._by_opcode = {opcode: table for table in self._tables.values() for opcode in table.opcodes}

    def apply(self, data: bytes, term: int) -> Applied:
        """Bytes that are no entry change nothing but the hash, on every node alike. Raises `NewerEntry` only."""
        try:
            entry = decode_entry(data)
        except ValueError:
            entry = Entry(0, 0, 0, 0, [])
        answers, packed = self._answers(entry)
        self._extend_hash(data, term, _without_sentences(answers, packed))
        return Applied(entry.proposer, entry.seq, answers)

    def knows(self, proposer: int, seq: int) -> bool:
        """This entry was applied or is settled: its commands will take no further effect."""
        life = self.sessions.life_of(proposer)
        return life is not None and (seq in life.answers or seq < life.answered_below)

    def stored_answers(self, proposer: int) -> dict[int, list[Any]]:
        """What this proposer has not yet confirmed to have seen; ends its calls after a snapshot was installed."""
        life = self.sessions.life_of(proposer)
        return {} if life is None else {seq: msgpack.unpackb(packed) for seq, packed in life.answers.items()}

    def freeze(self) -> Iterator[tuple[str, bytes]]:
        """The state as of this call, in sections made as they are asked for, by any thread, while entries are applied."""
        versions = {name: table.version for name, table in self._tables.items()}
        head = bytes(msgpack.packb([FORMAT_VERSION, self.hash, versions]))
        return _sections(head, [(name, table.freeze()) for name, table in self._tables.items()])

    def load(self, sections: Iterable[tuple[str, bytes]]) -> None:
        """Raises `ValueError` with a sentence; then this machine is worth nothing any more."""
        pieces: dict[str, list[bytes]] = {HEAD: [], END: [], **{name: [] for name in self._tables}}
        for section, data in sections:
            name = section.partition(".")[0]
            if name not in pieces:
                raise ValueError(f"the snapshot has a table {name!r} that this node does not know: update it")
            pieces[name].append(data)
        state_hash, versions = self._check_head(pieces)
        for name, table in self._tables.items():
            try:
                table.load(pieces[name], versions.get(name, 0))
            except ValueError:
                raise
            except Exception as error:  # what unpacking of foreign bytes may raise
                raise ValueError(f"table {name!r} of the snapshot cannot be read: {error!r}") from error
        self.hash = state_hash

    def _check_head(self, pieces: dict[str, list[bytes]]) -> tuple[bytes, dict[str, int]]:
        if len(pieces[HEAD]) != 1 or len(pieces[END]) != 1:
            raise ValueError("the snapshot has no head or no end: it is not whole")
        version, state_hash, versions = msgpack.unpackb(pieces[HEAD][0])
        if version != FORMAT_VERSION:
            raise ValueError(f"the snapshot has format {version}, this node knows {FORMAT_VERSION}")
        for name, table_version in versions.items():
            known = self._tables[name].version if name in self._tables else 0
            if table_version > known:
                raise ValueError(
                    f"the snapshot has version {table_version} of table {name!r}, this node knows {known}: update it"
                )
        if msgpack.unpackb(pieces[END][0]) != {name: len(pieces[name]) for name in versions}:
            raise ValueError("the snapshot lacks sections: it is not whole")
        return bytes(state_hash), versions

    def _answers(self, entry: Entry) -> tuple[list[Any] | None, bytes]:
        life = self.sessions.life_of(entry.proposer)
        if life is None:
            life = self.sessions.admit(entry.proposer, entry.seq, entry.commands)
        if life is not None and entry.seq in life.answers:
            packed = life.answers[entry.seq]
            return msgpack.unpackb(packed), packed
        if life is None or entry.seq < life.answered_below:
            return None, b""
        context = Context(
            proposer=entry.proposer,
            time_ms=entry.time_ms,
            sessions=self.sessions,
            blocks=self.blocks,
            executed=self.executed,
        )
        answers = [self._command(command, context) for command in entry.commands]
        packed = bytes(msgpack.packb(answers))
        life.keep(entry.seq, packed, entry.answered_below)
        return answers, packed

    def _command(self, command: Any, context: Context) -> Any:
        match command:
            case [Opcode.BARRIER]:
                return None
            case [int(opcode), *_] if opcode in self._by_opcode:
                try:
                    return self._by_opcode[opcode].apply(command, context)
                except CommandRefused as reason:
                    return refused(str(reason))
            case [int(opcode), *_]:
                return refused(f"unknown command {opcode}: this node's version is too old")
            case _:
                return refused("malformed command")

    def _extend_hash(self, data: bytes, term: int, answers: bytes) -> None:
        hashed = hashlib.blake2b(self.hash, digest_size=HASH_BYTES)
        hashed.update(term.to_bytes(8, "big") + len(data).to_bytes(8, "big"))
        hashed.update(data)
        hashed.update(answers)
        self.hash = hashed.digest()


def _without_sentences(answers: list[Any] | None, packed: bytes) -> bytes:
    """For the hash: that a command was refused, not in which words, as these may differ between neighbouring versions."""
    if answers is None or not any(isinstance(answer, dict) for answer in answers):
        return packed
    return bytes(msgpack.packb(["refused" if isinstance(answer, dict) else [answer] for answer in answers]))


def _sections(head: bytes, tables: list[tuple[str, Iterator[bytes]]]) -> Iterator[tuple[str, bytes]]:
    yield HEAD, head
    counts: dict[str, int] = {}
    for name, pieces in tables:
        counts[name] = 0
        for piece in pieces:
            yield f"{name}.{counts[name]}", piece
            counts[name] += 1
    yield END, bytes(msgpack.packb(counts))


def _check_foreign(own: list[Table], tables: Sequence[Table]) -> None:
    names = {HEAD, END, *(table.name for table in own)}
    opcodes: set[int] = set()
    for table in tables:
        if table.name in names or "." in table.name:
            raise ValueError(f"table {table.name!r}: the name is taken, or has a dot")
        if min(table.opcodes, default=FIRST_FOREIGN_OPCODE) < FIRST_FOREIGN_OPCODE:
            raise ValueError(
                f"table {table.name!r}: opcodes below {FIRST_FOREIGN_OPCODE} are the ledger's own"
            )
        if opcodes & set(table.opcodes):
            raise ValueError(f"table {table.name!r}: another table has one of its opcodes")
        names.add(table.name)
        opcodes |= set(table.opcodes)
