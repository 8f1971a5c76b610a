"""Sessions: one open a node, counted renewals, closed ones kept no longer than claims stand under them."""

from __future__ import annotations

import pytest

from consensus import operations
from consensus.ledger.commands import Opcode
from consensus.ledger.sessions import STORED_BYTES_MAX, Life
from tests.ledger_driver import Driver, Refusal

pytestmark = pytest.mark.unit


def test_a_second_session_of_one_life_closes_the_first() -> None:
    ledger = Driver()
    first = ledger.open("a")
    second = ledger.open("a", new_life=False)
    assert second == first + 1
    assert not ledger.machine.sessions.open(first)
    assert ledger.machine.sessions.open(second)


def test_one_life_that_asks_twice_with_one_nonce_has_one_session() -> None:
    ledger = Driver()
    session = ledger.open("a")
    assert ledger.raw([Opcode.OPEN_SESSION, "a", 1], "a") == session
    ledger.close(session)
    with pytest.raises(Refusal, match="the next is 2"):
        ledger.raw([Opcode.OPEN_SESSION, "a", 1], "a")


def test_a_life_speaks_for_one_node_only() -> None:
    ledger = Driver()
    ledger.open("a")
    with pytest.raises(Refusal, match="speaks for a"):
        ledger.raw([Opcode.OPEN_SESSION, "b", 1], "a")


def test_renewals_are_counted_and_a_closed_session_cannot_be_renewed() -> None:
    ledger = Driver()
    session = ledger.open("a")
    assert [ledger.raw([Opcode.RENEW, session], "a") for _ in range(2)] == [1, 2]
    ledger.close(session)
    ledger.close(session)  # twice is once
    with pytest.raises(Refusal, match="is closed"):
        ledger.raw([Opcode.RENEW, session], "a")


def test_a_closed_session_is_shown_until_its_last_claim_is_gone() -> None:
    ledger = Driver()
    old = ledger.open("a")
    ledger.do(operations.claim([(1, 0), (2, 0)]), old)
    new = ledger.open("a")
    assert ledger.machine.sessions.closed_with_claims() == [old]
    ledger.do(operations.execute([(1, 1)]), new)
    assert ledger.machine.sessions.closed_with_claims() == [old]
    ledger.do(operations.claim([(2, 0)]), new)
    assert ledger.machine.sessions.closed_with_claims() == []
    ledger.close(old)  # still known to be closed, though forgotten
    with pytest.raises(Refusal, match="is closed"):
        ledger.do(operations.claim([(3, 0)]), old)


def test_answers_of_many_bytes_are_forgotten_from_the_oldest_on() -> None:
    life = Life(node="a", nonce=1, session=1, proposer=1, answered_below=0)
    answer = bytes(STORED_BYTES_MAX // 4)
    for seq in range(10):
        life.keep(seq, answer, 0)
    assert sorted(life.answers) == [6, 7, 8, 9]
    assert life.answered_below == 6
    assert life.answer_bytes == STORED_BYTES_MAX


def test_what_the_proposer_has_seen_is_forgotten_however_far_it_jumps() -> None:
    life = Life(node="a", nonce=1, session=1, proposer=1, answered_below=0)
    for seq in (0, 1, 5):
        life.keep(seq, b"answer", 0)
    life.keep(7, b"answer", 5)
    assert sorted(life.answers) == [5, 7]
    life.keep(1 << 60, b"answer", 1 << 60)
    assert list(life.answers) == [1 << 60]
    assert life.answer_bytes == len(b"answer")
