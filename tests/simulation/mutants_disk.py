"""Mutants of what stands between a word and the disk: each function switches one repair off in this process (see `mutants.py`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from consensus.raft import binding
from consensus.raft.binding import LedgerNode
from consensus.raft.handlers import Handlers
from consensus.storage import records, snapshots
from consensus.storage.journal import Journal
from consensus.storage.snapshots import SnapshotReceiver, SnapshotStore
from consensus.storage.temporary_file import TemporaryFile
from consensus.storage.votes import VoteSlots
from tests.simulation import node


class _NeverSynced:
    """A file whose sync does nothing."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def sync(self) -> None:
        """Nothing."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def no_sync_of_the_log() -> None:
    sync_batch = Journal._sync_batch

    def unsynced(self: Any) -> None:
        file, self._file = self._file, _NeverSynced(self._file)
        try:
            sync_batch(self)
        finally:
            self._file = file

    Journal._sync_batch = unsynced  # type: ignore[method-assign]


def acks_before_the_flush() -> None:
    flush = Handlers._flush

    def hasty(self: Any) -> None:
        acks, self._acks = self._acks, []
        for peer, message in acks:
            self.links.send(peer, message)
        flush(self)

    Handlers._flush = hasty  # type: ignore[method-assign]


def leader_counts_before_its_disk() -> None:
    """Entries are flushed only when a follower's answer comes, so that the count comes first."""
    flush = Handlers._flush

    def lazy(self: Any) -> None:
        if self.is_leader() and not self._acks and self.journal.unsynced and self.rng.random() < 0.9:
            return
        flush(self)

    Handlers._flush = lazy  # type: ignore[method-assign]


def no_sync_of_the_vote() -> None:
    opened = VoteSlots.__init__

    def init(self: Any, *args: Any, **named: Any) -> None:
        opened(self, *args, **named)
        self._files = [_NeverSynced(file) for file in self._files]

    VoteSlots.__init__ = init  # type: ignore[method-assign]


def no_sync_of_snapshots() -> None:
    created = TemporaryFile.__init__

    def init(self: Any, *args: Any, **named: Any) -> None:
        created(self, *args, **named)
        self._file = _NeverSynced(self._file)

    TemporaryFile.__init__ = init  # type: ignore[method-assign]


def dump_drops_the_log() -> None:
    """The library's rule at a start: a log that does not begin with the dump's two entries is thrown away."""

    def align(journal: Any, start: Any) -> None:
        if start is not None and (
            len(journal) < 2 or journal[0] != start.head.before or journal[1] != start.head.last
        ):
            journal.clear()
            journal.add(*start.head.before)
            journal.add(*start.head.last)
            journal.sync()

    binding.align = align  # type: ignore[assignment]


def log_reaches_back_to_the_newer_snapshot_only() -> None:
    def newest(self: Any) -> int | None:
        names = self._names()
        return int(names[-1].split("-")[1]) if names else None

    SnapshotStore.older_index = newest  # type: ignore[method-assign]


def log_rewritten_in_place() -> None:
    """Compaction empties the file and writes the rest of the log into it again, as the library does."""
    forget = Journal.deleteEntriesTo

    def rewrite(self: Any, entry_to: int) -> None:
        forget(self, entry_to)
        if len(self._segments) == 1 and not self.unsynced:
            self._file.truncate(self._header_bytes)
            self._synced_bytes, self._batch, self._written = self._header_bytes, bytearray(), 0
            for command, index, term in self._entries:
                self._record(0, index, term, command)
            self.sync()

    Journal.deleteEntriesTo = rewrite  # type: ignore[method-assign]


def stored_commit_index() -> None:
    """Kept beside the log as soon as it is told, and believed at the next start."""

    def store(self: Any, index: int) -> None:
        self._disk.commit_index = index

    def stored(self: Any) -> int:
        return getattr(self._disk, "commit_index", 1)

    set_commit_index = LedgerNode._set_commit_index

    def set_and_store(self: Any, index: int) -> None:
        set_commit_index(self, index)
        self.journal.setRaftCommitIndex(index)

    Journal.setRaftCommitIndex, Journal.getRaftCommitIndex = store, stored  # type: ignore[method-assign]
    LedgerNode._set_commit_index = set_and_store  # type: ignore[method-assign]


def no_checksums() -> None:
    records.crc32c = lambda *_: 0  # type: ignore[assignment]
    snapshots.crc32c = lambda *_: 0  # type: ignore[assignment]


def one_vote_slot() -> None:
    """The second slot keeps what it said at the first start, so a torn first one is an old vote."""

    def write(self: Any, vote: Any) -> None:
        from consensus.storage.votes import _encode

        self._files[0].write_at(len(self._header), _encode(self._counter + 1, vote))
        self._files[0].sync()
        self._counter += 1
        self.vote = vote

    VoteSlots.write = write  # type: ignore[method-assign]


def chunks_are_not_numbered() -> None:
    """Each is taken for the next one, and what came of it replaces the snapshot before anybody looks at it."""
    hear = Handlers._snapshot_chunk

    def take(self: Any, peer: str, message: dict[str, Any]) -> None:
        if message["data"] and message["index"] > self.commit_index:
            receiver = self.snapshots.receiver(
                message["index"], message["snapshot_term"], message["size"], message["sha256"]
            )
            message = {**message, "offset": receiver.offset}
        hear(self, peer, message)

    def finish(self: Any) -> Any:
        index, term, *_ = self.wanted
        data = self._disk.read(self._file.name)
        self._file.install(lambda name: self._install(name, (b"", index, term)))
        return snapshots.decode_snapshot(data, "the snapshot", self._cluster)

    Handlers._snapshot_chunk = take  # type: ignore[method-assign]
    SnapshotReceiver.finish = finish  # type: ignore[method-assign]


def a_full_disk_is_overlooked() -> None:
    """What could not be written is acknowledged all the same."""
    Handlers._stand_back = lambda self, full, now: None  # type: ignore[method-assign]


def forgetful_nodes_vote() -> None:
    """An empty or unsynced disk votes like any other."""
    opened = node.open_storage
    node.open_storage = lambda *args, **named: replace(opened(*args, **named), must_catch_up=False)  # type: ignore[assignment]
