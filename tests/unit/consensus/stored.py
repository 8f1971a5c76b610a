"""What the storage tests share: a data directory in memory, opened, taken apart into bytes, and put together again."""

from __future__ import annotations

from random import Random

from consensus.storage.directory import Storage, open_storage
from consensus.storage.journal import Journal, SyncMode
from consensus.storage.records import LogEntry
from consensus.storage.reserve import RESERVE_NAME
from consensus.storage.snapshots import SnapshotHead, SnapshotStore
from tests.simulation.disk import SimDisk

CLUSTER, NODE = "test", "n1:7000"
FOUNDERS = ("n1:7000", "n2:7000", "n3:7000")
SMALL = 400  # bytes of a segment: three to five entries


def new_disk(seed: int = 0) -> SimDisk:
    return SimDisk(Random(seed), lambda _: None)


def opened(
    disk: SimDisk,
    *,
    sync: SyncMode = SyncMode.ALWAYS,
    boot_id: str = "boot-1",
    segment_bytes_max: int = 1 << 20,
    cluster: str = CLUSTER,
    node: str = NODE,
    founders: tuple[str, ...] = FOUNDERS,
) -> Storage:
    return open_storage(
        disk,
        cluster=cluster,
        node=node,
        founders=founders,
        sync=sync,
        boot_id=boot_id,
        segment_bytes_max=segment_bytes_max,
    )


def entries_of(journal: Journal) -> list[LogEntry]:
    return journal[:]


def indexes(journal: Journal) -> list[int]:
    return [index for _, index, _ in journal[:]]


def segments(disk: SimDisk) -> list[str]:
    return [name for name in disk.names() if name.endswith(".seg")]


def entry(index: int, term: int = 1) -> LogEntry:
    return (b"command %d" % index, index, term)


def append(journal: Journal, first: int, last: int, term: int = 1) -> None:
    """One batch, synced."""
    for index in range(first, last + 1):
        journal.add(*entry(index, term))
    journal.sync()


def save_snapshot(store: SnapshotStore, index: int, term: int = 1, *, tables: int = 2) -> None:
    writer = store.writer(
        SnapshotHead(last=entry(index, term), before=entry(index - 1, term), members=FOUNDERS)
    )
    for number in range(tables):
        writer.write_section(f"table-{number}", b"%d/%d " % (number, index) * 20)
    writer.finish()


def files_of(disk: SimDisk) -> dict[str, bytes]:
    """Without the reserve: it has no content."""
    return {name: disk.read(name) for name in disk.names() if name != RESERVE_NAME}


def disk_of(files: dict[str, bytes]) -> SimDisk:
    disk = new_disk()
    for name, data in files.items():
        file = disk.create(name)
        file.write(data)
        file.sync()
    disk.sync_directory()
    return disk


def flipped(data: bytes, place: int, bit: int = 0) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1 << bit
    return bytes(changed)


def only(disk: SimDisk, prefix: str) -> str:
    names = [name for name in disk.names() if name.startswith(prefix)]
    assert len(names) == 1, names
    return names[0]
