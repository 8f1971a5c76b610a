"""A set of 63-bit keys in shards of 2^26, so that no single step on it takes long.

pyroaring holds the interpreter's lock during a call. Over one 64-bit bitmap a copy of a billion keys takes 0.8 s; so does, nearly, one
shard per 2^32 keys, as dense keys all lie in the first (measured, half full: copy 95 ms, optimise and write 158 ms). A shard of 2^26 keys
takes 6 and 9 ms at its worst and far less than one when dense.

A shard of few keys is a sorted array: a million keys strewn over 10^12 take 6 bytes each, where bitmaps, with a container of its own for
nearly each key, take 77. Arrays are replaced at each change, never changed.

Freezing is copy-on-write: after `freeze` no bitmap may be changed in place until it was copied once. `in` may be asked by any thread.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import msgpack
from pyroaring import BitMap

from consensus.ledger.little_endian import from_bytes, to_bytes

SHARD_BITS = 26
SHARD_KEYS = 1 << SHARD_BITS
MASK = SHARD_KEYS - 1
PIECE_BYTES = 64 * 1024  # a piece of a snapshot ends at this size or number of shards, whichever comes first
PIECE_SHARDS = 256

SPARSE_KEYS_MAX = 2048  # of a shard that is an array: 8 kB, replaced in a microsecond or two
FEW_KEYS = 8  # below, one by one is faster than through a bitmap

Shard: TypeAlias = "BitMap | array[int]"  # low bits of the keys; as an array of 32-bit numbers, rising
Keys = dict[int, BitMap]  # shard number -> keys within the shard


def split(bounds: Sequence[int]) -> Keys:
    """`[first, stop, first, stop ...]`, rising, cut into shards."""
    if not bounds:
        return {}
    if bounds[0] >> SHARD_BITS == (bounds[-1] - 1) >> SHARD_BITS:
        return {bounds[0] >> SHARD_BITS: _within_shard(bounds, bounds[0] & ~MASK)}
    cut: dict[int, list[int]] = {}
    for first, stop in zip(bounds[::2], bounds[1::2], strict=True):
        while first < stop:
            number = first >> SHARD_BITS
            end = min(stop, (number + 1) << SHARD_BITS)
            cut.setdefault(number, []).extend((first, end))
            first = end
    return {number: _within_shard(part, number << SHARD_BITS) for number, part in cut.items()}


def _within_shard(bounds: Sequence[int], base: int) -> BitMap:
    if len(bounds) == 2:
        return BitMap(range(bounds[0] - base, bounds[1] - base))
    firsts = [first - base for first in bounds[::2]]
    if sum(bounds[1::2]) - sum(bounds[::2]) == len(firsts):  # single keys only
        return BitMap(firsts)
    keys = BitMap()
    for first, stop in zip(firsts, bounds[1::2], strict=True):
        keys.add_range(first, stop - base)
    return keys


def listed(keys: Keys) -> list[int]:
    """Rising, as `split` saw them."""
    return [(number << SHARD_BITS) + low for number in sorted(keys) for low in keys[number]]


def without(keys: Keys, others: Keys) -> Keys:
    return {
        number: rest
        for number, part in keys.items()
        if (rest := part - others[number] if number in others else part)
    }


class ShardedBitmap:
    __slots__ = ("_count", "_own", "_shards")

    def __init__(self) -> None:
        self._shards: dict[int, Shard] = {}
        self._own: set[int] = set()  # bitmaps that no frozen state refers to: they may be changed in place
        self._count = 0

    def __contains__(self, key: int) -> bool:
        shard = self._shards.get(key >> SHARD_BITS)
        return shard is not None and _has(shard, key & MASK)

    def __len__(self) -> int:
        return self._count

    def common(self, keys: Keys) -> Keys:
        """Those of `keys` that are in the set."""
        found: Keys = {}
        for number, part in keys.items():
            shard = self._shards.get(number)
            if shard is not None:
                if len(part) <= FEW_KEYS:
                    both = BitMap([low for low in part if _has(shard, low)])
                else:
                    both = (shard if isinstance(shard, BitMap) else BitMap(shard)) & part
                if both:
                    found[number] = both
        return found

    def found(self, keys: Sequence[int]) -> set[int]:
        """Those of `keys`, in any order, that are in the set: for many a tenth of the cost of asking one by one."""
        by_shard: dict[int, list[int]] = {}
        first, last = min(keys) >> SHARD_BITS, max(keys) >> SHARD_BITS
        if first == last:
            base = first << SHARD_BITS
            by_shard[first] = [key - base for key in keys]
        else:
            for key in keys:
                by_shard.setdefault(key >> SHARD_BITS, []).append(key & MASK)
        return set(listed(self.common({number: BitMap(lows) for number, lows in by_shard.items()})))

    def add(self, keys: Keys) -> None:
        """`keys` must not be in the set yet."""
        for number, part in keys.items():
            shard = self._shards.get(number)
            if isinstance(shard, BitMap):
                if number not in self._own:
                    shard = self._shards[number] = shard.copy()
                    self._own.add(number)
                shard |= part
            elif (0 if shard is None else len(shard)) + len(part) <= SPARSE_KEYS_MAX:
                self._shards[number] = part.to_array() if shard is None else _merged(shard, part)
            else:
                self._shards[number] = part.copy() if shard is None else BitMap(shard) | part
                self._own.add(number)
            self._count += len(part)

    def freeze(self) -> Iterator[bytes]:
        frozen = dict(self._shards)
        self._own = set()
        return _pieces(frozen)

    def load(self, pieces: Sequence[bytes]) -> None:
        shards: dict[int, Shard] = {}
        for piece in pieces:
            for number, is_bitmap, data in msgpack.unpackb(piece):
                shards[number] = BitMap.deserialize(data) if is_bitmap else from_bytes("I", data)
        self._own = {number for number, shard in shards.items() if isinstance(shard, BitMap)}
        self._count = sum(map(len, shards.values()))
        self._shards = shards


def _has(shard: Shard, low: int) -> bool:
    if isinstance(shard, BitMap):
        return low in shard
    place = bisect_left(shard, low)
    return place < len(shard) and shard[place] == low


def _merged(shard: array[int], part: BitMap) -> array[int]:
    if len(part) > FEW_KEYS:
        merged: array[int] = (BitMap(shard) | part).to_array()
        return merged
    merged = shard[:]
    for low in part:
        merged.insert(bisect_left(merged, low), low)
    return merged


def _pieces(shards: dict[int, Shard]) -> Iterator[bytes]:
    piece: list[tuple[int, bool, bytes]] = []
    size = 0
    for number in sorted(shards):
        shard = shards[number]
        if isinstance(shard, BitMap):
            shard.run_optimize()  # changes the form only; atomic for other threads, as it holds the interpreter's lock
            data = bytes(shard.serialize())
            piece.append((number, True, data))
        else:
            data = to_bytes(shard)
            piece.append((number, False, data))
        size += len(data)
        if size >= PIECE_BYTES or len(piece) >= PIECE_SHARDS:
            yield bytes(msgpack.packb(piece))
            piece, size = [], 0
    if piece:
        yield bytes(msgpack.packb(piece))
