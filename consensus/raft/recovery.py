"""What a node starts from: its newest snapshot and the log behind it, brought together (pure but for the journal it corrects).

B2: a snapshot newer than the head of the log never costs entries. The log stays whole if it holds the snapshot's last entry, and is
begun anew from the snapshot if it ends before it or differs there: then the snapshot was installed, and a crash came before the
log was. A log that begins after its snapshot, or after entry 1 without one, has lost a file: refused.
"""

from __future__ import annotations

from consensus.errors import DataDirectoryError
from consensus.raft.append_check import term_at
from consensus.raft.membership import GroupLog, group_change
from consensus.storage.journal import Journal
from consensus.storage.records import REJOIN
from consensus.storage.snapshots import Snapshot


def align(journal: Journal, start: Snapshot | None) -> None:
    """Raises `DataDirectoryError`."""
    if start is None:
        if len(journal) and journal[0][1] > 1:
            raise DataDirectoryError(
                f"the journal begins at entry {journal[0][1]} but no snapshot is there: {REJOIN}"
            )
        return
    command, index, term = start.head.last
    if len(journal) and journal[0][1] > index:
        raise DataDirectoryError(
            f"the journal begins at entry {journal[0][1]}, the newest readable snapshot ends at {index}: {REJOIN}"
        )
    if len(journal) == 0 or term_at(journal, index) != term:
        journal.clear()
        journal.add(*start.head.before)
        journal.add(command, index, term)
        journal.sync()


def group_log(journal: Journal, founders: tuple[str, ...], start: Snapshot | None) -> GroupLog:
    """The group that was in force when the node ended: of the last record in its log, committed or not."""
    groups = GroupLog(tuple(sorted(founders)))
    if start is not None:
        groups = GroupLog(start.head.members, start.head.last[1])
    for command, index, _ in journal:  # type: ignore[attr-defined]
        if start is None or index > start.head.last[1]:
            change = group_change(command)
            if change is not None:
                groups.append(index, change.after)
    return groups
