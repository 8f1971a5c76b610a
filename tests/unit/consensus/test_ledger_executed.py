"""The executed set: final marks with an outcome, in shards that can be frozen at any moment without a long step."""

from __future__ import annotations

import random

import pytest

from consensus.ledger.executed import Executed, Outcome
from consensus.ledger.sharded_bitmap import SHARD_KEYS, ShardedBitmap, listed, split, without

pytestmark = pytest.mark.unit


def bounds(*ranges: range) -> list[int]:
    return [edge for each in ranges for edge in (each.start, each.stop)]


def test_the_first_outcome_stays() -> None:
    executed = Executed()
    assert executed.mark(split(bounds(range(1, 5))), Outcome.DEAD) == {}
    already = executed.mark(split(bounds(range(3, 8))), Outcome.DONE)
    assert listed(already) == [3, 4]
    assert [executed.outcome(key) for key in (1, 4, 5, 8)] == [Outcome.DEAD, Outcome.DEAD, Outcome.DONE, None]
    assert executed.counts() == {
        Outcome.DONE: 3,
        Outcome.DEAD: 4,
        Outcome.CANCELLED: 0,
        Outcome.ABANDONED: 0,
    }


def test_runs_are_cut_at_the_edges_of_shards() -> None:
    across = bounds(
        range(5, 6), range(SHARD_KEYS - 2, 3 * SHARD_KEYS + 2), range(9 * SHARD_KEYS, 9 * SHARD_KEYS + 1)
    )
    keys = split(across)
    assert {number: len(part) for number, part in keys.items()} == {
        0: 3,
        1: SHARD_KEYS,
        2: SHARD_KEYS,
        3: 2,
        9: 1,
    }
    assert listed(without(keys, split(bounds(range(0, 3 * SHARD_KEYS))))) == [
        3 * SHARD_KEYS,
        3 * SHARD_KEYS + 1,
        9 * SHARD_KEYS,
    ]


@pytest.mark.parametrize("gap", [1, 2, 5000])
def test_single_keys_and_runs_give_the_same_set(gap: int) -> None:
    firsts = range(7, 7 + 300 * gap, gap)
    single = split(bounds(*(range(first, first + 1) for first in firsts)))
    mixed = split(bounds(range(3, 5), *(range(first, first + 1) for first in firsts)))
    assert listed(single) == list(firsts)
    assert listed(mixed) == [3, 4, *firsts]


def test_a_frozen_set_is_what_it_was_though_keys_were_added_before_it_was_written() -> None:
    keys = ShardedBitmap()
    rng = random.Random(1)
    for _ in range(20):
        keys.add(
            without(some := split(bounds(range(at := rng.randrange(10**9), at + 1000))), keys.common(some))
        )
    then, now = list(keys.freeze()), keys.freeze()
    for _ in range(20):
        keys.add(
            without(some := split(bounds(range(at := rng.randrange(10**9), at + 1000))), keys.common(some))
        )
    assert list(now) == then
    loaded, current = ShardedBitmap(), ShardedBitmap()
    loaded.load(then)
    current.load(list(keys.freeze()))
    assert len(current) == len(keys) > len(loaded)


def test_many_keys_are_found_at_once_as_one_by_one() -> None:
    keys = ShardedBitmap()
    keys.add(split(bounds(range(5, 9), range(SHARD_KEYS - 3, SHARD_KEYS + 5000))))
    for asked in (
        [7, 5, 9, 7],
        [SHARD_KEYS + 1, SHARD_KEYS - 1, 3, 8],
        [10**15],
        list(range(SHARD_KEYS - 100, SHARD_KEYS + 100)),
    ):
        assert keys.found(asked) == {key for key in asked if key in keys}


def test_a_loaded_set_goes_on() -> None:
    keys, loaded = ShardedBitmap(), ShardedBitmap()
    keys.add(split(bounds(range(5, 10))))
    loaded.load(list(keys.freeze()))
    loaded.add(split(bounds(range(10, 12))))
    assert (len(loaded), 11 in loaded, 12 in loaded, 4 in loaded) == (7, True, False, False)
    assert 11 not in keys


def test_an_outcome_of_a_later_version_is_refused_not_dropped() -> None:
    import msgpack

    with pytest.raises(ValueError, match="vanished"):
        Executed().load([msgpack.packb(["vanished", b""])], 1)
