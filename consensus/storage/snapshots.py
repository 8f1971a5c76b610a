"""Snapshots: the ledger's tables with the last two log entries, checksummed section by section and as a whole; two are kept.

File `snapshot-<index>-<term>`: header, then sections (u64 length, u32 CRC32C, u16 length of the name, u16 version, name, data), the first
of them `head` (last entry, the one before, members), at the end the SHA-256 of all before it. It is written under a temporary name, synced,
renamed, and the directory synced. Its header names the node that wrote it: another node of the cluster, if it was received.
A newest one that is damaged gives way to the older, to which the journal reaches back; with none left the node is refused a start.
Readers pin a file, so that it can be sent to the end though newer ones come. Any thread may call the store.
"""

from __future__ import annotations

import hashlib
import re
import struct
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgpack
from crc32c import crc32c

from consensus.errors import DataDirectoryError
from consensus.storage.disk import Disk
from consensus.storage.records import REJOIN, Damaged, FileKind, LogEntry, encode_header, read_header
from consensus.storage.temporary_file import TemporaryFile

KEPT = 2  # the older one serves when the newest rots
WRITE_BYTES = 1 << 20  # at once; the file syncs itself on the way
SECTION_VERSION = 1
_SECTION = struct.Struct("<QIHH")
_CHECKED = struct.Struct("<QHH")
_DIGEST_BYTES = hashlib.sha256().digest_size
_HEAD = "head"
_NAME = re.compile(r"snapshot-(\d{20})-(\d{20})")
_TEMPORARY = re.compile(r"snapshot-(writing|receiving)-\d+\.tmp")


