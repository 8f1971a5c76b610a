"""The Raft log on disk: an append-only file of checksummed records, flushed before anything that it says leaves the node.

File: 8 bytes magic and version, then records: u32 length, u32 CRC32C (of what follows), u8 kind, u64 index, u64 term, payload.
Kinds: entry; cut (everything from `index` on is void: bytes are never rewritten in place). A torn last record is cut off at
start; a bad record with good ones behind it is damage and stops the node. The vote stands in its own file, replaced by rename.
The commit index is not stored: the leader tells it. Compaction writes what is left into a new file and renames it.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import crc32c
import msgpack

from consensus.errors import DataDirectoryError

MAGIC = b"QJRNL\x00\x00\x01"
_HEADER = struct.Struct("<II")
_BODY = struct.Struct("<BQQ")
KIND_ENTRY, KIND_CUT = 0, 1
RECORD_BYTES_MAX = 1 << 20
REJOIN = "move the directory away and start the node anew: it then gets the state from the others"

LogEntry = tuple[bytes, int, int]  # command, index, term: the library's order


def sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_file(path: Path, data: bytes) -> None:
    """Writes, flushes and renames, so that `path` holds either the old bytes or the new ones, whatever happens."""
    temporary = path.with_name(path.name + ".new")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


class Journal:
    """Method names in camel case are the library's. One thread uses it. Entries are kept in memory as well."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._vote_path = path.with_name("vote")
        self._entries: list[LogEntry] = []
        self._term, self._voted_for = self._read_vote()
        if path.exists():
            self._recover()
        else:
            self.setCurrentTerm(self._term, self._voted_for)  # first: a journal without a vote is refused
            replace_file(path, MAGIC)
        self._file = path.open("ab", buffering=0)
        self._pending = bytearray()
        self._unsynced = False

    def add(self, command: bytes | str, idx: int, term: int) -> None:
        data = command.encode("latin-1") if isinstance(command, str) else bytes(command)
        self._entries.append((data, idx, term))
        self._record(KIND_ENTRY, idx, term, data)

    def clear(self) -> None:
        if self._entries:
            self._record(KIND_CUT, 0, 0, b"")
        self._entries = []

    def deleteEntriesFrom(self, entryFrom: int) -> None:
        if entryFrom < len(self._entries):
            self._record(KIND_CUT, self._entries[entryFrom][1], 0, b"")
            del self._entries[entryFrom:]

    def deleteEntriesTo(self, entryTo: int) -> None:
        self._entries = self._entries[entryTo:]
        data = bytearray(MAGIC)
        for command, idx, term in self._entries:
            data += _record(KIND_ENTRY, idx, term, command)
        self._pending.clear()
        replace_file(self._path, bytes(data))
        self._file.close()
        self._file = self._path.open("ab", buffering=0)
        self._unsynced = False

    def sync(self) -> None:
        """After this everything added is on disk. Costs nothing when nothing was added. Raises `OSError`."""
        if self._pending:
            view = memoryview(bytes(self._pending))
            while view:
                view = view[self._file.write(view) or 0 :]
            self._pending.clear()
            self._unsynced = True
        if self._unsynced:
            os.fdatasync(self._file.fileno())
            self._unsynced = False

    def __getitem__(self, item: int) -> LogEntry:
        return self._entries[item]

    def __len__(self) -> int:
        return len(self._entries)

    def _destroy(self) -> None:
        try:
            self.sync()
        finally:
            self._file.close()

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:
        """Not stored: a stored one could pass the end of the log."""

    def getRaftCommitIndex(self) -> int:
        return 1

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:
        self._term, self._voted_for = term, votedForNodeId
        body = msgpack.packb([term, votedForNodeId])
        replace_file(self._vote_path, struct.pack("<I", crc32c.crc32c(body)) + body)

    def getCurrentTerm(self) -> int:
        return self._term

    def getVotedForNodeId(self) -> str | None:
        return self._voted_for

    def onOneSecondTimer(self) -> None:
        """The library's timer for lazy writes; nothing here is lazy."""

    def _record(self, kind: int, idx: int, term: int, payload: bytes) -> None:
        self._pending += _record(kind, idx, term, payload)

    def _read_vote(self) -> tuple[int, str | None]:
        if not self._vote_path.exists():
            if self._path.exists():
                raise DataDirectoryError(
                    f"{self._vote_path} is missing although a journal is there: {REJOIN}"
                )
            return 0, None
        data = self._vote_path.read_bytes()
        if len(data) < 5 or struct.unpack("<I", data[:4])[0] != crc32c.crc32c(data[4:]):
            raise DataDirectoryError(f"{self._vote_path} is damaged: {REJOIN}")
        term, voted_for = msgpack.unpackb(data[4:])
        return term, voted_for

    def _recover(self) -> None:
        data = self._path.read_bytes()
        if data[: len(MAGIC)] != MAGIC:
            raise DataDirectoryError(f"{self._path} is no journal of this version: {REJOIN}")
        place = len(MAGIC)
        while place < len(data):
            record = _read_record(data, place)
            if record is None:
                break
            size, kind, idx, term, payload = record
            if kind == KIND_ENTRY:
                self._entries.append((payload, idx, term))
            else:
                while self._entries and self._entries[-1][1] >= idx:
                    self._entries.pop()
            place += size
        if place == len(data):
            return
        if any(_read_record(data, later) is not None for later in range(place + 1, len(data))):
            raise DataDirectoryError(f"{self._path} is damaged at byte {place}: {REJOIN}")
        with self._path.open("r+b") as file:  # a torn tail: never acknowledged, as its flush had not returned
            file.truncate(place)
            os.fsync(file.fileno())


def _record(kind: int, idx: int, term: int, payload: bytes) -> bytes:
    body = _BODY.pack(kind, idx, term) + payload
    return _HEADER.pack(len(body), crc32c.crc32c(body)) + body


def _read_record(data: bytes, place: int) -> tuple[int, int, int, int, bytes] | None:
    """(bytes used, kind, index, term, payload), or None if no good record begins at `place`."""
    if place + _HEADER.size + _BODY.size > len(data):
        return None
    length, checksum = _HEADER.unpack_from(data, place)
    start = place + _HEADER.size
    if not _BODY.size <= length <= RECORD_BYTES_MAX or start + length > len(data):
        return None
    body = data[start : start + length]
    if crc32c.crc32c(body) != checksum:
        return None
    kind, idx, term = _BODY.unpack_from(body)
    return _HEADER.size + length, kind, idx, term, body[_BODY.size :]
