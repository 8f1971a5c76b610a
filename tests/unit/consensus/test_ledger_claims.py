"""Claims, as DESIGN section 6 has them; the whole table is in tests/property/test_ledger_twin.py."""

from __future__ import annotations

import pytest

from consensus import operations
from consensus.ledger.claims import ClaimKind, ClaimState, Decision
from consensus.operations import ClaimAnswer
from tests.ledger_driver import Driver, Refusal

pytestmark = pytest.mark.unit


@pytest.fixture
def ledger() -> Driver:
    return Driver()


def claim(ledger: Driver, session: int, key: int, after: int) -> tuple[str, int, int]:
    [answer] = ledger.do(operations.claim([(key, after)]), session)
    return answer.kind.name, answer.attempt, answer.session


def test_a_retry_chain_raises_the_attempt_and_leaves_old_records_stale(ledger: Driver) -> None:
    a, b = ledger.open("a"), ledger.open("b")
    assert claim(ledger, a, 5, 0) == ("GO", 1, a)
    assert claim(ledger, b, 5, 0) == ("HELD", 1, a)
    assert claim(ledger, b, 5, 1) == ("HELD", 1, a)  # its `fail` is on the way
    assert ledger.do(operations.fail([(5, 1)]), a) == [True]
    assert claim(ledger, b, 5, 0) == ("STALE", 1, a)
    assert claim(ledger, b, 5, 1) == ("GO", 2, b)
    assert ledger.do(operations.fail([(5, 1)]), a) == [False]
    assert ledger.do(operations.execute([(5, 2)]), b) == [operations.ExecuteAnswer.NEW]
    assert claim(ledger, a, 5, 1) == ("EXECUTED", 0, 0)
    assert len(ledger.machine.claims) == 0


def test_a_claim_is_recovered_only_after_its_session_was_closed(ledger: Driver) -> None:
    a, b = ledger.open("a"), ledger.open("b")
    claim(ledger, a, 5, 0)
    assert claim(ledger, b, 5, 0) == ("HELD", 1, a)
    ledger.close(a)
    assert claim(ledger, b, 5, 0) == ("RECOVER", 2, b)
    assert claim(ledger, b, 5, 0) == ("HELD", 2, b)
    assert claim(ledger, b, 5, 1) == ("STALE", 2, b)  # a retry record of the attempt that was taken over


def test_a_claim_goes_to_the_session_that_is_open_though_another_asked_in_the_same_call(
    ledger: Driver,
) -> None:
    a = ledger.open("a")
    answers = ledger.do(operations.claim([(9, 0), (3, 0), (9, 0)]), a)
    assert answers == [
        ClaimAnswer(kind=ClaimKind.GO, attempt=1, session=a),
        ClaimAnswer(kind=ClaimKind.GO, attempt=1, session=a),
        ClaimAnswer(kind=ClaimKind.GO, attempt=1, session=a),  # one key asked twice in a call is one claim
    ]


def test_a_first_run_that_was_not_claimed_counts_as_an_attempt(ledger: Driver) -> None:
    """Else the retry record of the next attempt would have the `after` of this one, and be stale."""
    a = ledger.open("a")
    assert claim(ledger, a, 5, 1) == ("GO", 2, a)
    ledger.do(operations.fail([(5, 2)]), a)
    assert claim(ledger, a, 5, 2) == ("GO", 3, a)


def test_a_released_claim_may_go_again_under_a_new_attempt(ledger: Driver) -> None:
    a, b = ledger.open("a"), ledger.open("b")
    claim(ledger, a, 5, 0)
    assert ledger.do(operations.release([(5, 2)]), a) == [False]
    assert ledger.do(operations.release([(5, 1)]), b) == [False]
    assert ledger.do(operations.release([(5, 1), (6, 1)]), a) == [True, False]
    assert claim(ledger, b, 5, 0) == ("GO", 2, b)


def test_releasing_a_recovered_claim_does_not_hide_that_an_attempt_may_have_run(ledger: Driver) -> None:
    a, b, c = ledger.open("a"), ledger.open("b"), ledger.open("c")
    claim(ledger, a, 5, 0)
    ledger.close(a)
    claim(ledger, b, 5, 0)
    ledger.do(operations.release([(5, 2)]), b)
    assert claim(ledger, c, 5, 0) == ("RECOVER", 3, c)


def test_a_key_in_doubt_waits_for_an_operator_even_when_its_session_ends(ledger: Driver) -> None:
    a, b = ledger.open("a"), ledger.open("b")
    claim(ledger, a, 5, 0)
    assert ledger.do(operations.doubt([5, 6], "mail box unreachable"), b) == []
    assert ledger.do(operations.doubt([5, 6], "mail box unreachable"), a) == [5]
    assert ledger.machine.claims.in_doubt() == {5: "mail box unreachable"}
    ledger.close(a)
    assert claim(ledger, b, 5, 0) == ("HELD", 1, a)
    assert ledger.do(operations.resolve([5, 6], Decision.RETRY)) == [5]
    assert ledger.machine.claims.in_doubt() == {}
    assert claim(ledger, b, 5, 0) == ("GO", 2, b)


def test_an_operator_may_say_that_it_was_done(ledger: Driver) -> None:
    a = ledger.open("a")
    claim(ledger, a, 5, 0)
    ledger.do(operations.doubt([5], "?"), a)
    assert ledger.do(operations.resolve([5], Decision.EXECUTED)) == [5]
    assert claim(ledger, a, 5, 0) == ("EXECUTED", 0, 0)
    assert ledger.machine.claims.of(a) == []


def test_recovery_finds_what_stands_under_a_closed_session(ledger: Driver) -> None:
    a = ledger.open("a")
    for key in (3, 4, 5):
        claim(ledger, a, key, 0)
    ledger.do(operations.fail([(4, 1)]), a)
    ledger.close(a)
    assert [(each.key, each.attempt, each.state) for each in ledger.machine.claims.of(a)] == [
        (3, 1, ClaimState.HELD),
        (5, 1, ClaimState.HELD),
    ]
    ledger.reload()
    assert ledger.twin.claims.of(a) == ledger.machine.claims.of(a)


@pytest.mark.parametrize(
    "operation", [operations.release([(5, 1)]), operations.fail([(5, 1)]), operations.doubt([5], "?")]
)
def test_a_closed_session_changes_no_claim(
    ledger: Driver, operation: operations.Operation[list[object]]
) -> None:
    a = ledger.open("a")
    claim(ledger, a, 5, 0)
    ledger.close(a)
    with pytest.raises(Refusal, match="is closed"):
        ledger.do(operation, a)
    assert [each.state for each in ledger.machine.claims.of(a)] == [ClaimState.HELD]


def test_a_key_without_an_attempt_left_is_refused_and_its_neighbours_are_not_claimed(ledger: Driver) -> None:
    a = ledger.open("a")
    with pytest.raises(Refusal, match="no attempt left"):
        ledger.do(operations.claim([(5, 0), (6, (1 << 31) - 1)]), a)
    assert len(ledger.machine.claims) == 0
