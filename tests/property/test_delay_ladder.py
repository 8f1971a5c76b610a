"""The ladder under a virtual clock: never early, none lost wherever a node is cut off, bounded memory, little lateness."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.delay.delayed import encode_delayed
from cluster.delay.ladder import EARLY_MAX_S, NEAR_S, RUNGS_S, due_ms, leaves_ms, rung_s
from cluster.envelope import encode_key
from tests.delay.world import NEAR, Node, World, run_until_all_have_come, rung_topic

pytestmark = pytest.mark.unit

YEAR_MS = 366 * 86_400_000
AFTER_MS = st.one_of(
    st.integers(0, 20_000), st.integers(0, 400_000), st.integers(0, 90_000_000), st.integers(0, YEAR_MS)
)


@given(st.integers(0, YEAR_MS))
def test_a_record_waits_on_no_rung_longer_than_it_may(rest_ms: int) -> None:
    wait_s = rung_s(rest_ms)
    if wait_s is None:
        assert rest_ms < NEAR_S * 1000
    else:
        assert wait_s * 1000 <= rest_ms
        assert wait_s == RUNGS_S[-1] or rest_ms < 4 * wait_s * 1000


@given(st.sampled_from(RUNGS_S), st.integers(0, 2**42))
def test_it_leaves_a_little_before_its_wait_is_over(wait_s: int, placed_ms: int) -> None:
    early_ms = placed_ms + wait_s * 1000 - leaves_ms(wait_s, placed_ms)
    assert 900 <= early_ms <= EARLY_MAX_S * 1000
    assert early_ms <= wait_s * 1000 / 16


@given(st.integers(0, 2**42), st.floats(0, 1e7))
def test_an_hour_is_rounded_up(now_ms: int, after_s: float) -> None:
    assert now_ms + after_s * 1000 <= due_ms(now_ms, after_s) < now_ms + after_s * 1000 + 1.01


@given(
    st.integers(0, 2**32),
    st.lists(AFTER_MS, min_size=1, max_size=60),
    st.sampled_from([0, 0, 40_000, -40_000]),
)
@settings(deadline=None)
def test_all_come_in_time_and_in_due_order(seed: int, afters_ms: list[int], skew_ms: int) -> None:
    # Given
    world = World(seed, skew_ms=skew_ms)
    for key, after_ms in enumerate(afters_ms, 1):
        world.submit(key, after_ms)
    # When: years pass in seconds
    run_until_all_have_come(world, Node(world), until_ms=world.now_ms + 2 * YEAR_MS)
    # Then
    lateness = world.lateness_ms()
    assert sorted(lateness) == list(range(1, len(afters_ms) + 1))
    if skew_ms == 0:
        assert max(lateness.values()) <= 50
    dues = [world.due[key] for key in dict.fromkeys(key for _, key in world.arrivals)]
    assert skew_ms or all(earlier <= later + 50 for earlier, later in pairwise(dues))


@given(st.integers(0, 2**32), st.lists(AFTER_MS, min_size=1, max_size=25))
@settings(deadline=None)
def test_nothing_is_lost_wherever_a_node_is_cut_off(seed: int, afters_ms: list[int]) -> None:
    # Given
    world = World(seed, heap_tasks_max=5)
    for key, after_ms in enumerate(afters_ms, 1):
        world.submit(key, after_ms)
    # When: nodes die after a few steps, at any of them
    for _ in range(30):
        node = Node(world)
        for _ in range(world.rng.randrange(40)):
            node.step()
            if world.rng.random() < 0.1:
                world.now_ms += world.rng.choice([1, 300, 14_000, 250_000, 86_400_000])
    run_until_all_have_come(world, Node(world), until_ms=world.now_ms + 2 * YEAR_MS)
    # Then: `append` has seen that none came early
    assert sorted(world.lateness_ms()) == list(range(1, len(afters_ms) + 1))
    assert all(log.committed == len(log.records) for log in world.logs.values())


@given(st.integers(0, 2**32), st.lists(st.integers(0, 14_000), min_size=1, max_size=40))
@settings(deadline=None)
def test_what_is_executed_meanwhile_does_not_come(seed: int, afters_ms: list[int]) -> None:
    world = World(seed)
    for key, after_ms in enumerate(afters_ms, 1):
        world.submit(key, after_ms)
    world.executed = set(range(1, len(afters_ms) + 1, 2))
    run_until_all_have_come(world, Node(world), until_ms=world.now_ms + YEAR_MS)
    assert sorted(world.lateness_ms()) == list(range(2, len(afters_ms) + 1, 2))
    assert all(log.committed == len(log.records) for log in world.logs.values())


def test_a_partition_whose_head_waits_is_read_once_an_hour_not_once_a_record() -> None:
    # Given: many that wait behind one head
    world = World(1, partitions=1)
    for key in range(1, 2001):
        world.submit(key, 3_700_000 + key)
    # When
    run_until_all_have_come(world, Node(world), until_ms=world.now_ms + 2 * YEAR_MS)
    # Then: each is read about once on each of its rungs (960 s thrice, 240 s thrice, 60 s, 15 s), though the heap takes only 50
    assert len(world.lateness_ms()) == 2000
    assert world.reads < 2000 * 12 * 2


def test_a_record_that_is_no_delayed_task_goes_to_the_dead_and_holds_up_nothing() -> None:
    world = World(1, partitions=1)
    world.append(NEAR, encode_key(7), b"rubbish")
    world.append(rung_topic(15), b"short", encode_delayed((5, "normal", b"7")))  # type: ignore[arg-type]
    world.submit(8, 1000)
    run_until_all_have_come(world, Node(world), until_ms=world.now_ms + YEAR_MS)
    assert [key for _, key in world.arrivals] == [8]
    assert len(world.dead) == 2
    assert any(b"magic bytes" in each for each in world.dead)


def test_entries_of_a_revoked_partition_are_forgotten() -> None:
    world = World(1, partitions=1)
    world.submit(1, 5000)
    node = Node(world)
    node.settle()
    (spot,) = [each for each in node.flow.spots() if each.topic == NEAR]
    assert node.flow.near == 1
    node.flow.revoked(spot)
    world.now_ms += 6000
    node.settle()
    assert node.flow.near == 0
    assert world.arrivals == []
    assert world.logs[NEAR, 0].committed == 0
