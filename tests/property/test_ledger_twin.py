"""The ledger beside a plain twin of dicts: every command, every answer; snapshots taken and loaded in between; two machines, one state.

The twin knows DESIGN's claim table as a table, not as code that resembles the ledger's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from consensus import operations
from consensus.ledger.claims import ClaimKind, Decision
from consensus.ledger.commands import Opcode
from consensus.ledger.executed import Outcome
from consensus.ledger.marks import CancelKind
from consensus.ledger.sharded_bitmap import SHARD_KEYS
from consensus.operations import BindAnswer, CancelAnswer, ClaimAnswer, ExecuteAnswer
from tests.ledger_driver import Driver, Refusal

pytestmark = pytest.mark.unit

KEYS = [1, 2, 3, 4, 5, SHARD_KEYS - 1, SHARD_KEYS, SHARD_KEYS + 1, 3 * SHARD_KEYS, 7 * SHARD_KEYS]
NODES = ["a", "b", "c"]

# DESIGN section 6, row by row: what the record's `after` is to the entry -> answer by who holds it. `released` and `in doubt` are the
# ledger's own columns: withdrawn unrun (clean, or after an attempt that may have run), and waiting for an operator.
TABLE = {
    "stale": dict.fromkeys(("open", "closed", "ended", "released", "disturbed", "doubt"), ClaimKind.STALE),
    "same": {
        "open": ClaimKind.HELD,
        "closed": ClaimKind.RECOVER,
        "ended": ClaimKind.STALE,
        "released": ClaimKind.GO,
        "disturbed": ClaimKind.RECOVER,
        "doubt": ClaimKind.HELD,
    },
    "newer": {
        "open": ClaimKind.HELD,
        "closed": ClaimKind.RECOVER,
        "ended": ClaimKind.GO,
        "released": ClaimKind.GO,
        "disturbed": ClaimKind.RECOVER,
        "doubt": ClaimKind.HELD,
    },
}


@dataclass
class Held:
    after: int
    attempt: int
    session: int
    state: str = "held"
    recovered: bool = False


@dataclass
class Twin:
    open: dict[str, int] = field(default_factory=dict)
    claims: dict[int, Held] = field(default_factory=dict)
    executed: dict[int, str] = field(default_factory=dict)
    doubts: dict[int, str] = field(default_factory=dict)
    bindings: dict[str, tuple[int, int, bool]] = field(default_factory=dict)
    doubles: set[tuple[int, int, int]] = field(default_factory=set)
    winners: dict[int, int] = field(default_factory=dict)

    def is_open(self, session: int) -> bool:
        return session in self.open.values()

    def column(self, held: Held) -> str:
        if held.state == "held":
            return "open" if self.is_open(held.session) else "closed"
        if held.state == "released" and held.recovered:
            return "disturbed"
        return held.state

    def claim(self, session: int, key: int, after: int) -> ClaimAnswer:
        if key in self.executed:
            return ClaimAnswer(kind=ClaimKind.EXECUTED, attempt=0, session=0)
        held = self.claims.get(key)
        if held is None:
            kind, attempt = ClaimKind.GO, 0
        else:
            row = "stale"
            if after == held.after:
                row = "same"
            elif after > held.after and after >= held.attempt:
                row = "newer"
            kind, attempt = TABLE[row][self.column(held)], held.attempt
        if kind not in (ClaimKind.GO, ClaimKind.RECOVER):
            assert held is not None
            return ClaimAnswer(kind=kind, attempt=held.attempt, session=held.session)
        attempt = max(attempt, after) + 1
        self.claims[key] = Held(after, attempt, session, recovered=kind is ClaimKind.RECOVER)
        return ClaimAnswer(kind=kind, attempt=attempt, session=session)

    def end(self, session: int, key: int, attempt: int, state: str) -> bool:
        held = self.claims.get(key)
        if held is None or held.state != "held" or (held.session, held.attempt) != (session, attempt):
            return False
        held.state = state
        return True

    def final(self, key: int, outcome: str) -> None:
        self.executed[key] = outcome
        self.claims.pop(key, None)
        self.doubts.pop(key, None)

    def execute(self, session: int, key: int, attempt: int | None, outcome: str) -> ExecuteAnswer:
        held = self.claims.get(key)
        late = not self.is_open(session)
        if key in self.executed:
            if attempt is not None and self.winners.get(key, attempt) != attempt:
                self.doubles.add((key, session, attempt))
            return ExecuteAnswer.ALREADY
        if held is not None:
            overtaken = late and held.session != session if attempt is None else attempt < held.attempt
            if overtaken:
                self.doubles.add((key, session, attempt or 0))
                return ExecuteAnswer.OVERTAKEN
            if attempt is not None:
                late = late or not self.is_open(held.session)
                if held.recovered:
                    self.winners[key] = attempt
        self.final(key, outcome)
        return ExecuteAnswer.LATE if late else ExecuteAnswer.NEW


class LedgerBesideTwin(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.ledger = Driver(keys=8 * SHARD_KEYS)
        self.twin = Twin()
        self.all_sessions: list[int] = []
        self.answered: dict[bytes, Any] = {}
        self.frozen: (
            tuple[Iterator[tuple[str, bytes]], list[tuple[str, bytes]], list[tuple[str, bytes]]] | None
        )
        self.frozen = None
        self.open("a", True)

    keys = st.lists(st.sampled_from(KEYS), unique=True, min_size=1, max_size=3)

    one_or_two = st.lists(st.sampled_from(KEYS), unique=True, min_size=1, max_size=2)

    def pick(self, data: st.DataObject) -> int:
        """Mostly one that can act."""
        likely = [*self.twin.open.values()] * 3 + [held.session for held in self.twin.claims.values()]
        return data.draw(st.sampled_from([*likely, *self.all_sessions]), label="session")

    def pairs(self, data: st.DataObject) -> list[tuple[int, int]]:
        """Mostly with a number that means something to the key."""
        pairs = []
        for key in data.draw(self.keys):
            held = self.twin.claims.get(key)
            likely = [] if held is None else [held.after, held.attempt, held.attempt, held.attempt - 1]
            pairs.append((key, data.draw(st.sampled_from([*likely, *likely, 0, 1, 4]), label="number")))
        return pairs

    @rule(node=st.sampled_from(NODES), new_life=st.booleans())
    def open(self, node: str, new_life: bool) -> None:
        session = self.ledger.open(node, new_life=new_life)
        assert session not in self.all_sessions
        self.all_sessions.append(session)
        self.twin.open[node] = session

    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        self.close_session(self.pick(data))

    def close_session(self, session: int) -> None:
        self.ledger.close(session)
        self.twin.open = {node: number for node, number in self.twin.open.items() if number != session}

    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        session, pairs = self.pick(data), self.pairs(data)
        if not self.twin.is_open(session):
            with pytest.raises(Refusal, match="is closed"):
                self.ledger.do(operations.claim(pairs), session)
            return
        self.claim_by(session, pairs)

    @precondition(lambda self: self.twin.claims)
    @rule(data=st.data(), times=st.integers(3, 12))
    def claim_again(self, data: st.DataObject, times: int) -> None:
        """The table's rows and columns, one after another on one key."""
        key = data.draw(st.sampled_from(sorted(self.twin.claims)), label="key")
        for _ in range(times):
            held = self.twin.claims[key]
            match data.draw(st.sampled_from(["claim", "claim", "open", "close", "fail", "release"])):
                case "open":
                    self.open(data.draw(st.sampled_from(NODES)), True)
                case "close":
                    self.close_session(held.session)
                case "fail" if self.twin.is_open(held.session):
                    self.end_by(held.session, [(key, held.attempt)], "ended")
                case "release" if self.twin.is_open(held.session):
                    self.end_by(held.session, [(key, held.attempt)], "released")
                case _ if self.twin.open:
                    session = data.draw(st.sampled_from(sorted(self.twin.open.values())), label="session")
                    near = {held.after, held.after + 1, held.attempt - 1, held.attempt}
                    after = data.draw(st.sampled_from(sorted(near)), label="after")
                    self.claim_by(session, [(key, after)])

    def claim_by(self, session: int, pairs: list[tuple[int, int]]) -> None:
        expected = [self.twin.claim(session, key, after) for key, after in pairs]
        assert self.ledger.do(operations.claim(pairs), session) == expected

    def end_by(self, session: int, pairs: list[tuple[int, int]], how: str) -> None:
        operation = operations.fail(pairs) if how == "ended" else operations.release(pairs)
        expected = [self.twin.end(session, key, attempt, how) for key, attempt in pairs]
        assert self.ledger.do(operation, session) == expected

    @rule(data=st.data(), how=st.sampled_from(["ended", "released"]))
    def end(self, data: st.DataObject, how: str) -> None:
        session, pairs = self.pick(data), self.pairs(data)
        if not self.twin.is_open(session):
            with pytest.raises(Refusal, match="is closed"):
                self.ledger.do(operations.fail(pairs), session)
            return
        self.end_by(session, pairs, how)

    @rule(data=st.data(), keys=one_or_two, outcome=st.sampled_from(Outcome))
    def execute(self, data: st.DataObject, keys: list[int], outcome: Outcome) -> None:
        session = self.pick(data)
        assert self.ledger.do(operations.execute(keys, outcome), session) == [
            self.twin.execute(session, key, None, outcome) for key in keys
        ]

    @rule(data=st.data(), outcome=st.sampled_from(Outcome))
    def execute_claimed(self, data: st.DataObject, outcome: Outcome) -> None:
        session, pairs = self.pick(data), self.pairs(data)
        claims = self.twin.claims
        if any(key in claims and attempt > claims[key].attempt for key, attempt in pairs):
            with pytest.raises(Refusal, match="never given out"):
                self.ledger.do(operations.execute(pairs, outcome), session)
            return
        assert self.ledger.do(operations.execute(pairs, outcome), session) == [
            self.twin.execute(session, key, attempt, outcome) for key, attempt in pairs
        ]

    @rule(data=st.data(), keys=keys)
    def doubt(self, data: st.DataObject, keys: list[int]) -> None:
        session = self.pick(data)
        if not self.twin.is_open(session):
            with pytest.raises(Refusal, match="is closed"):
                self.ledger.do(operations.doubt(keys, "why"), session)
            return
        own = [
            key
            for key in sorted(keys)
            if (held := self.twin.claims.get(key)) and held.session == session
            if held.state in ("held", "doubt")
        ]
        assert self.ledger.do(operations.doubt(keys, "why"), session) == own
        for key in own:
            self.twin.claims[key].state = "doubt"
            self.twin.doubts[key] = "why"

    @rule(keys=keys, decision=st.sampled_from(Decision))
    def resolve(self, keys: list[int], decision: Decision) -> None:
        doubted = [key for key in sorted(keys) if key in self.twin.doubts]
        assert self.ledger.do(operations.resolve(keys, decision)) == doubted
        for key in doubted:
            if decision is Decision.EXECUTED:
                self.twin.final(key, Outcome.DONE)
            else:
                self.twin.claims[key].state = "released"
                self.twin.claims[key].recovered = False
                del self.twin.doubts[key]

    @rule(keys=one_or_two)
    def cancel(self, keys: list[int]) -> None:
        answers = self.ledger.do(operations.cancel(keys))
        for key, answer in zip(keys, answers, strict=True):
            held = self.twin.claims.get(key)
            if key in self.twin.executed:
                before = self.twin.executed[key] == Outcome.CANCELLED
                kind = CancelKind.CANCELLED if before else CancelKind.TOO_LATE
                assert answer == CancelAnswer(kind=kind, session=None)
            elif held is not None and held.state in ("held", "doubt"):
                assert answer == CancelAnswer(kind=CancelKind.RUNNING, session=held.session)
            else:
                assert answer == CancelAnswer(kind=CancelKind.CANCELLED, session=None)
                self.twin.final(key, Outcome.CANCELLED)

    @rule(value=st.sampled_from("xyz"), key=st.sampled_from(KEYS), lasts_ms=st.integers(0, 20))
    def bind(self, value: str, key: int, lasts_ms: int) -> None:
        now = self.ledger.time_ms
        found = self.twin.bindings.get(value)
        if found is None or (found[1] <= now and found[0] in self.twin.executed):
            found = self.twin.bindings[value] = (key, now + lasts_ms, False)
        assert self.ledger.do(operations.bind(value, key, now + lasts_ms)) == BindAnswer(
            key=found[0], confirmed=found[2]
        )

    @rule(value=st.sampled_from("xyz"), key=st.sampled_from(KEYS))
    def confirm(self, value: str, key: int) -> None:
        found = self.twin.bindings.get(value)
        assert self.ledger.do(operations.confirm(value, key)) == (found is not None and found[0] == key)
        if found is not None and found[0] == key:
            self.twin.bindings[value] = (*found[:2], True)

    @rule(passed_ms=st.integers(-5, 15))
    def time_passes(self, passed_ms: int) -> None:
        self.ledger.time_ms = max(0, self.ledger.time_ms + passed_ms)

    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """Of this life: the stored answers. Of a former one: nothing. In no case an effect."""
        entry = data.draw(st.sampled_from(self.ledger.entries))
        before = [section for section in self.ledger.machine.freeze() if section[0] != "ledger"]
        answers = self.ledger.feed(entry)
        if answers is not None:
            assert self.answered.setdefault(entry, answers) == answers
        assert [section for section in self.ledger.machine.freeze() if section[0] != "ledger"] == before

    @rule(
        opcode=st.sampled_from([*Opcode, 40, 99]),
        fields=st.lists(
            st.one_of(
                st.integers(-2, 9),
                st.just(1 << 63),
                st.text(max_size=3),
                st.none(),
                st.booleans(),
                st.floats(),
                st.lists(st.integers(-1, 5), max_size=4),
                st.lists(st.text(max_size=2), max_size=3),
            ),
            max_size=4,
        ),
    )
    def nonsense(self, opcode: int, fields: list[Any]) -> None:
        """What is no command of the others' form never raises; what is, by chance, is left out: the twin did not hear it."""
        if fields and opcode != Opcode.BARRIER:
            fields[-1] = {"never": "meant"}
        elif opcode == Opcode.BARRIER:
            fields = [1]
        with pytest.raises(Refusal):
            self.ledger.raw([opcode, *fields], next(iter(self.ledger.proposers)))

    @rule()
    def reload(self) -> None:
        self.ledger.reload()

    @rule()
    def freeze(self) -> None:
        now = list(self.ledger.machine.freeze())
        self.frozen = self.ledger.machine.freeze(), [], now

    @precondition(lambda self: self.frozen is not None)
    @rule(steps=st.integers(1, 6))
    def write_frozen(self, steps: int) -> None:
        assert self.frozen is not None
        sections, written, then = self.frozen
        for _ in range(steps):
            section = next(sections, None)
            if section is None:
                assert written == then
                self.frozen = None
                return
            written.append(section)

    @invariant()
    def both_show_the_same(self) -> None:
        machine = self.ledger.machine
        states = {0: "held", 1: "ended", 2: "released", 3: "doubt"}
        assert {
            claim.key: Held(claim.after, claim.attempt, claim.session, states[claim.state], claim.disturbed)
            for claim in machine.claims.all()
        } == self.twin.claims
        assert {
            key: outcome for key in KEYS if (outcome := machine.executed.outcome(key)) is not None
        } == self.twin.executed
        assert len(machine.executed) == len(self.twin.executed)
        assert machine.claims.in_doubt() == self.twin.doubts
        assert {tuple(double) for double in machine.marks.double_effects()} == self.twin.doubles
        assert machine.marks.double_effect_count == len(self.twin.doubles)

    @invariant()
    def sessions_are_kept_while_open_or_under_claims_and_no_longer(self) -> None:
        standing: dict[int, int] = {}
        for held in self.twin.claims.values():
            if held.state in ("held", "doubt"):
                standing[held.session] = standing.get(held.session, 0) + 1
        shown = dict(self.ledger.machine.sessions.items())
        assert {number for number, session in shown.items() if session.open} == set(self.twin.open.values())
        assert set(shown) == set(self.twin.open.values()) | set(standing)
        assert {number: session.claims for number, session in shown.items() if session.claims} == standing


TestLedgerBesideTwin = LedgerBesideTwin.TestCase
TestLedgerBesideTwin.settings = settings(stateful_step_count=80, max_examples=100)
