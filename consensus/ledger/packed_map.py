"""A map of text or numbers to small msgpack values, packed: many shards, each one immutable bytes object.

A shard is the msgpack of a small dict. It is unpacked to be read and packed again to be changed, some microseconds while it has few
entries; 2^16 shards hold a million with about 15 each, 60 to 80 bytes an entry where dicts of tuples take 250. As a shard is never
changed in place, a frozen state is a copy of the table of shards, and any thread may read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar
from zlib import crc32

import msgpack

SHARDS = 1 << 16
PIECE_BYTES = 64 * 1024
PIECE_SHARDS = 512

Key = TypeVar("Key", str, int)


def shard_of(key: str | int) -> int:
    """The same in all processes, unlike `hash`."""
    return crc32(key.encode() if isinstance(key, str) else key.to_bytes(8, "big")) % SHARDS


class PackedMap(Generic[Key]):
    __slots__ = ("_count", "_shards")

    def __init__(self) -> None:
        self._shards: dict[int, bytes] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def get(self, key: Key) -> Any:
        """None when it is not there."""
        return self.shard(shard_of(key)).get(key)

    def put(self, key: Key, value: Any) -> None:
        number = shard_of(key)
        shard = self.shard(number)
        self._count += key not in shard
        shard[key] = value
        self._shards[number] = bytes(msgpack.packb(shard))

    def remove(self, key: Key) -> None:
        number = shard_of(key)
        shard = self.shard(number)
        if shard.pop(key, None) is not None:
            self._count -= 1
            if shard:
                self._shards[number] = bytes(msgpack.packb(shard))
            else:
                del self._shards[number]

    def shard(self, number: int) -> dict[Key, Any]:
        """A copy; any thread."""
        data = self._shards.get(number)
        return {} if data is None else msgpack.unpackb(data, strict_map_key=False)

    def items(self) -> Iterator[tuple[Key, Any]]:
        """All, as of the first step; any thread."""
        for data in list(self._shards.values()):
            yield from msgpack.unpackb(data, strict_map_key=False).items()

    def freeze(self) -> Iterator[bytes]:
        return _pieces(dict(self._shards))

    def load(self, pieces: Sequence[bytes]) -> None:
        shards = {number: data for piece in pieces for number, data in msgpack.unpackb(piece)}
        self._count = sum(len(msgpack.unpackb(data, strict_map_key=False)) for data in shards.values())
        self._shards = shards


def _pieces(shards: dict[int, bytes]) -> Iterator[bytes]:
    piece: list[tuple[int, bytes]] = []
    size = 0
    for number, data in shards.items():  # in the order of the commands that made them: alike on all nodes
        piece.append((number, data))
        size += len(data)
        if size >= PIECE_BYTES or len(piece) >= PIECE_SHARDS:
            yield bytes(msgpack.packb(piece))
            piece, size = [], 0
    if piece:
        yield bytes(msgpack.packb(piece))