def is_snapshot(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotHead:
    last: LogEntry
    before: LogEntry
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    head: SnapshotHead
    sections: list[tuple[str, bytes]]


class SnapshotStore:
    def __init__(self, disk: Disk, *, cluster: str, node: str) -> None:
        self.damaged: list[str] = []
        self._disk, self._cluster, self._node = disk, cluster, node
        self._lock = threading.Lock()
        self._bad: set[str] = set()
        self._pins: Counter[str] = Counter()
        self._temporary = 0
        self._receiver: SnapshotReceiver | None = None
        for name in disk.names():
            if _TEMPORARY.fullmatch(name):
                disk.remove(name)
        with self._lock:
            self._prune()

    def newest(self) -> Snapshot | None:
        """The newest whole one; damaged ones are told in `damaged`. Raises `DataDirectoryError` if there are files and none is whole."""
        with self._lock:
            names = self._names()
            for name in reversed(names):
                try:
                    return decode_snapshot(self._disk.read(name), name, self._cluster)
                except Damaged as damage:
                    self._bad.add(name)
                    self.damaged.append(f"{name} is damaged at byte {damage.place} ({damage}).")
            if self._bad:
                raise DataDirectoryError(f"{' '.join(self.damaged)} There is no other: {REJOIN}")
            return None

    def older_index(self) -> int | None:
        """The index of the older of the two that are kept: the journal must reach back to it. None: there is only one, or none."""
        with self._lock:
            names = self._names()
            return _index_and_term(names[-KEPT])[0] if len(names) >= KEPT else None

    def writer(self, head: SnapshotHead) -> SnapshotWriter:
        header = encode_header(FileKind.SNAPSHOT, cluster=self._cluster, node=self._node)
        return SnapshotWriter(self._disk, self._next_temporary("writing"), header, head, self._install)

    def newest_file(self) -> SnapshotFile | None:
        """For sending. Close it: until then it is not removed."""
        with self._lock:
            names = self._names()
            if not names:
                return None
            name = names[-1]
            self._pins[name] += 1
        size = self._disk.size_bytes(name)
        digest = self._disk.read(name, size - _DIGEST_BYTES, _DIGEST_BYTES)
        index, term = _index_and_term(name)
        return SnapshotFile(self._disk, name, index, term, size, digest, self._unpin)

    def receiver(self, index: int, term: int, size_bytes: int, sha256: bytes) -> SnapshotReceiver:
        """The one that was begun for the same file, with its offset, or a new one. There is never more than one."""
        wanted = (index, term, size_bytes, sha256)
        if self._receiver is None or self._receiver.wanted != wanted or self._receiver.ended:
            if self._receiver is not None:
                self._receiver.abort()
            self._receiver = SnapshotReceiver(
                self._disk, self._next_temporary("receiving"), wanted, self._cluster, self._install
            )
        return self._receiver

    # -- inside

    def _names(self) -> list[str]:
        return sorted(name for name in self._disk.names() if is_snapshot(name) and name not in self._bad)

    def _next_temporary(self, purpose: str) -> str:
        with self._lock:
            self._temporary += 1
            return f"snapshot-{purpose}-{self._temporary}.tmp"

    def _install(self, temporary: str, last: LogEntry) -> None:
        name = f"snapshot-{last[1]:020d}-{last[2]:020d}"
        with self._lock:
            self._disk.rename(temporary, name)
            self._disk.sync_directory()
            self._bad.discard(name)
            for bad in self._bad:
                self._disk.remove(bad)
            self._bad.clear()
            self._prune()

    def _unpin(self, name: str) -> None:
        with self._lock:
            self._pins[name] -= 1
            self._prune()

    def _prune(self) -> None:
        for name in self._names()[:-KEPT]:
            if self._pins[name] <= 0:
                del self._pins[name]
                self._disk.remove(name)


class SnapshotWriter:
    """One thread at a time. Any `OSError` (`DiskFull` too) removes the file; sections after that are ignored."""

    def __init__(
        self,
        disk: Disk,
        name: str,
        header: bytes,
        head: SnapshotHead,
        install: Callable[[str, LogEntry], None],
    ) -> None:
        self._head, self._install = head, install
        self._hash = hashlib.sha256()
        self._file = TemporaryFile(disk, name)
        self._append(header)
        body = bytes(msgpack.packb([list(head.last), list(head.before), list(head.members)]))
        self.write_section(_HEAD, body)

    def write_section(self, name: str, data: bytes) -> None:
        encoded = name.encode()
        checked = _CHECKED.pack(len(data), len(encoded), SECTION_VERSION) + encoded
        checksum = crc32c(data, crc32c(checked))
        self._append(_SECTION.pack(len(data), checksum, len(encoded), SECTION_VERSION) + encoded)
        for start in range(0, len(data), WRITE_BYTES):
            self._append(data[start : start + WRITE_BYTES])

    def finish(self) -> None:
        """Raises `DiskFull` or `OSError`; then there is no snapshot."""
        if self._file.ended:
            raise ValueError("this snapshot was given up")
        self._append(self._hash.digest())
        self._file.install(lambda name: self._install(name, self._head.last))

    def abort(self) -> None:
        self._file.remove()

    def _append(self, data: bytes) -> None:
        if not self._file.ended:
            self._hash.update(data)
            try:
                self._file.append(data)
            except OSError:
                self._file.remove()
                raise


class SnapshotFile:
    """A whole snapshot to be read in parts, kept until `close`. `sha256` is that of all but its last 32 bytes, which hold it."""

    def __init__(
        self,
        disk: Disk,
        name: str,
        index: int,
        term: int,
        size_bytes: int,
        sha256: bytes,
        unpin: Callable[[str], None],
    ) -> None:
        self.name, self.index, self.term = name, index, term
        self.size_bytes, self.sha256 = size_bytes, sha256
        self._disk, self._unpin = disk, unpin
        self._closed = False

    def read(self, offset: int, size_bytes: int) -> bytes:
        return self._disk.read(self.name, offset, size_bytes)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._unpin(self.name)


class SnapshotReceiver:
    """`offset`: so many bytes are here; it survives a reconnect, not the process."""

    def __init__(
        self,
        disk: Disk,
        name: str,
        wanted: tuple[int, int, int, bytes],
        cluster: str,
        install: Callable[[str, LogEntry], None],
    ) -> None:
        self.wanted = wanted
        self._disk, self._cluster, self._install = disk, cluster, install
        self._file = TemporaryFile(disk, name)

    @property
    def offset(self) -> int:
        return self._file.size_bytes

    @property
    def ended(self) -> bool:
        return self._file.ended

    def write(self, offset: int, chunk: bytes) -> None:
        """A chunk that does not begin at `offset` is ignored: it came twice, or one before it was lost."""
        if offset != self.offset or self.ended:
            return
        if offset + len(chunk) > self.wanted[2]:
            raise ValueError(f"a snapshot of {self.wanted[2]} bytes was announced, more came")
        self._file.append(chunk)

    def finish(self) -> Snapshot:
        """Verified, synced, renamed. Raises `ValueError` if it is not what was announced; it is thrown away then."""
        index, term, size_bytes, sha256 = self.wanted
        try:
            data = b"" if self.ended else self._disk.read(self._file.name)
            if len(data) != size_bytes or data[-_DIGEST_BYTES:] != sha256:
                raise Damaged(0, "it is not what was announced")
            snapshot = decode_snapshot(data, "the snapshot", self._cluster)
            if snapshot.head.last[1:] != (index, term):
                raise Damaged(0, f"it ends at entry {snapshot.head.last[1]}, not {index}")
        except (ValueError, DataDirectoryError) as error:
            self._file.remove()
            raise ValueError(f"a received snapshot was thrown away: {error}") from error
        self._file.install(lambda name: self._install(name, snapshot.head.last))
        return snapshot

    def abort(self) -> None:
        self._file.remove()


def decode_snapshot(data: bytes, name: str, cluster: str) -> Snapshot:
    """Raises `Damaged`, or `DataDirectoryError` for another cluster or a newer format."""
    header = read_header(data, FileKind.SNAPSHOT, name=name, cluster=cluster, node=None)
    end = len(data) - _DIGEST_BYTES
    if end < header.size_bytes:
        raise Damaged(len(data), "it is cut short")
    sections: list[tuple[str, bytes]] = []
    place = header.size_bytes
    while place < end:
        section, place = _read_section(data, place, end)
        sections.append(section)
    if hashlib.sha256(memoryview(data)[:end]).digest() != data[end:]:
        raise Damaged(end, "its SHA-256 does not match")
    if not sections or sections[0][0] != _HEAD:
        raise Damaged(header.size_bytes, "it does not begin with its head")
    return Snapshot(head=_decode_head(msgpack.unpackb(sections[0][1])), sections=sections[1:])


def _read_section(data: bytes, place: int, end: int) -> tuple[tuple[str, bytes], int]:
    name_start = place + _SECTION.size
    if name_start > end:
        raise Damaged(place, "it is cut short")
    length, checksum, name_length, version = _SECTION.unpack_from(data, place)
    start = name_start + name_length
    stop = start + length
    if stop > end:
        raise Damaged(place, "a section is cut short")
    view = memoryview(data)
    if crc32c(view[name_start:stop], crc32c(_CHECKED.pack(length, name_length, version))) != checksum:
        raise Damaged(place, "the checksum of a section does not match")
    if version > SECTION_VERSION:
        raise DataDirectoryError(f"a section of the snapshot has format {version}: start the newer program")
    return (data[name_start:start].decode(), data[start:stop]), stop


def _decode_head(value: Any) -> SnapshotHead:
    try:
        last, before, members = value
        return SnapshotHead(
            last=(last[0], last[1], last[2]), before=(before[0], before[1], before[2]), members=tuple(members)
        )
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise Damaged(0, "its head is none") from error


def _index_and_term(name: str) -> tuple[int, int]:
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"{name} is no snapshot")
    return int(match[1]), int(match[2])
