"""The measured limit: up while more at once takes no longer, down when the other side is full."""

from __future__ import annotations

import pytest

from executor.pools.limiter import LIMIT_FIRST, LIMIT_MIN, Limiter

pytestmark = pytest.mark.unit


def press(limiter: Limiter, *, seconds: float, capacity: float, wall_s: float, now: float = 0.0) -> float:
    """As many at once as it allows, against a server that takes `wall_s` for up to `capacity` at once."""
    end_s = now + seconds
    while now < end_s:
        took_s = wall_s * max(1.0, limiter.limit / capacity)
        now += took_s
        limiter.add(took_s * limiter.limit, limiter.limit, limiter.limit, now)
    return now


def test_it_doubles_until_the_other_side_is_full() -> None:
    limiter = Limiter()
    press(limiter, seconds=2.0, capacity=200.0, wall_s=0.05)
    assert 150 <= limiter.limit <= 600


def test_it_finds_its_way_down_when_the_other_side_slows() -> None:
    limiter = Limiter()
    now = press(limiter, seconds=20.0, capacity=100.0, wall_s=0.05)
    before = limiter.limit
    press(limiter, seconds=60.0, capacity=20.0, wall_s=0.05, now=now)
    assert limiter.limit < before / 2


def test_calls_of_a_second_are_not_held_back_for_minutes() -> None:
    limiter = Limiter()
    press(limiter, seconds=6.0, capacity=1_000.0, wall_s=1.0)
    assert limiter.limit >= 256


def test_what_is_not_used_is_not_raised() -> None:
    limiter = Limiter()
    for second in range(60):
        limiter.add(0.02 * 20, 20, 3, float(second))
    assert limiter.limit == LIMIT_FIRST


def test_a_time_out_halves_it_down_to_a_floor() -> None:
    limiter = Limiter()
    press(limiter, seconds=1.0, capacity=1_000.0, wall_s=0.05)
    before = limiter.limit
    assert "time-out" in limiter.timed_out()
    assert limiter.limit == before // 2
    for _ in range(20):
        limiter.timed_out()
    assert limiter.limit == LIMIT_MIN


def test_a_few_tasks_say_nothing() -> None:
    limiter = Limiter()
    assert limiter.add(9.0, 9, 16, 0.0) is None
    assert limiter.add(0.0, 0, 16, 100.0) is None
