"""The bytes of the files, without any file: headers, small sealed bodies, journal records, and the scan that judges a journal.

Every file begins with a header: magic, format version, header length, msgpack `[cluster, node, ...]`, zeros up to a multiple of
8, CRC32C. Every format to come keeps this frame, so that a newer version is named and not taken for damage.

A journal record is 8-byte aligned: u32 length, u32 CRC32C, u64 index, u64 term, u64 batch, u8 kind, a 3-byte mark, payload.
*Batch* is the byte at which the record's batch begins: all that stands before it was synced when the batch was begun. So a good
record proves that everything before its batch had reached the disk, and a *seal*, written right after a sync, proves the batch
that was just synced. The scan goes on behind bad bytes, finding records by their mark: if nothing there proves that the bad bytes
were synced, they are a torn tail (pages of one batch land in any order) and nobody was ever told of them; else it is damage.
The CRC begins with a number made from the file's header and the record's place: a record of another file, another place
or inside a payload is never taken for one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgpack
from crc32c import crc32c

from consensus.errors import DataDirectoryError

FORMAT_VERSION = 2  # 1 was one file `journal` and one file `vote`, without a header
RECORD_BYTES_MAX = 1 << 24  # an entry stays below 64 KiB; more than this is a length that rotted
REJOIN = "move the data directory away and start the node anew: it then gets everything from the other nodes"

LogEntry = tuple[bytes, int, int]  # command, index, term: the library's order

KIND_ENTRY, KIND_CUT, KIND_SEAL = 0, 1, 2
_MARK = b"QJR"
_MARK_NUMBER = int.from_bytes(_MARK, "little")
_RECORD = struct.Struct("<IIQQQI")
_CHECKED = struct.Struct("<QQQI")
_LENGTHS = struct.Struct("<II")
_MARK_OFFSET = _RECORD.size - len(_MARK)
_PADDING = tuple(bytes(count) for count in range(8))
_HEADER = struct.Struct("<4sHH")
_CRC = struct.Struct("<I")
_32_BITS = 0xFFFFFFFF


class FileKind(Enum):
    IDENTITY = b"QIDN"
    SEGMENT = b"QJRN"
    VOTE = b"QVOT"
    SNAPSHOT = b"QSNP"


class Damaged(ValueError):
    """These bytes are not what was written. `place` is the byte where that shows."""

    def __init__(self, place: int, why: str) -> None:
        super().__init__(why)
        self.place = place


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    size_bytes: int
    cluster: str
    node: str
    extra: tuple[Any, ...]
    seed: int  # begins the CRC of all that follows in this file


def encode_header(kind: FileKind, *, cluster: str, node: str, extra: tuple[Any, ...] = ()) -> bytes:
    body = bytes(msgpack.packb([cluster, node, *extra]))
    size = -(-(_HEADER.size + len(body) + _CRC.size) // 8) * 8
    data = (_HEADER.pack(kind.value, FORMAT_VERSION, size) + body).ljust(size - _CRC.size, b"\0")
    return data + _CRC.pack(crc32c(data))


def read_header(data: bytes, kind: FileKind, *, name: str, cluster: str, node: str | None) -> Header:
    """`node` None: any node's. Raises `Damaged`, or `DataDirectoryError` for another version, cluster or node."""
    if len(data) < _HEADER.size:
        raise Damaged(0, "the header is cut short")
    magic, version, size = _HEADER.unpack_from(data)
    if magic != kind.value or size > len(data) or size < _HEADER.size + _CRC.size:
        raise Damaged(0, "it does not begin with its header")
    end = size - _CRC.size
    checksum = crc32c(data[:end])
    if _CRC.unpack_from(data, end)[0] != checksum:
        raise Damaged(0, "the checksum of its header does not match")
    if version > FORMAT_VERSION:
        raise DataDirectoryError(
            f"{name} has format {version}, this program knows formats up to {FORMAT_VERSION}: "
            f"start the newer program, or {REJOIN}"
        )
    unpacker = msgpack.Unpacker()
    unpacker.feed(data[_HEADER.size : end])
    found_cluster, found_node, *extra = unpacker.unpack()
    if found_cluster != cluster:
        raise DataDirectoryError(
            f"{name} belongs to cluster {found_cluster!r}, not {cluster!r}: use another directory"
        )
    if node is not None and found_node != node:
        raise DataDirectoryError(f"{name} belongs to node {found_node}, not {node}: use another directory")
    return Header(
        size_bytes=size, cluster=found_cluster, node=found_node, extra=tuple(extra), seed=crc32c(data[:size])
    )


