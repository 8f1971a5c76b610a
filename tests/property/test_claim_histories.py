"""Random histories of nodes that follow DESIGN's order of steps, with deaths and late words at every step, under judges.

A node claims a record, checks if it must, runs, and then either marks, or stores a retry record, says `fail`, and completes the record,
in this order. It may die or be cut off between any two of these; what it had sent may still arrive when its session is long closed. Its
runner does not outlive the session (DESIGN section 4), so effects happen before the close.

Judges: no (key, attempt) is given to two; nothing is taken over from an open session; *new* is answered once a key; no key has two live
runs; no effect happens twice, as the check tells the truth; and at the end nothing is lost.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus import operations
from consensus.ledger.claims import ClaimKind
from consensus.operations import ExecuteAnswer, Operation
from tests.ledger_driver import Driver, Refusal

pytestmark = pytest.mark.unit

KEYS = range(1, 6)
STEPS = 150
Record = tuple[int, int]  # key, after


@dataclass(eq=False)
class Run:
    key: int
    after: int
    attempt: int
    session: int
    record: Record
    done: bool = False  # its effect happened, or a check saw that it had


@dataclass(eq=False)
class Node:
    name: str
    session: int
    live: bool = True
    runs: list[Run] = field(default_factory=list)


class History:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.ledger = Driver()
        self.nodes = [Node(name, self.ledger.open(name)) for name in "abc"]
        self.closed: set[int] = set()
        self.records: list[Record] = [(key, 0) for key in KEYS]
        self.late: list[tuple[Operation[list[ExecuteAnswer]], int, int]] = []
        self.given: dict[tuple[int, int], int] = {}
        self.holder: dict[int, int] = {}
        self.effects: Counter[int] = Counter()
        self.fresh_marks: Counter[int] = Counter()

    # -- what may happen

    def take(self, node: Node) -> None:
        waiting = [r for r in self.records if all(run.key != r[0] for run in node.runs)]
        if not node.live or not waiting:
            return
        record = self.chance.choice(waiting)
        key, after = record
        try:
            [answer] = self.ledger.do(operations.claim([record]), node.session)
        except Refusal:
            self.restart(node)  # it learns that its session is closed
            return
        match answer.kind:
            case ClaimKind.STALE | ClaimKind.EXECUTED:
                self.complete(record)
            case ClaimKind.GO | ClaimKind.RECOVER:
                assert self.given.setdefault((key, answer.attempt), node.session) == node.session
                assert (key, answer.attempt) not in [(r.key, r.attempt) for n in self.nodes for r in n.runs]
                before = self.holder.get(key)
                assert answer.kind is ClaimKind.GO or before in (None, *self.closed), (
                    "taken from an open session"
                )
                assert not any(r.key == key for n in self.nodes if n.live for r in n.runs), "two live runs"
                self.holder[key] = node.session
                run = Run(key, after, answer.attempt, node.session, record)
                if after > 0 or answer.kind is ClaimKind.RECOVER:
                    run.done = self.effects[key] > 0  # the check
                node.runs.append(run)

    def finish(self, node: Node) -> None:
        if not node.live or not node.runs:
            return
        run = self.chance.choice(node.runs)
        if not run.done and self.chance.random() < 0.7:
            self.effects[run.key] += 1
            run.done = True
            if self.chance.random() < 0.3:
                return  # it dies later, perhaps, with the effect out and nothing said
        if run.done and self.chance.random() < 0.8:
            self.mark(node, run)
        else:
            self.retry(node, run)

    def mark(self, node: Node, run: Run) -> None:
        marking = operations.execute([(run.key, run.attempt)])
        if self.chance.random() < 0.3:
            self.late.append((marking, run.session, run.key))  # it will arrive when it will
            node.live = False
            return
        self.arrive(marking, run.session, run.key)
        node.runs.remove(run)
        self.complete(run.record)

    def retry(self, node: Node, run: Run) -> None:
        """The runner's exception may have come after the effect: the retry is checked."""
        self.records.append((run.key, run.attempt))
        if self.chance.random() < 0.2:
            node.live = False
            return
        try:
            self.ledger.do(operations.fail([(run.key, run.attempt)]), run.session)
        except Refusal:
            self.restart(node)
            return
        if self.chance.random() < 0.2:
            node.live = False
            return
        node.runs.remove(run)
        self.complete(run.record)

    def release(self, node: Node) -> None:
        """Handed back unrun: only what has not started, so nothing of this attempt can have happened."""
        waiting = [run for run in node.runs if not run.done]
        if node.live and waiting:
            run = self.chance.choice(waiting)
            try:
                self.ledger.do(operations.release([(run.key, run.attempt)]), run.session)
            except Refusal:
                self.restart(node)
                return
            node.runs.remove(run)
            del self.holder[run.key]

    def lose(self, node: Node) -> None:
        node.live = False

    def end_session(self, node: Node) -> None:
        """The leader closes the session of a node that it does not hear; runners are dead by then."""
        if not node.live:
            self.ledger.close(node.session)
            self.closed.add(node.session)

    def restart(self, node: Node) -> None:
        new_life = self.chance.random() < 0.5
        self.closed.add(node.session)
        node.session = self.ledger.open(node.name, new_life=new_life)
        node.runs, node.live = [], True

    def bring_late_word(self, _: Node) -> None:
        if self.late:
            self.arrive(*self.late.pop(self.chance.randrange(len(self.late))))

    # -- judges and bookkeeping

    def arrive(self, marking: Operation[list[ExecuteAnswer]], session: int, key: int) -> None:
        [answer] = self.ledger.do(marking, session)
        if answer in (ExecuteAnswer.NEW, ExecuteAnswer.LATE):
            self.fresh_marks[key] += 1
            assert self.fresh_marks[key] == 1
            assert (answer is ExecuteAnswer.LATE) == (session in self.closed)

    def complete(self, record: Record) -> None:
        """Offsets of an assignment: one delivery is completed; a record that stands twice stays once."""
        if record in self.records:
            self.records.remove(record)

    def heal(self) -> None:
        for node in self.nodes:
            self.restart(node)
        while self.late:
            self.bring_late_word(self.nodes[0])
        survivor = self.nodes[0]
        for _ in range(500):
            if not self.records:
                break
            self.take(survivor)
            for run in list(survivor.runs):
                if not run.done:
                    self.effects[run.key] += 1
                self.arrive(operations.execute([(run.key, run.attempt)]), run.session, run.key)
                survivor.runs.remove(run)
                self.complete(run.record)


@given(seed=st.integers(0, 2**32))
def test_no_history_runs_an_attempt_twice_takes_over_from_the_living_doubles_an_effect_or_loses_a_key(
    seed: int,
) -> None:
    history = History(seed)
    happenings = [
        *[history.take] * 6,
        *[history.finish] * 5,
        history.release,
        history.lose,
        *[history.end_session] * 2,
        history.restart,
        *[history.bring_late_word] * 2,
    ]
    for _ in range(STEPS):
        history.chance.choice(happenings)(history.chance.choice(history.nodes))
        assert max(history.effects.values(), default=0) <= 1, "an effect happened twice"
    history.heal()
    assert history.records == []
    assert all(key in history.ledger.machine.executed for key in KEYS), "a key was lost"
    assert history.effects == Counter(KEYS), "not one effect for each key"
