"""Rows of three 64-bit numbers, (key, a, b), sorted by key, in about 26 bytes each: a bad hour can leave a million of them.

A list of chunks of at most 512 rows; a chunk is two arrays and is never changed once it stands in the list: a change makes new arrays
(4 and 8 kB are copied in a microsecond). So a frozen state is a copy of the list, and other threads may read a chunk at any time.
A dict of objects would take 200 bytes a row, one large array would move megabytes at each insert.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgpack

from consensus.ledger.little_endian import from_bytes, to_bytes

CHUNK_ROWS_MAX = 512
CHUNK_ROWS_FILLED = 384  # what a chunk that is split or loaded gets: room for the next inserts
CHUNK_ROWS_MIN = 128  # smaller ones join a neighbour, so that many removals leave no heap of tiny chunks
PIECE_CHUNKS = 16

Row = tuple[int, int]
Change = tuple[int, Row | None]


class Chunk(NamedTuple):
    keys: array[int]
    values: array[int]  # a and b of each key in turn


class PackedRows:
    __slots__ = ("_chunks", "_count", "_firsts")

    def __init__(self) -> None:
        self._chunks: list[Chunk] = []
        self._firsts: list[int] = []  # first key of each chunk
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def get(self, key: int) -> Row | None:
        """On the thread that changes the rows; others: `rows`."""
        at = bisect_right(self._firsts, key) - 1
        if at < 0:
            return None
        keys, values = self._chunks[at]
        place = bisect_left(keys, key)
        if place == len(keys) or keys[place] != key:
            return None
        return values[2 * place], values[2 * place + 1]

    def within(self, first: int, stop: int) -> list[int]:
        """The keys from `first` to below `stop`."""
        found: list[int] = []
        at = max(bisect_right(self._firsts, first) - 1, 0)
        while at < len(self._chunks) and self._firsts[at] < stop:
            keys = self._chunks[at].keys
            found += keys[bisect_left(keys, first) : bisect_left(keys, stop)]
            at += 1
        return found

    def any_within(self, first: int, stop: int) -> bool:
        at = max(bisect_right(self._firsts, first) - 1, 0)
        for chunk in self._chunks[at : at + 2]:
            place = bisect_left(chunk.keys, first)
            if place < len(chunk.keys):
                return chunk.keys[place] < stop
        return False

    def change(self, changes: Sequence[Change]) -> None:
        """Puts each row, or removes it when it is None; keys strictly rising."""
        at_change = 0
        while at_change < len(changes):
            at = max(bisect_right(self._firsts, changes[at_change][0]) - 1, 0)
            if self._chunks:
                keys, values = self._chunks[at].keys[:], self._chunks[at].values[:]
            else:
                keys, values = array("Q"), array("Q")
            before = len(keys)
            end = self._firsts[at + 1] if at + 1 < len(self._firsts) else None
            while at_change < len(changes) and (end is None or changes[at_change][0] < end):
                _change(keys, values, *changes[at_change])
                at_change += 1
            self._count += len(keys) - before
            self._put(at, keys, values)

    def rows(self) -> Iterator[tuple[int, int, int]]:
        """All (key, a, b) as of the first step; any thread."""
        for keys, values in list(self._chunks):
            yield from zip(keys, values[::2], values[1::2], strict=True)

    def freeze(self) -> Iterator[bytes]:
        return _pieces(list(self._chunks))

    def load(self, pieces: Sequence[bytes]) -> None:
        chunks: list[Chunk] = []
        for piece in pieces:
            key_bytes, value_bytes = msgpack.unpackb(piece)
            chunks += _cut(from_bytes("Q", key_bytes), from_bytes("Q", value_bytes))
        if any(len(values) != 2 * len(keys) for keys, values in chunks):
            raise ValueError("a piece of packed rows has keys without their values")
        self._firsts = [chunk.keys[0] for chunk in chunks]
        self._count = sum(len(chunk.keys) for chunk in chunks)
        self._chunks = chunks

    def _put(self, at: int, keys: array[int], values: array[int]) -> None:
        """In place of chunk `at`; joined with a neighbour when small, cut when large, gone when empty."""
        count = len(keys)
        chunks = len(self._chunks)
        if chunks and 0 < count <= CHUNK_ROWS_MAX and (count >= CHUNK_ROWS_MIN or chunks == 1):
            self._chunks[at], self._firsts[at] = Chunk(keys, values), keys[0]  # by far the most changes
            return
        end = at + 1
        if count < CHUNK_ROWS_MIN:
            for neighbour in (at - 1, at + 1):
                if 0 <= neighbour < len(self._chunks):
                    other = self._chunks[neighbour]
                    if len(other.keys) + count <= CHUNK_ROWS_FILLED:
                        if neighbour < at:
                            at, keys, values = neighbour, other.keys + keys, other.values + values
                        else:
                            end, keys, values = neighbour + 1, keys + other.keys, values + other.values
                        break
        new = [Chunk(keys, values)] if 0 < len(keys) <= CHUNK_ROWS_MAX else _cut(keys, values)
        self._chunks[at:end] = new
        self._firsts[at:end] = [chunk.keys[0] for chunk in new]


def _change(keys: array[int], values: array[int], key: int, row: Row | None) -> None:
    if row is not None and (not keys or key > keys[-1]):  # the usual case: keys are handed out rising
        keys.append(key)
        values.extend(row)
        return
    place = bisect_left(keys, key)
    there = place < len(keys) and keys[place] == key
    if row is None:
        if there:
            del keys[place]
            del values[2 * place : 2 * place + 2]
    elif there:
        values[2 * place], values[2 * place + 1] = row
    else:
        keys.insert(place, key)
        values[2 * place : 2 * place] = array("Q", row)


def _cut(keys: array[int], values: array[int]) -> list[Chunk]:
    return [
        Chunk(keys[start : start + CHUNK_ROWS_FILLED], values[2 * start : 2 * (start + CHUNK_ROWS_FILLED)])
        for start in range(0, len(keys), CHUNK_ROWS_FILLED)
    ]


def _pieces(chunks: list[Chunk]) -> Iterator[bytes]:
    for start in range(0, len(chunks), PIECE_CHUNKS):
        part = chunks[start : start + PIECE_CHUNKS]
        keys = b"".join(to_bytes(chunk.keys) for chunk in part)
        values = b"".join(to_bytes(chunk.values) for chunk in part)
        yield bytes(msgpack.packb([keys, values]))