def seal_body(value: object) -> bytes:
    """A small value with its length and checksum; the seed of the file's header is not needed for what is never moved."""
    body = msgpack.packb(value)
    return _LENGTHS.pack(len(body), crc32c(body)) + bytes(body)


def open_body(data: bytes, place: int) -> Any:
    """Raises `Damaged`."""
    start = place + _LENGTHS.size
    if start > len(data):
        raise Damaged(place, "it is cut short")
    length, checksum = _LENGTHS.unpack_from(data, place)
    body = data[start : start + length]
    if length == 0 or len(body) != length or crc32c(body) != checksum:
        raise Damaged(place, "the checksum does not match")
    return msgpack.unpackb(body)


def record_size_bytes(payload_bytes: int) -> int:
    return (_RECORD.size + payload_bytes + 7) & ~7


def encode_record(
    kind: int, index: int, term: int, payload: bytes, *, batch: int, place: int, seed: int
) -> bytes:
    checked = _CHECKED.pack(index, term, batch, kind | _MARK_NUMBER << 8) + payload
    checksum = crc32c(checked, (seed + place) & _32_BITS)
    return _LENGTHS.pack(len(payload), checksum) + checked + _PADDING[-(_RECORD.size + len(payload)) & 7]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What stands in one segment. Bytes from `good_bytes` on are bad (or there are none)."""

    good_bytes: int
    last_index: int  # highest index of any entry in it, also of entries cut later; 0 if none
    sealed: bool  # the last good record is a seal
    proof: (
        int | None
    )  # a good record behind the bad bytes that proves them synced: this is damage, not a torn tail


def scan(data: bytes, header: Header, entries: list[LogEntry]) -> Scan:
    """Replays the records of one segment upon `entries`. Raises `Damaged` for good records that contradict each other.

    About a microsecond a record, so it avoids calls: 64 MiB of small entries are read in well under a second.
    """
    place, size, seed = header.size_bytes, len(data), header.seed
    last_index, kind = 0, KIND_ENTRY
    unpack, header_bytes, view, append = _RECORD.unpack_from, _RECORD.size, memoryview(data), entries.append
    expected = entries[-1][1] + 1 if entries else None
    while place + header_bytes <= size:
        length, checksum, index, term, _, word = unpack(data, place)
        start = place + header_bytes
        end = start + length
        following = (end + 7) & -8
        if word >> 8 != _MARK_NUMBER or length > RECORD_BYTES_MAX or following > size:
            break
        if crc32c(view[place + 8 : end], (seed + place) & _32_BITS) != checksum:
            break
        kind = word & 0xFF
        if kind == KIND_ENTRY:
            if index != expected and expected is not None:
                raise Damaged(place, f"entry {index} follows entry {expected - 1}")
            append((data[start:end], index, term))
            expected = index + 1
            if index > last_index:
                last_index = index
        elif kind == KIND_CUT:
            if entries:
                del entries[max(0, index - entries[0][1]) :]
            expected = entries[-1][1] + 1 if entries else None
        elif kind != KIND_SEAL:
            raise Damaged(place, f"its record has the unknown kind {kind}")
        place = following
    proof = _find_proof(data, place, seed) if place < size else None
    return Scan(good_bytes=place, last_index=last_index, sealed=kind == KIND_SEAL, proof=proof)


def _find_proof(data: bytes, bad: int, seed: int) -> int | None:
    """The place of a good record behind `bad` whose batch began behind `bad`."""
    view = memoryview(data)
    found = data.find(_MARK, bad)
    while found >= 0:
        place = found - _MARK_OFFSET
        if place >= bad and place % 8 == 0:
            length, checksum, _, _, batch, _ = _RECORD.unpack_from(data, place)
            end = place + _RECORD.size + length
            plausible = bad < batch and length <= RECORD_BYTES_MAX and end <= len(data)
            if plausible and crc32c(view[place + 8 : end], (seed + place) & _32_BITS) == checksum:
                return place
        found = data.find(_MARK, found + 1)
    return None
