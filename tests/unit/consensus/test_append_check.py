"""A follower's log: what matches stays, a cut needs a conflict, and what is committed never goes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.raft.append_check import Accept, Divergence, LogEntry, Mismatch, check_append

pytestmark = pytest.mark.unit


def log(*terms: int, first: int = 1) -> list[LogEntry]:
    return [(b"%d" % index, index, term) for index, term in enumerate(terms, first)]


def test_a_delayed_append_that_matches_shortens_nothing() -> None:
    own = log(1, 1, 1, 1, 1)
    verdict = check_append(own, prev_index=1, prev_term=1, entries=own[1:3], leader_commit=3, commit_index=2)
    assert verdict == Accept(cut_from=None, entries=[], next_index=4, commit_index=3)


def test_the_commit_index_follows_what_matched_and_not_the_end_of_the_log() -> None:
    verdict = check_append(
        log(1, 1, 1, 1), prev_index=2, prev_term=1, entries=[], leader_commit=4, commit_index=1
    )
    assert isinstance(verdict, Accept)
    assert verdict.commit_index == 2


def test_a_cut_begins_at_the_first_entry_of_another_term() -> None:
    new = log(1, 2, 2, first=3)
    verdict = check_append(
        log(1, 1, 1, 1, 1), prev_index=2, prev_term=1, entries=new, leader_commit=2, commit_index=2
    )
    assert verdict == Accept(cut_from=4, entries=new[1:], next_index=6, commit_index=2)


def test_a_cut_of_a_committed_entry_is_a_divergence() -> None:
    verdict = check_append(
        log(1, 1, 1), prev_index=1, prev_term=1, entries=log(2, first=2), leader_commit=2, commit_index=2
    )
    assert isinstance(verdict, Divergence)


def test_a_previous_entry_of_another_term_that_is_committed_here_is_a_divergence() -> None:
    verdict = check_append(
        log(1, 1, 1), prev_index=2, prev_term=2, entries=[], leader_commit=2, commit_index=2
    )
    assert isinstance(verdict, Divergence)


def test_a_mismatch_goes_back_over_the_whole_bad_term_but_never_below_the_commit_index() -> None:
    own = log(1, 1, 2, 2, 2, 2)
    for commit_index, expected in ((2, 3), (4, 5)):
        verdict = check_append(
            own, prev_index=6, prev_term=3, entries=[], leader_commit=9, commit_index=commit_index
        )
        assert verdict == Mismatch(next_index=expected)


def test_an_append_beyond_the_end_asks_for_what_is_missing() -> None:
    verdict = check_append(log(1, 1), prev_index=7, prev_term=2, entries=[], leader_commit=1, commit_index=1)
    assert verdict == Mismatch(next_index=3)


def test_entries_before_what_is_in_memory_are_committed_and_count_as_matched() -> None:
    own = log(2, 2, 2, first=10)
    verdict = check_append(
        own, prev_index=3, prev_term=1, entries=log(1, 1, 1, first=4), leader_commit=20, commit_index=11
    )
    assert verdict == Accept(cut_from=None, entries=[], next_index=12, commit_index=11)


@given(st.integers(0, 2**32))
def test_a_follower_that_obeys_ends_with_the_leaders_log_and_never_loses_a_committed_entry(seed: int) -> None:
    """Messages of one leader, lost, doubled and in any order, against a follower with a conflicting tail."""
    rng = random.Random(seed)
    common = rng.randint(1, 6)
    terms = sorted(rng.choices([1, 2], k=common))
    leader = log(*terms, *([4] * rng.randint(1, 6)))
    own = log(*terms, *([3] * rng.randint(0, 6)))
    commit = rng.randint(1, common)
    for step in range(60):
        prev = rng.randint(1, len(leader)) if step < 59 else 1
        until = rng.randint(prev, len(leader)) if step < 59 else len(leader)
        committed = list(own[:commit])
        verdict = check_append(
            own,
            prev_index=prev,
            prev_term=leader[prev - 1][2],
            entries=leader[prev:until],
            leader_commit=rng.randint(1, len(leader)),
            commit_index=commit,
        )
        if isinstance(verdict, Accept):
            if verdict.cut_from is not None:
                del own[verdict.cut_from - own[0][1] :]
            own += verdict.entries
            assert commit <= verdict.commit_index <= len(own)
            commit = verdict.commit_index
            assert own[: verdict.next_index - 1] == leader[: verdict.next_index - 1]
        else:
            assert isinstance(verdict, Mismatch)
            assert commit < verdict.next_index <= max(prev, len(own) + 1)
        assert own[: len(committed)] == committed
    assert own[: len(leader)] == leader
