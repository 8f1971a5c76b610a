"""Votes: asked before a term rises, from members, each once, for a log that is as long as one's own."""

from __future__ import annotations

import pytest

from consensus.raft.elections import LogEnd, PreVote, is_majority, would_vote

pytestmark = pytest.mark.unit
GROUP = ("a", "b", "c")


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
    first = pre_vote.ask(now=0.0, lasts_s=1.0)
    pre_vote.answered("stranger", first, True)
    pre_vote.answered("b", first, False)
    assert not pre_vote.won(GROUP, 0.5)

    second = pre_vote.ask(now=1.0, lasts_s=1.0)
    pre_vote.answered("b", first, True)
    assert not pre_vote.won(GROUP, 1.5), "an answer to an earlier round counted"
    pre_vote.answered("b", second, True)
    assert pre_vote.won(GROUP, 1.5)
    assert not pre_vote.won(GROUP, 2.0), "a round that is over was won"
    assert not pre_vote.unanimous(GROUP)
    pre_vote.answered("c", second, True)
    assert pre_vote.unanimous(GROUP)


def test_an_ended_round_is_never_won() -> None:
    pre_vote = PreVote("a")
    round_ = pre_vote.ask(now=0.0, lasts_s=1.0)
    pre_vote.end()
    pre_vote.answered("b", round_, True)
    assert not pre_vote.won(GROUP, 0.1)


def test_a_node_alone_in_its_group_needs_nobody() -> None:
    pre_vote = PreVote("a")
    pre_vote.ask(now=0.0, lasts_s=1.0)
    assert pre_vote.won(("a",), 0.0)


def test_half_of_a_group_is_no_majority() -> None:
    assert not is_majority(2, ("a", "b", "c", "d"))
    assert is_majority(3, ("a", "b", "c", "d"))
