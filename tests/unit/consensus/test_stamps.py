"""Answers count for what they answer: of this link, and going back once for each time."""

from __future__ import annotations

import pytest

from consensus.raft.stamps import Stamps

pytestmark = pytest.mark.unit


def sent(stamps: Stamps, peer: str = "b") -> int:
    """A message with entries to `peer`."""
    number = stamps.next()
    stamps.entries_sent(peer, number)
    return number


def test_a_leader_goes_back_once_however_many_old_answers_ask_for_it() -> None:
    stamps = Stamps()
    numbers = [sent(stamps) for _ in range(5)]

    went_back = [stamps.may_go_back("b", number) for number in numbers]

    assert went_back == [True, False, False, False, False]
    assert stamps.may_go_back("b", sent(stamps))


def test_an_answer_to_a_message_of_an_ended_link_is_not_current() -> None:
    stamps = Stamps()
    old = sent(stamps)
    assert stamps.is_current("b", old)
    stamps.forget("b")
    assert not stamps.is_current("b", old)
    assert stamps.is_current("b", stamps.next())


def test_an_answer_to_a_message_that_was_never_sent_is_not_current() -> None:
    stamps = Stamps()
    stamps.next()
    assert not stamps.is_current("b", 2)


def test_messages_with_entries_count_until_they_or_later_ones_are_answered() -> None:
    stamps = Stamps()
    numbers = [sent(stamps) for _ in range(3)]
    sent(stamps, "c")
    stamps.answered("b", numbers[1])
    assert (stamps.unanswered("b"), stamps.unanswered("c")) == (1, 1)
    stamps.answered("b", stamps.next())
    assert stamps.unanswered("b") == 0
