"""Snapshots: the ledger's dump with the last two log entries, checksummed, flushed, renamed into place; two are kept.

File `snapshot-<index>`: 8 bytes magic and version, 32 bytes SHA-256 of the rest, then msgpack `[last entry, entry before it, dump]`.
A snapshot that cannot be read is an error with instructions, never an empty start.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import NamedTuple

import msgpack

from consensus.errors import DataDirectoryError
from consensus.storage.journal import REJOIN, LogEntry, replace_file

MAGIC = b"QSNAP\x00\x00\x01"
KEPT = 2


class Snapshot(NamedTuple):
    last: LogEntry
    before: LogEntry
    dump: bytes


def encode_snapshot(snapshot: Snapshot) -> bytes:
    body = bytes(msgpack.packb([list(snapshot.last), list(snapshot.before), snapshot.dump]))
    return MAGIC + hashlib.sha256(body).digest() + body


def decode_snapshot(data: bytes) -> Snapshot:
    """Raises `ValueError` for anything but a whole snapshot of this version."""
    head = len(MAGIC)
    if data[:head] != MAGIC:
        raise ValueError("no snapshot of this version")
    body = data[head + 32 :]
    if hashlib.sha256(body).digest() != data[head : head + 32]:
        raise ValueError("the checksum does not match")
    last, before, dump = msgpack.unpackb(body)
    return Snapshot((last[0], last[1], last[2]), (before[0], before[1], before[2]), dump)


class SnapshotStore:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def newest(self) -> Snapshot | None:
        """Raises `DataDirectoryError` if the newest cannot be read: the journal goes on from there, not earlier."""
        paths = self._paths()
        if not paths:
            return None
        try:
            return decode_snapshot(paths[-1].read_bytes())
        except ValueError as error:
            raise DataDirectoryError(f"{paths[-1]} cannot be read ({error}): {REJOIN}") from error

    def save(self, data: bytes) -> None:
        """`data` from `encode_snapshot`. Raises `ValueError` (nothing changed) or `OSError`."""
        index = decode_snapshot(data).last[1]
        replace_file(self._directory / f"snapshot-{index:020d}", data)
        for old in self._paths()[:-KEPT]:
            with contextlib.suppress(FileNotFoundError):
                old.unlink()

    def _paths(self) -> list[Path]:
        return sorted(
            path
            for path in self._directory.glob("snapshot-*")
            if path.name.removeprefix("snapshot-").isdigit()
        )
