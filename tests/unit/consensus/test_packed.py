"""Packed rows and packed map beside a plain dict: same content through inserts, removals, freezing and loading; and small."""

from __future__ import annotations

import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.ledger.packed_map import PackedMap
from consensus.ledger.packed_rows import CHUNK_ROWS_MAX, PackedRows, Row

pytestmark = pytest.mark.unit


def check(rows: PackedRows, twin: dict[int, Row], rng: random.Random) -> None:
    assert list(rows.rows()) == [(key, *twin[key]) for key in sorted(twin)]
    assert len(rows) == len(twin)
    for key in rng.sample(range(20_000), 30):
        assert rows.get(key) == twin.get(key)
        stop = key + rng.choice([1, 10, 5000])
        inside = sorted(each for each in twin if key <= each < stop)
        assert rows.within(key, stop) == inside
        assert rows.any_within(key, stop) == bool(inside)
    sizes = [len(chunk.keys) for chunk in rows._chunks]
    assert all(0 < size <= CHUNK_ROWS_MAX for size in sizes)


@given(seed=st.integers(0, 2**32), spread=st.sampled_from([2_500, 20_000]))
def test_rows_hold_what_a_dict_holds(seed: int, spread: int) -> None:
    rng = random.Random(seed)
    rows, twin = PackedRows(), dict[int, Row]()
    for _ in range(12):
        keys = sorted(rng.sample(range(spread), rng.choice([1, 3, 200, 2000])))
        if rng.random() < 0.5 and twin:
            keys = sorted(rng.sample(sorted(twin), min(len(twin), len(keys))))
        removing = rng.random() < 0.45
        changes = [(key, None if removing else (rng.getrandbits(64), rng.getrandbits(64))) for key in keys]
        frozen, then = rows.freeze(), list(rows.freeze())
        rows.change(changes)
        assert list(frozen) == then
        for key, row in changes:
            twin.pop(key, None)
            if row is not None:
                twin[key] = row
        check(rows, twin, rng)
    loaded = PackedRows()
    loaded.load(list(rows.freeze()))
    check(loaded, twin, rng)


def test_rows_stay_below_32_bytes_each_also_after_most_were_removed() -> None:
    rng = random.Random(1)
    rows = PackedRows()
    keys = rng.sample(range(1 << 40), 60_000)
    for key in keys:
        rows.change([(key, (1, 2))])
    for key in keys[20_000:]:
        rows.change([(key, None)])
    held = sum(sys.getsizeof(chunk.keys) + sys.getsizeof(chunk.values) + 72 for chunk in rows._chunks)
    assert held / len(rows) < 32
    assert sum(map(len, rows.freeze())) / len(rows) < 25


def test_rows_whose_values_are_missing_are_refused() -> None:
    import msgpack

    with pytest.raises(ValueError, match="without their values"):
        PackedRows().load([msgpack.packb([bytes(16), bytes(24)])])


@given(seed=st.integers(0, 2**32))
def test_a_packed_map_holds_what_a_dict_holds(seed: int) -> None:
    rng = random.Random(seed)
    packed: PackedMap[str] = PackedMap()
    twin: dict[str, int] = {}
    frozen, then = packed.freeze(), dict(twin)
    for step in range(300):
        value = f"v{rng.randrange(100)}"
        if rng.random() < 0.6:
            packed.put(value, step)
            twin[value] = step
        else:
            packed.remove(value)
            twin.pop(value, None)
        assert packed.get(value) == twin.get(value)
        assert len(packed) == len(twin)
        if step == 150:
            frozen, then = packed.freeze(), dict(twin)
    loaded: PackedMap[str] = PackedMap()
    loaded.load(list(frozen))
    assert dict(loaded.items()) == then
    assert len(loaded) == len(then)
