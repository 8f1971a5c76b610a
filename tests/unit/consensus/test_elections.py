"""Votes: asked before a term rises, from members, each once, for a log that is as long as one's own."""

from __future__ import annotations

import pytest

from consensus.raft.elections import LogEnd, PreVote, is_majority, would_vote

pytestmark = pytest.mark.unit
GROUP = ("a", "b", "c")


def ask(pre_vote: PreVote, *, now: float, only_if_all: bool = False) -> int:
    return pre_vote.ask(now=now, lasts_s=1.0, only_if_all=only_if_all)


def answer(
    pre_vote: PreVote, peer: str, round_: int, *, granted: bool = True, only_if_all: bool = False
) -> None:
    pre_vote.answered(peer, round_, granted=granted, only_if_all=only_if_all)


@pytest.mark.parametrize(
    ("changes", "granted"),
    [
        ({}, True),
        ({"leader_heard_ago_s": 0.39}, False),
        ({"candidate_term": 4}, False),
        ({"candidate_end": LogEnd(3, 9)}, False),
        ({"candidate_end": LogEnd(2, 99)}, False),
        ({"candidate_end": LogEnd(4, 1)}, True),
    ],
)
def test_a_node_would_vote_only_without_a_leader_for_a_newer_term_and_a_log_as_long_as_its_own(
    changes: dict[str, object], granted: bool
) -> None:
    asked: dict[str, object] = {
        "candidate_term": 5,
        "candidate_end": LogEnd(3, 10),
        "own_term": 4,
        "own_end": LogEnd(3, 10),
        "leader_heard_ago_s": 0.4,
        "election_timeout_min_s": 0.4,
    }
    assert would_vote(**{**asked, **changes}) is granted  # type: ignore[arg-type]


def test_a_pre_vote_is_won_by_members_each_counted_once_within_its_round() -> None:
    pre_vote = PreVote("a")
    first = ask(pre_vote, now=0.0)
    answer(pre_vote, "stranger", first)
    answer(pre_vote, "b", first, granted=False)
    assert not pre_vote.won(GROUP, 0.5)

    second = ask(pre_vote, now=1.0)
    answer(pre_vote, "b", first)
    assert not pre_vote.won(GROUP, 1.5), "an answer to an earlier round counted"
    answer(pre_vote, "b", second)
    assert pre_vote.won(GROUP, 1.5)
    assert not pre_vote.won(GROUP, 2.0), "a round that is over was won"
    assert not pre_vote.unanimous(GROUP)
    answer(pre_vote, "c", second)
    assert pre_vote.unanimous(GROUP)


def test_nodes_that_may_have_forgotten_elect_only_together_with_everybody() -> None:
    pre_vote = PreVote("a")
    round_ = ask(pre_vote, now=0.0, only_if_all=True)
    answer(pre_vote, "b", round_)
    assert not pre_vote.won(GROUP, 0.5), "one yes of three, and one only if all"
    answer(pre_vote, "c", round_, only_if_all=True)
    assert pre_vote.won(GROUP, 0.5)
    assert pre_vote.unanimous(GROUP)


def test_those_who_forgot_nothing_need_no_others() -> None:
    pre_vote = PreVote("a")
    answer(pre_vote, "b", ask(pre_vote, now=0.0))
    assert pre_vote.won(GROUP, 0.5)
    assert not pre_vote.unanimous(GROUP)


def test_an_ended_round_is_never_won() -> None:
    pre_vote = PreVote("a")
    round_ = ask(pre_vote, now=0.0)
    pre_vote.end()
    answer(pre_vote, "b", round_)
    assert not pre_vote.won(GROUP, 0.1)


def test_a_node_alone_in_its_group_needs_nobody() -> None:
    for only_if_all in (False, True):
        pre_vote = PreVote("a")
        ask(pre_vote, now=0.0, only_if_all=only_if_all)
        assert pre_vote.won(("a",), 0.0)


def test_half_of_a_group_is_no_majority() -> None:
    assert not is_majority(2, ("a", "b", "c", "d"))
    assert is_majority(3, ("a", "b", "c", "d"))
