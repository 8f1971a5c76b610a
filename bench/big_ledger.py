"""A ledger that has run for long: a billion dense executed keys and a million scattered over 10^12, put on disk as a snapshot.

Running a billion tasks first would take hours; the snapshot is made of the ledger's own tables and written by the nodes' own store into the
directory of each node before its first start; the empty journal there begins behind it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from bench.ledger_node import CLUSTER
from consensus.ledger.executed import Outcome
from consensus.ledger.machine import LedgerMachine
from consensus.ledger.sharded_bitmap import split
from consensus.storage.directory import open_storage
from consensus.storage.disk import DirectoryDisk
from consensus.storage.journal import SyncMode
from consensus.storage.snapshots import SnapshotHead

DENSE_KEYS = 1_000_000_000
SCATTERED_KEYS = 1_000_000
KEYS_END = 10**12
NO_OPERATION = b"\x01"  # the entry that a leader of the library begins its term with
LAST_INDEX, TERM = 1_000, 1


def big_ledger(*, dense: int = DENSE_KEYS, scattered: int = SCATTERED_KEYS) -> list[tuple[str, bytes]]:
    """The sections of its snapshot."""
    ledger = LedgerMachine()
    ledger.executed.mark(split([1, dense + 1]), Outcome.DONE)
    chosen = sorted(random.Random(1).sample(range(dense + 1, KEYS_END), scattered))
    ledger.executed.mark(split([bound for key in chosen for bound in (key, key + 1)]), Outcome.DONE)
    ledger.blocks.next_key = KEYS_END
    return list(ledger.freeze())


def put_on_disk(
    sections: Sequence[tuple[str, bytes]], *, directory: Path, node: str, founders: Sequence[str]
) -> None:
    directory.mkdir(parents=True)
    storage = open_storage(
        DirectoryDisk(directory),
        cluster=CLUSTER,
        node=node,
        founders=sorted(founders),
        sync=SyncMode.ALWAYS,
        boot_id="",
    )
    storage.journal.setCurrentTerm(TERM, None)
    head = SnapshotHead(
        last=(NO_OPERATION, LAST_INDEX, TERM),
        before=(NO_OPERATION, LAST_INDEX - 1, TERM),
        members=tuple(sorted(founders)),
    )
    writer = storage.snapshots.writer(head)
    for name, data in sections:
        writer.write_section(name, data)
    writer.finish()
    storage.journal._destroy()
