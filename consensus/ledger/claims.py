"""Claims: who may run a key, and which attempt it is. The table of DESIGN section 6, word for word in `_judge`.

A record of a task carries `after`, the attempt whose failure produced it. An entry is (after of the record that was claimed, attempt,
session, state), packed in 24 bytes. Beyond *held* and *ended* an entry may be
- *released*: the claim was withdrawn unrun. The entry stays for its attempt number, which no second session may hear with *go*; the
  next claim of the same record gets *go*, or *recover* if an attempt before the withdrawn one may have run (`disturbed`);
- *in doubt*: the check could not tell. It is *held* for everybody, open session or not, until an operator resolves it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import msgpack

from consensus.ledger.blocks import FIRST_KEY, Blocks
from consensus.ledger.commands import (
    ATTEMPT_MAX,
    CommandRefused,
    Opcode,
    encode_runs,
    parse_pairs,
    parse_runs,
)
from consensus.ledger.executed import Executed, Outcome
from consensus.ledger.packed_map import PackedMap
from consensus.ledger.packed_rows import Change, PackedRows, Row
from consensus.ledger.sessions import Sessions
from consensus.ledger.sharded_bitmap import split
from consensus.ledger.table import Context

COMMAND_KEYS_MAX = 8192  # of commands with an answer for each key; what fits an entry is fewer
WHY_CHARACTERS_MAX = 500


class ClaimKind(enum.IntEnum):
    GO = 0  # run: the attempt is yours
    RECOVER = 1  # yours, but an attempt before may have had its effect: check first
    HELD = 2  # an open session has it, or it is in doubt: ask again later
    STALE = 3  # this record is superseded: complete it
    EXECUTED = 4  # final: complete it


class ClaimState(enum.IntEnum):
    HELD = 0
    ENDED = 1  # failed, waits for its retry record
    RELEASED = 2
    IN_DOUBT = 3


class Decision(enum.IntEnum):
    RETRY = 0
    EXECUTED = 1


class Claim(NamedTuple):
    key: int
    after: int
    attempt: int
    session: int
    state: ClaimState
    disturbed: bool  # an attempt of this record before this one may have run

    def change(self) -> Change:
        lower = self.state | (4 if self.disturbed else 0)
        return self.key, (self.after << 32 | self.attempt, self.session << 3 | lower)

    def standing(self) -> bool:
        """Counts for its session: somebody may be running it, or it waits for an operator."""
        return self.state in (ClaimState.HELD, ClaimState.IN_DOUBT)


def _claim(key: int, row: Row) -> Claim:
    word, lower = row
    return Claim(key, word >> 32, word & 0xFFFFFFFF, lower >> 3, ClaimState(lower & 3), bool(lower & 4))


def _judge(entry: Claim, after: int, session_open: bool) -> ClaimKind:
    """A key without an entry is *go*."""
    if after < entry.after or entry.after < after < entry.attempt:
        return ClaimKind.STALE
    match entry.state:
        case ClaimState.HELD:
            return ClaimKind.HELD if session_open else ClaimKind.RECOVER
        case ClaimState.ENDED:
            return ClaimKind.STALE if after == entry.after else ClaimKind.GO
        case ClaimState.RELEASED:
            return ClaimKind.RECOVER if entry.disturbed else ClaimKind.GO
        case ClaimState.IN_DOUBT:
            return ClaimKind.HELD


class Claims:
    """`get`, `all`, `of`, `in_doubt`, `in_doubt_count` and `len` may be asked by any thread; everything else by the one that applies."""

    name = "claims"
    version = 1
    opcodes = (Opcode.CLAIM, Opcode.RELEASE, Opcode.FAIL, Opcode.DOUBT, Opcode.RESOLVE)

    def __init__(self, sessions: Sessions, blocks: Blocks, executed: Executed) -> None:
        self._sessions, self._blocks, self._executed = sessions, blocks, executed
        self._rows = PackedRows()
        self._whys: PackedMap[int] = PackedMap()

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, key: int) -> Claim | None:
        row = self._rows.get(key)
        return None if row is None else _claim(key, row)

    def all(self) -> Iterator[Claim]:
        return (_claim(key, (word, lower)) for key, word, lower in self._rows.rows())

    def of(self, session: int) -> list[Claim]:
        """The claims that stand under this session, open or closed."""
        own = (_claim(key, (word, lower)) for key, word, lower in self._rows.rows() if lower >> 3 == session)
        return [claim for claim in own if claim.standing()]

    def in_doubt(self) -> dict[int, str]:
        """Key -> why its check could not tell."""
        return dict(self._whys.items())

    def in_doubt_count(self) -> int:
        return len(self._whys)

    def within(self, bounds: Sequence[int]) -> list[Claim]:
        """The entries of the keys in `[first, stop, ...]`."""
        if not bounds or not self._rows.any_within(bounds[0], bounds[-1]):
            return []
        keys = [
            key
            for first, stop in zip(bounds[::2], bounds[1::2], strict=True)
            for key in self._rows.within(first, stop)
        ]
        return [claim for key in keys if (claim := self.get(key)) is not None]

    def drop(self, claims: Sequence[Claim]) -> None:
        """Their keys are final now. In the order of their keys."""
        if claims:
            self._rows.change([(claim.key, None) for claim in claims])
            for claim in claims:
                if claim.standing():
                    self._sessions.count_claims(claim.session, -1)
                if claim.state is ClaimState.IN_DOUBT:
                    self._whys.remove(claim.key)

    def pairs(self, raw: Any) -> list[tuple[int, int]]:
        return parse_pairs(
            raw, first_key=FIRST_KEY, next_key=self._blocks.next_key, keys_max=COMMAND_KEYS_MAX
        )

    def runs(self, raw: Any, *, keys_max: int = COMMAND_KEYS_MAX) -> list[int]:
        return parse_runs(raw, first_key=FIRST_KEY, next_key=self._blocks.next_key, keys_max=keys_max)

    def apply(self, command: list[Any], context: Context) -> Any:
        match command:
            case [Opcode.CLAIM, int(session), pairs]:
                self._sessions.require_open(session)
                return self._claim_all(session, self.pairs(pairs))
            case [Opcode.RELEASE, int(session), pairs]:
                return self._end_all(session, pairs, ClaimState.RELEASED)
            case [Opcode.FAIL, int(session), pairs]:
                return self._end_all(session, pairs, ClaimState.ENDED)
            case [Opcode.DOUBT, int(session), str(why), runs] if len(why) <= WHY_CHARACTERS_MAX:
                self._sessions.require_open(session)
                return self._doubt(session, why, self.runs(runs))
            case [Opcode.RESOLVE, (Decision.RETRY | Decision.EXECUTED) as decision, runs]:
                return self._resolve(Decision(decision), self.runs(runs))
            case _:
                raise CommandRefused("malformed claim command")

    def _claim_all(self, session: int, pairs: list[tuple[int, int]]) -> list[int]:
        answers: list[int] = []
        changes: list[Change] = []
        left: list[int] = []  # closed sessions that lose a claim
        executed, get = self._executed, self._rows.get
        for key, after in pairs:
            if key in executed:
                answers += (ClaimKind.EXECUTED, 0, 0)
                continue
            # above `after` as well: a key without an entry may have failed before, in a run that was not claimed
            attempt = after + 1
            row = get(key)
            if row is None:  # by far the most: the short way to what `_judge` and `Claim.change` say of it
                kind = ClaimKind.GO
                change: Change = (key, (after << 32 | attempt, session << 3))
            else:
                entry = _claim(key, row)
                kind = _judge(entry, after, self._sessions.open(entry.session))
                if kind is not ClaimKind.GO and kind is not ClaimKind.RECOVER:
                    answers += (kind, entry.attempt, entry.session)
                    continue
                attempt = max(after, entry.attempt) + 1
                disturbed = kind is ClaimKind.RECOVER
                change = Claim(key, after, attempt, session, ClaimState.HELD, disturbed).change()
                if entry.standing():
                    left.append(entry.session)
            if attempt > ATTEMPT_MAX:
                raise CommandRefused(f"key {key} has no attempt left")
            changes.append(change)
            answers += (kind, attempt, session)
        self._rows.change(changes)
        self._sessions.count_claims(session, len(changes))
        for closed in left:
            self._sessions.count_claims(closed, -1)
        return answers

    def _end_all(self, session: int, raw: Any, state: ClaimState) -> list[int]:
        """Only the session that holds the claim ends it, with its own attempt: anything else changes nothing."""
        self._sessions.require_open(session)
        pairs = self.pairs(raw)
        answers: list[int] = []
        changes: list[Change] = []
        for key, attempt in pairs:
            entry = self.get(key)
            own = (
                entry is not None
                and entry.state is ClaimState.HELD
                and (entry.session, entry.attempt) == (session, attempt)
            )
            answers.append(int(own))
            if own:
                assert entry is not None
                changes.append(entry._replace(state=state).change())
        self._rows.change(changes)
        self._sessions.count_claims(session, -len(changes))
        return answers

    def _doubt(self, session: int, why: str, bounds: list[int]) -> list[int]:
        own = [claim for claim in self.within(bounds) if claim.session == session and claim.standing()]
        self._rows.change([claim._replace(state=ClaimState.IN_DOUBT).change() for claim in own])
        for claim in own:
            self._whys.put(claim.key, why)
        return encode_runs(claim.key for claim in own)

    def _resolve(self, decision: Decision, bounds: list[int]) -> list[int]:
        doubted = [claim for claim in self.within(bounds) if claim.state is ClaimState.IN_DOUBT]
        keys = encode_runs(claim.key for claim in doubted)
        match decision:
            case Decision.EXECUTED:
                self.drop(doubted)
                self._executed.mark(split(list(accumulate(keys))), Outcome.DONE)
            case Decision.RETRY:
                retried = [claim._replace(state=ClaimState.RELEASED, disturbed=False) for claim in doubted]
                self._rows.change([claim.change() for claim in retried])
                for claim in doubted:
                    self._sessions.count_claims(claim.session, -1)
                    self._whys.remove(claim.key)
        return keys

    def freeze(self) -> Iterator[bytes]:
        parts = [("rows", self._rows.freeze()), ("whys", self._whys.freeze())]
        return (bytes(msgpack.packb([name, piece])) for name, pieces in parts for piece in pieces)

    def load(self, pieces: Sequence[bytes], version: int) -> None:
        parts: dict[str, list[bytes]] = {"rows": [], "whys": []}
        for piece in pieces:
            name, data = msgpack.unpackb(piece)
            parts[name].append(data)
        self._rows.load(parts["rows"])
        self._whys.load(parts["whys"])
