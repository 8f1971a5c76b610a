"""Leases end by the leader's clock only, and a node's own view of its lease ends before the leader's."""

from __future__ import annotations

import pytest

from consensus.raft.leases import LeaseJudge, OwnLease

pytestmark = pytest.mark.unit


def test_a_session_that_is_not_renewed_for_a_lease_is_overdue_and_a_renewed_one_is_not() -> None:
    judge = LeaseJudge(10.0)
    assert judge.overdue(1, [(1, 0), (2, 0)], 0.0) == []
    assert judge.overdue(1, [(1, 0), (2, 1)], 9.0) == []
    assert judge.overdue(1, [(1, 0), (2, 1)], 10.5) == [1]
    assert judge.overdue(1, [(1, 0), (2, 1)], 11.0) == [], "named again before another lease has passed"
    assert judge.overdue(1, [(2, 1)], 19.5) == [2]


def test_a_new_leadership_gives_everybody_a_whole_lease() -> None:
    judge = LeaseJudge(10.0)
    judge.overdue(1, [(1, 0)], 0.0)
    assert judge.overdue(3, [(1, 0)], 100.0) == []
    assert judge.overdue(3, [(1, 0)], 110.5) == [1]


def test_the_own_lease_counts_from_when_the_renewal_was_sent() -> None:
    lease = OwnLease(10.0)
    assert lease.left_s(0.0) == 0.0
    lease.renewed(5.0)
    assert lease.left_s(8.0) == 7.0
    lease.renewed(4.0)
    assert lease.left_s(8.0) == 7.0, "an older renewal that was answered later shortened it"
    lease.lost()
    assert lease.left_s(8.0) == 0.0
