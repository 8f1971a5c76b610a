"""Marks: what is new, already, late or overtaken; what can be cancelled; which double effects are possible."""

from __future__ import annotations

import pytest

from consensus import operations
from consensus.ledger.executed import Outcome
from consensus.ledger.marks import DOUBLE_EFFECTS_KEPT, WINNERS_KEPT, CancelKind, DoubleEffect
from consensus.operations import CancelAnswer, ExecuteAnswer
from tests.ledger_driver import Driver, Refusal

pytestmark = pytest.mark.unit

NEW, ALREADY, LATE, OVERTAKEN = ExecuteAnswer


@pytest.fixture
def ledger() -> Driver:
    return Driver(keys=100_000)


def test_a_mark_is_new_once(ledger: Driver) -> None:
    a = ledger.open("a")
    assert ledger.do(operations.execute([5, 7, 6, 5]), a) == [NEW] * 4  # one call is one effect
    assert ledger.do(operations.execute([8, 7], Outcome.DEAD), a) == [NEW, ALREADY]
    assert [ledger.machine.executed.outcome(key) for key in (7, 8)] == [Outcome.DONE, Outcome.DEAD]


def test_a_mark_of_a_closed_session_is_late_and_truth_while_nobody_else_has_claimed(ledger: Driver) -> None:
    a = ledger.open("a")
    ledger.do(operations.claim([(5, 0)]), a)
    ledger.close(a)
    assert ledger.do(operations.execute([4, 5, 6]), a) == [LATE] * 3
    assert len(ledger.machine.claims) == 0
    assert ledger.machine.marks.double_effect_count == 0


def test_a_mark_of_a_claim_counts_whichever_session_of_the_node_brings_it(ledger: Driver) -> None:
    old = ledger.open("a")
    ledger.do(operations.claim([(5, 0)]), old)
    new = ledger.open("a", new_life=False)
    assert ledger.do(operations.execute([(5, 1), (6, 1)]), new) == [LATE, NEW]


def test_after_a_takeover_the_late_mark_is_a_possible_double_effect_and_no_mark(ledger: Driver) -> None:
    a, b = ledger.open("a"), ledger.open("b")
    ledger.do(operations.claim([(5, 0), (6, 0)]), a)
    ledger.close(a)
    ledger.do(operations.claim([(5, 0), (6, 0)]), b)
    for _ in range(2):  # said twice it is one
        assert ledger.do(operations.execute([(5, 1)]), a) == [OVERTAKEN]
    assert ledger.do(operations.execute([4, 6]), a) == [LATE, OVERTAKEN]
    assert 5 not in ledger.machine.executed
    assert ledger.machine.marks.double_effects() == [DoubleEffect(5, a, 1), DoubleEffect(6, a, 0)]
    assert ledger.do(operations.execute([(5, 2)]), b) == [NEW]


def test_a_late_mark_after_the_taker_has_marked_is_a_possible_double_effect_too(ledger: Driver) -> None:
    a, b = ledger.open("a"), ledger.open("b")
    ledger.do(operations.claim([(5, 0)]), a)
    ledger.close(a)
    ledger.do(operations.claim([(5, 0)]), b)
    ledger.do(operations.execute([(5, 2)]), b)
    assert ledger.do(operations.execute([(5, 2)]), b) == [ALREADY]
    assert ledger.machine.marks.double_effect_count == 0
    assert ledger.do(operations.execute([(5, 1)]), a) == [ALREADY]
    assert ledger.machine.marks.double_effects() == [DoubleEffect(5, a, 1)]
    ledger.reload()
    assert ledger.twin.marks.double_effects() == [DoubleEffect(5, a, 1)]


def test_an_open_session_may_mark_what_another_has_claimed_as_at_least_once_does(ledger: Driver) -> None:
    a, b = ledger.open("a"), ledger.open("b")
    ledger.do(operations.claim([(5, 0)]), b)
    assert ledger.do(operations.execute([5]), a) == [NEW]
    assert ledger.do(operations.execute([(5, 1)]), b) == [ALREADY]
    assert dict(ledger.machine.sessions.items())[b].claims == 0


def test_an_attempt_that_was_never_given_out_marks_nothing(ledger: Driver) -> None:
    a = ledger.open("a")
    ledger.do(operations.claim([(5, 0)]), a)
    with pytest.raises(Refusal, match="attempt 2 of key 5"):
        ledger.do(operations.execute([(4, 1), (5, 2)]), a)
    assert len(ledger.machine.executed) == 0


def test_lists_for_people_are_bounded_and_the_count_goes_on(ledger: Driver) -> None:
    a, b = ledger.open("a"), ledger.open("b")
    keys = range(1, WINNERS_KEPT + 5_000)
    for start in range(0, len(keys), 4000):
        part = keys[start : start + 4000]
        ledger.do(operations.claim([(key, 0) for key in part]), a)
    ledger.close(a)
    for start in range(0, len(keys), 4000):
        part = keys[start : start + 4000]
        ledger.do(operations.claim([(key, 0) for key in part]), b)
        ledger.do(operations.execute([(key, 2) for key in part]), b)
    ledger.do(operations.execute([(1, 1)]), a)  # forgotten who won
    assert ledger.machine.marks.double_effect_count == 0
    late = [(key, 1) for key in keys[-(DOUBLE_EFFECTS_KEPT + 100) :]]
    ledger.do(operations.execute(late), a)
    assert ledger.machine.marks.double_effect_count == DOUBLE_EFFECTS_KEPT + 100
    assert len(ledger.machine.marks.double_effects()) == DOUBLE_EFFECTS_KEPT


def test_only_what_nobody_has_claimed_is_cancelled(ledger: Driver) -> None:
    a = ledger.open("a")
    ledger.do(operations.execute([1]), a)
    ledger.do(operations.claim([(2, 0), (3, 0)]), a)
    ledger.do(operations.fail([(3, 1)]), a)
    cancelled = CancelAnswer(kind=CancelKind.CANCELLED, session=None)
    expected = [
        cancelled,
        CancelAnswer(kind=CancelKind.TOO_LATE, session=None),
        CancelAnswer(kind=CancelKind.RUNNING, session=a),
        cancelled,
    ]
    for _ in range(2):
        assert ledger.do(operations.cancel([4, 1, 2, 3])) == expected
    assert [ledger.machine.executed.outcome(key) for key in (3, 4)] == [Outcome.CANCELLED] * 2
    with pytest.raises(Refusal, match="never"):
        ledger.do(operations.cancel([100_001]))
