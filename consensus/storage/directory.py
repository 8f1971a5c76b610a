"""Whose directory this is, and the opening of everything in it.

The file `identity` is written last at the first start and names what must be there ever after: the vote slots and the journal; a part
that is missing later is refused, never begun anew. It also keeps the founders of the group, the sync mode, and the boot id of the machine
at the last start.

A node may lack what it once acknowledged when its directory is new (nobody knows whether it replaces a lost one), and under sync mode
interval when the boot id is another one (the machine may have lost power, and with it the last interval of marks). It then must not help
to elect a leader that lacks it too, until it has caught up: `Storage.must_catch_up`.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from consensus.errors import DataDirectoryError
from consensus.storage.disk import DirectoryDisk, Disk, DiskFull, is_full
from consensus.storage.journal import SEGMENT_BYTES_MAX, Journal, SyncMode
from consensus.storage.records import (
    FORMAT_VERSION,
    REJOIN,
    Damaged,
    FileKind,
    encode_header,
    open_body,
    read_header,
    seal_body,
)
from consensus.storage.reserve import Reserve
from consensus.storage.segments import create_segment, is_segment
from consensus.storage.snapshots import SnapshotStore, is_snapshot
from consensus.storage.votes import SLOT_NAMES, Vote, create_slots

IDENTITY_NAME = "identity"
_IDENTITY_NEW_NAME = "identity.new"
FIRST_START_NAME = (
    "first-start"  # there while the first start is under way: what it left behind may be removed
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """`must_catch_up`: this node may lack what it acknowledged. Call `caught_up` when it has it: until then every start says so."""

    journal: Journal
    snapshots: SnapshotStore
    founders: tuple[str, ...]
    must_catch_up: bool
    caught_up: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Identity:
    founders: tuple[str, ...]
    sync: SyncMode
    boot_id: str
    must_catch_up: bool


def lock_directory(path: Path) -> IO[bytes]:
    """Creates `path` if need be; the returned open file holds its lock until it is closed. Raises `DataDirectoryError`."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / "lock").open("ab")
    except OSError as error:
        raise DataDirectoryError(f"data directory {path} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise DataDirectoryError(f"data directory {path} is in use by another process") from error
    return lock


def open_storage(
    disk: Disk,
    *,
    cluster: str,
    node: str,
    founders: Sequence[str],
    sync: SyncMode,
    boot_id: str,
    segment_bytes_max: int = SEGMENT_BYTES_MAX,
) -> Storage:
    """The first start creates, later ones check and repair; the founders are those of the first. Raises `DataDirectoryError`."""
    asked = _Identity(founders=tuple(founders), sync=sync, boot_id=boot_id, must_catch_up=True)
    try:
        return _open(disk, asked, cluster, node, segment_bytes_max)
    except DataDirectoryError as error:
        if isinstance(disk, DirectoryDisk):
            raise DataDirectoryError(f"data directory {disk}: {error}") from error
        raise
    except OSError as error:
        if is_full(error):
            raise DiskFull("the data directory cannot be opened") from error
        raise


def _open(disk: Disk, asked: _Identity, cluster: str, node: str, segment_bytes_max: int) -> Storage:
    names = set(disk.names())
    _refuse_old_layout(names)
    reserve = Reserve(disk)
    if IDENTITY_NAME not in names:
        _first_start(disk, names, asked, cluster, node)
    stored = _read_identity(disk, cluster, node)
    _refuse_missing(disk)
    interval = SyncMode.INTERVAL in (asked.sync, stored.sync)
    must_catch_up = stored.must_catch_up or (interval and asked.boot_id != stored.boot_id)
    current = replace(stored, sync=asked.sync, boot_id=asked.boot_id, must_catch_up=must_catch_up)
    if current != stored:
        _replace_identity(disk, reserve, current, cluster, node)
    for name in (_IDENTITY_NEW_NAME, FIRST_START_NAME):
        if name in disk.names():
            disk.remove(name)
    disk.sync_directory()  # also what a killed process renamed
    journal = Journal(disk, reserve, cluster=cluster, node=node, segment_bytes_max=segment_bytes_max)
    snapshots = SnapshotStore(disk, cluster=cluster, node=node)
    _refuse_gap(journal, snapshots)
    reserve.restore()

    def caught_up() -> None:
        _replace_identity(disk, reserve, replace(current, must_catch_up=False), cluster, node)

    return Storage(
        journal=journal,
        snapshots=snapshots,
        founders=current.founders,
        must_catch_up=must_catch_up,
        caught_up=caught_up if must_catch_up else lambda: None,
    )


def _first_start(disk: Disk, names: set[str], identity: _Identity, cluster: str, node: str) -> None:
    ours = [name for name in names if name in SLOT_NAMES or is_segment(name) or is_snapshot(name)]
    if FIRST_START_NAME in names:
        for name in ours:
            disk.remove(name)
    elif ours:
        raise DataDirectoryError(
            f"the file identity is missing although {min(ours)} is there: restore it, or {REJOIN}"
        )
    else:
        disk.create(FIRST_START_NAME).close()
    disk.sync_directory()
    header = encode_header(FileKind.SEGMENT, cluster=cluster, node=node, extra=(1, 1))
    create_slots(
        disk,
        Vote(term=0, voted_for=None, first_segment=1, last_segment=1, synced_bytes=len(header)),
        cluster=cluster,
        node=node,
    )
    create_segment(disk, number=1, first_index=1, cluster=cluster, node=node)[2].close()
    _replace_identity(disk, Reserve(disk), identity, cluster, node)


def _replace_identity(disk: Disk, reserve: Reserve, identity: _Identity, cluster: str, node: str) -> None:
    try:
        _write_identity(disk, identity, cluster, node)
    except OSError as error:
        if not is_full(error) or not reserve.release():
            raise
        _write_identity(disk, identity, cluster, node)


def _write_identity(disk: Disk, identity: _Identity, cluster: str, node: str) -> None:
    if _IDENTITY_NEW_NAME in disk.names():
        disk.remove(_IDENTITY_NEW_NAME)
    body = [list(identity.founders), identity.sync.value, identity.boot_id, identity.must_catch_up]
    file = disk.create(_IDENTITY_NEW_NAME)
    try:
        file.write(encode_header(FileKind.IDENTITY, cluster=cluster, node=node) + seal_body(body))
        file.sync()
    finally:
        file.close()
    disk.rename(_IDENTITY_NEW_NAME, IDENTITY_NAME)
    disk.sync_directory()


def _read_identity(disk: Disk, cluster: str, node: str) -> _Identity:
    data = disk.read(IDENTITY_NAME)
    try:
        header = read_header(data, FileKind.IDENTITY, name=IDENTITY_NAME, cluster=cluster, node=node)
        founders, sync, boot_id, must_catch_up = open_body(data, header.size_bytes)
    except Damaged as damage:
        raise DataDirectoryError(
            f"{IDENTITY_NAME} is damaged at byte {damage.place} ({damage}): restore it, or {REJOIN}"
        ) from damage
    return _Identity(
        founders=tuple(founders), sync=SyncMode(sync), boot_id=boot_id, must_catch_up=bool(must_catch_up)
    )


def _refuse_old_layout(names: set[str]) -> None:
    if names & {"journal", "vote"}:
        raise DataDirectoryError(
            f"the data directory has format 1, this program reads format {FORMAT_VERSION}: stop all nodes and start them "
            f"with new directories, or, if the other nodes have the new format already, {REJOIN}"
        )


def _refuse_missing(disk: Disk) -> None:
    names = disk.names()
    for name in SLOT_NAMES:
        if name not in names:
            raise DataDirectoryError(f"{name} is missing: restore it, or {REJOIN}")
    if not any(is_segment(name) for name in names):
        raise DataDirectoryError(f"the journal is missing: restore its segments, or {REJOIN}")


def _refuse_gap(journal: Journal, snapshots: SnapshotStore) -> None:
    """The entries must go on where the newest readable snapshot ends; without one they must begin at the beginning."""
    newest = snapshots.newest()
    if len(journal) == 0:
        if newest is None and not journal.is_blank:
            raise DataDirectoryError(
                f"the journal was emptied for a snapshot that is missing: restore it, or {REJOIN}"
            )
        return
    first, reached = journal[0][1], 0 if newest is None else newest.head.last[1]
    if first > reached + 1:
        told = " ".join(snapshots.damaged) or "A snapshot is missing."
        raise DataDirectoryError(
            f"the journal begins at entry {first}, but the snapshots reach only to entry {reached}. "
            f"{told} Restore the snapshot, or {REJOIN}"
        )
