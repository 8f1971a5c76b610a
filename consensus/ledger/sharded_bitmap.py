"""A set of 63-bit keys in shards of 2^26, so that no single step on it takes long.

pyroaring holds the interpreter's lock during a call. Over one 64-bit bitmap a copy of a billion keys takes 0.8 s; so does, nearly, one
shard per 2^32 keys, as dense keys all lie in the first (measured, half full: copy 95 ms, optimise and write 158 ms). A shard of 2^26 keys
takes 6 and 9 ms at its worst, far below one when dense, and a million keys strewn over 10^12 make 15,000 shards, still 10 MB.

Freezing is copy-on-write: after `freeze` no shard may be changed in place until it was copied once. `in` may be asked by any thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgpack
from pyroaring import BitMap

SHARD_BITS = 26
SHARD_KEYS = 1 << SHARD_BITS
MASK = SHARD_KEYS - 1
PIECE_BYTES = 64 * 1024  # a piece of a snapshot ends at this size or number of shards, whichever comes first
PIECE_SHARDS = 256

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
        self._shards: dict[int, BitMap] = {}
        self._own: set[int] = set()  # shards that no frozen state refers to: they may be changed in place
        self._count = 0

    def __contains__(self, key: int) -> bool:
        shard = self._shards.get(key >> SHARD_BITS)
        return shard is not None and (key & MASK) in shard

    def __len__(self) -> int:
        return self._count

    def common(self, keys: Keys) -> Keys:
        """Those of `keys` that are in the set."""
        found: Keys = {}
        for number, part in keys.items():
            shard = self._shards.get(number)
            if shard is not None and (both := shard & part):
                found[number] = both
        return found

    def add(self, keys: Keys) -> None:
        """`keys` must not be in the set yet."""
        for number, part in keys.items():
            shard = self._shards.get(number)
            if shard is None:
                shard = self._shards[number] = BitMap()
            elif number not in self._own:
                shard = self._shards[number] = shard.copy()
            self._own.add(number)
            shard |= part
            self._count += len(part)

    def freeze(self) -> Iterator[bytes]:
        frozen = dict(self._shards)
        self._own = set()
        return _pieces(frozen)

    def load(self, pieces: Sequence[bytes]) -> None:
        shards = {
            number: BitMap.deserialize(data) for piece in pieces for number, data in msgpack.unpackb(piece)
        }
        self._own = set(shards)
        self._count = sum(map(len, shards.values()))
        self._shards = shards


def _pieces(shards: dict[int, BitMap]) -> Iterator[bytes]:
    piece: list[tuple[int, bytes]] = []
    size = 0
    for number in sorted(shards):
        shard = shards[number]
        shard.run_optimize()  # changes the form only; atomic for other threads, as it holds the interpreter's lock
        data = bytes(shard.serialize())
        piece.append((number, data))
        size += len(data)
        if size >= PIECE_BYTES or len(piece) >= PIECE_SHARDS:
            yield bytes(msgpack.packb(piece))
            piece, size = [], 0
    if piece:
        yield bytes(msgpack.packb(piece))
