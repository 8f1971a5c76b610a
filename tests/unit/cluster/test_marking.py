"""Marks leave together, seldom, and again until they are committed."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from cluster.marking import EVERY_S, IN_FLIGHT_MAX, MARK_KEYS_MAX, RETRY_AFTER_S, MarkAnswer, Marking
from consensus import NoQuorum

pytestmark = pytest.mark.unit

TICK_S = 1.0


class Ledger:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[int], str]] = []
        self.futures: list[Future[Any]] = []
        self.marking = Marking(self.execute)

    def execute(self, keys: list[int], outcome: str) -> Future[Any]:
        self.asked.append((keys, outcome))
        self.futures.append(Future())
        return self.futures[-1]


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def test_the_first_mark_leaves_at_once_and_those_that_follow_gather(ledger: Ledger) -> None:
    ledger.marking.add([1], "done")
    assert ledger.marking.wait_s(5.0, TICK_S) == 0.0
    ledger.marking.send(5.0)
    ledger.marking.add([2], "done")
    ledger.marking.add([3], "done")
    ledger.marking.send(5.0 + EVERY_S / 2)
    assert ledger.asked == [([1], "done")]
    assert ledger.marking.wait_s(5.0, TICK_S) == pytest.approx(EVERY_S)
    ledger.marking.send(5.0 + EVERY_S)
    assert ledger.asked == [([1], "done"), ([2, 3], "done")]


def test_each_outcome_is_marked_apart(ledger: Ledger) -> None:
    ledger.marking.add([1], "done")
    ledger.marking.add([2], "dead")
    ledger.marking.send(0.0)
    assert ledger.asked == [([1], "done"), ([2], "dead")]


def test_an_answer_is_told_once(ledger: Ledger) -> None:
    ledger.marking.add([1, 2], "done")
    ledger.marking.send(0.0)
    assert ledger.marking.answers(0.0) == []
    ledger.futures[0].set_result([])
    assert ledger.marking.answers(0.0) == [MarkAnswer(outcome="done", keys=[1, 2])]
    assert ledger.marking.answers(0.0) == []
    assert ledger.marking.wait_s(0.0, TICK_S) == TICK_S


def test_a_mark_without_a_majority_goes_out_again_later_under_its_outcome(ledger: Ledger) -> None:
    ledger.marking.add([1], "dead")
    ledger.marking.send(0.0)
    ledger.futures[0].set_exception(NoQuorum("nobody answers"))
    assert ledger.marking.answers(1.0) == []
    ledger.marking.send(1.0)
    assert len(ledger.asked) == 1
    ledger.marking.send(1.0 + RETRY_AFTER_S)
    assert ledger.asked[1] == ([1], "dead")
    assert ledger.marking.retries == 1


def test_a_fault_of_ours_is_not_repeated(ledger: Ledger) -> None:
    ledger.marking.add([1], "done")
    ledger.marking.send(0.0)
    ledger.futures[0].set_exception(ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        ledger.marking.answers(0.0)


def test_no_more_are_in_flight_than_allowed_and_an_answer_makes_room(ledger: Ledger) -> None:
    ledger.marking.add(list(range((IN_FLIGHT_MAX + 1) * MARK_KEYS_MAX)), "done")
    ledger.marking.send(0.0)
    assert [len(keys) for keys, _ in ledger.asked] == [MARK_KEYS_MAX] * IN_FLIGHT_MAX
    ledger.marking.send(1.0)
    assert len(ledger.asked) == IN_FLIGHT_MAX
    assert ledger.marking.wait_s(1.0, TICK_S) == EVERY_S  # no spinning while all wait for an answer
    ledger.futures[0].set_result([])
    ledger.marking.answers(1.0)
    ledger.marking.send(1.0)
    assert len(ledger.asked) == IN_FLIGHT_MAX + 1
