"""Marks: the commands that make keys final, `execute` and `cancel`, and the list of possible double effects.

A mark of a closed session is *late*, and truth while nobody else has claimed the key since. After that it is *overtaken*: not marked, as
the new holder checks and decides, but counted and listed as a possible double effect.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import msgpack

from consensus.ledger.blocks import RESERVE_KEYS_MAX
from consensus.ledger.claims import Claim, Claims
from consensus.ledger.commands import CommandRefused, Opcode, encode_runs
from consensus.ledger.executed import Executed, Outcome
from consensus.ledger.sessions import Sessions
from consensus.ledger.sharded_bitmap import listed, split, without
from consensus.ledger.table import Context

DOUBLE_EFFECTS_KEPT = 1000  # the newest, for people; all are counted
WINNERS_KEPT = (
    10_000  # keys that were taken over, then marked: a later mark of another attempt is told by them
)


class CancelKind(enum.IntEnum):
    CANCELLED = 0
    RUNNING = 1  # claimed, or in doubt: on the session told
    TOO_LATE = 2  # executed before


class DoubleEffect(NamedTuple):
    """`session` came late with `attempt` (0: a run that was not claimed) of a key that others had claimed since."""

    key: int
    session: int
    attempt: int


class Marks:
    """`double_effects` and `double_effect_count` may be asked by any thread."""

    name = "marks"
    version = 1
    opcodes = (Opcode.EXECUTE, Opcode.EXECUTE_CLAIMED, Opcode.CANCEL)

    def __init__(self, sessions: Sessions, executed: Executed, claims: Claims) -> None:
        self._sessions, self._executed, self._claims = sessions, executed, claims
        self.double_effect_count = 0
        self._double_effects: deque[DoubleEffect] = deque(maxlen=DOUBLE_EFFECTS_KEPT)
        self._winners: dict[int, int] = {}  # key that was taken over -> the attempt that marked it

    def double_effects(self) -> list[DoubleEffect]:
        return list(self._double_effects)

    def apply(self, command: list[Any], context: Context) -> Any:
        match command:
            case [Opcode.EXECUTE, int(session), str(outcome), runs]:
                self._sessions.require_known(session)
                return self._execute(
                    session, _outcome(outcome), self._claims.runs(runs, keys_max=RESERVE_KEYS_MAX)
                )
            case [Opcode.EXECUTE_CLAIMED, int(session), str(outcome), pairs]:
                self._sessions.require_known(session)
                return self._execute_claimed(session, _outcome(outcome), self._claims.pairs(pairs))
            case [Opcode.CANCEL, runs]:
                return self._cancel(self._claims.runs(runs))
            case _:
                raise CommandRefused("malformed execute or cancel")

    def _execute(self, session: int, outcome: Outcome, bounds: list[int]) -> list[Any]:
        """Keys that ran without a claim, or whose attempt nobody needs to know: the fast path, runs all the way."""
        late = not self._sessions.open(session)
        entries = self._claims.within(bounds)
        overtaken = [entry.key for entry in entries if entry.session != session] if late else []
        if overtaken:
            bounds = _less(bounds, overtaken)
            entries = [entry for entry in entries if entry.session == session]
        keys = split(bounds)
        self._claims.drop(entries)
        already = self._executed.mark(keys, outcome)
        self._record([DoubleEffect(key, session, 0) for key in overtaken])
        fresh = without(keys, already) if late else {}
        return [encode_runs(listed(fresh)), encode_runs(listed(already)), encode_runs(overtaken)]

    def _execute_claimed(self, session: int, outcome: Outcome, pairs: list[tuple[int, int]]) -> list[Any]:
        """(key, attempt) names one claim: its mark counts whichever session of the node brings it."""
        closed = not self._sessions.open(session)
        marked: list[Claim] = []
        free: list[int] = []
        late: list[int] = []
        already: list[int] = []
        overtaken: list[int] = []
        doubles: list[DoubleEffect] = []
        for key, attempt in pairs:
            entry = self._claims.get(key)
            if key in self._executed:
                already.append(key)
                if self._winners.get(key, attempt) != attempt:
                    doubles.append(DoubleEffect(key, session, attempt))
            elif entry is None:
                free.append(key)
                if closed:
                    late.append(key)
            elif attempt > entry.attempt:
                raise CommandRefused(f"attempt {attempt} of key {key} was never given out")
            elif attempt < entry.attempt:
                overtaken.append(key)
                doubles.append(DoubleEffect(key, session, attempt))
            else:
                marked.append(entry)
                if closed or not self._sessions.open(entry.session):
                    late.append(key)
        fresh = encode_runs([*free, *(entry.key for entry in marked)])
        self._claims.drop(marked)
        self._remember([entry for entry in marked if entry.disturbed])
        self._executed.mark(split(list(accumulate(fresh))), outcome)
        self._record(doubles)
        return [encode_runs(late), encode_runs(already), encode_runs(overtaken)]

    def _cancel(self, bounds: list[int]) -> list[int]:
        """Only what nobody has claimed; an ended or released entry waits for a claim, so it can be cancelled."""
        keys = listed(split(bounds))
        entries = {entry.key: entry for entry in self._claims.within(bounds)}
        answers: list[int] = []
        cancelled: list[int] = []
        for key in keys:
            entry = entries.get(key)
            if key in self._executed:
                before = self._executed.outcome(key) is Outcome.CANCELLED
                answers += (CancelKind.CANCELLED if before else CancelKind.TOO_LATE, 0)
            elif entry is not None and entry.standing():
                answers += (CancelKind.RUNNING, entry.session)
            else:
                cancelled.append(key)
                answers += (CancelKind.CANCELLED, 0)
        self._claims.drop([entries[key] for key in cancelled if key in entries])
        self._executed.mark(split(list(accumulate(encode_runs(cancelled)))), Outcome.CANCELLED)
        return answers

    def _record(self, doubles: list[DoubleEffect]) -> None:
        for double in doubles:
            if double not in self._double_effects:  # a repeated call is one effect
                self.double_effect_count += 1
                self._double_effects.append(double)

    def _remember(self, winners: list[Claim]) -> None:
        for winner in winners:
            self._winners[winner.key] = winner.attempt
        while len(self._winners) > WINNERS_KEPT:
            del self._winners[next(iter(self._winners))]  # the oldest

    def freeze(self) -> Iterator[bytes]:
        state = [self.double_effect_count, list(self._double_effects), list(self._winners.items())]
        return iter([bytes(msgpack.packb(state))])

    def load(self, pieces: Sequence[bytes], version: int) -> None:
        [piece] = pieces
        self.double_effect_count, doubles, winners = msgpack.unpackb(piece)
        self._winners = dict(winners)
        self._double_effects = deque((DoubleEffect(*each) for each in doubles), maxlen=DOUBLE_EFFECTS_KEPT)


def _outcome(name: str) -> Outcome:
    try:
        return Outcome(name)
    except ValueError:
        raise CommandRefused(f"outcome {name[:40]!r}: use one of {', '.join(Outcome)}") from None


def _less(bounds: list[int], keys: list[int]) -> list[int]:
    """The runs of `bounds` without `keys`, which lie in them, rising."""
    left: list[int] = []
    rest = iter(keys)
    key = next(rest, None)
    for first, stop in zip(bounds[::2], bounds[1::2], strict=True):
        while key is not None and key < stop:
            if first < key:
                left += (first, key)
            first = key + 1
            key = next(rest, None)
        if first < stop:
            left += (first, stop)
    return left
