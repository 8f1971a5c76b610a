"""Who may fetch next: a lane's room, shared by its priorities."""

from __future__ import annotations

import pytest

from cluster.kafka.credits import LOWER_SHARE, WANTS_S, Credits

pytestmark = pytest.mark.unit

HIGH, NORMAL, LOW = range(3)


def test_no_more_is_granted_than_there_is_room_for_until_it_has_arrived() -> None:
    credits = Credits(3)
    assert credits.take(NORMAL, 500, room=700, now=0.0) == 500
    assert credits.take(NORMAL, 500, room=700, now=0.0) == 200
    assert credits.take(NORMAL, 500, room=700, now=0.0) == 0
    credits.arrived(200)
    assert credits.take(NORMAL, 500, room=700, now=0.0) == 200


def test_room_that_shrinks_below_what_is_on_the_way_grants_nothing() -> None:
    credits = Credits(3)
    credits.take(LOW, 10, room=10, now=0.0)
    assert credits.take(LOW, 10, room=3, now=0.0) == 0


def test_while_a_higher_priority_waits_a_lower_one_gets_nothing_of_the_room() -> None:
    credits = Credits(3)
    assert credits.take(HIGH, 1, room=0, now=0.0) == 0
    assert credits.take(LOW, 500, room=100, now=0.1) == 0
    assert credits.take(HIGH, 1, room=100, now=0.2) == 1  # all that it wanted
    assert credits.take(LOW, 500, room=100, now=0.2) == 99


def test_a_higher_priority_that_no_longer_asks_holds_nobody_up() -> None:
    credits = Credits(3)
    credits.take(HIGH, 1, room=0, now=0.0)
    assert credits.take(LOW, 5, room=5, now=WANTS_S) == 5


def test_a_higher_priority_that_gives_credit_back_waits_for_nothing() -> None:
    credits = Credits(3)
    assert credits.take(HIGH, 500, room=10, now=0.0) == 10
    assert credits.take(LOW, 500, room=11, now=0.0) == 0  # the high one would have taken more
    credits.give_back(HIGH, 9)
    assert credits.take(LOW, 500, room=10, now=0.0) == 9


def test_a_flood_of_high_priority_leaves_a_share_to_the_lower_ones() -> None:
    """One place of room comes free at a time, all three always have records."""
    credits = Credits(3)
    taken = [0, 0, 0]
    for turn in range(8_000):
        for rank in (LOW, NORMAL, HIGH):  # the most unfair order of asking
            granted = credits.take(rank, 500, room=1, now=turn * 0.001)
            taken[rank] += granted
        credits.arrived(credits.on_the_way)
    share = LOWER_SHARE / (1 + 2 * LOWER_SHARE)
    assert taken[HIGH] > 0.75 * sum(taken)
    assert taken[NORMAL] == pytest.approx(share * sum(taken), rel=0.2)
    assert taken[LOW] > 0.9 * share * sum(taken)
