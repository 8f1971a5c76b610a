"""The Raft log: entries in memory, and on disk before anything that they say leaves the node.

`add` only remembers. `sync` encodes all that was added since the last one, writes it at once, calls fdatasync once, and then writes a seal,
which proves to the next start that this batch was synced. `write` is `sync` without the fdatasync, for sync mode interval.
Bytes are never rewritten: a conflict's suffix ends by a *cut* record. A full segment is followed by a new one; before that it is synced,
so that a batch lies in one segment. Term and vote stand in their slots (`votes.py`), the commit index nowhere: the leader tells it.

A full disk raises `DiskFull`; the partly written tail is cut and the same bytes are written again by the next call. Any other error is
final: after a failed fdatasync nobody knows what is on disk (the kernel forgets the pages), so later calls raise it again without
asking the disk.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from enum import Enum
from typing import overload

from consensus.storage.disk import Disk, DiskFile, DiskFull, is_full
from consensus.storage.records import (
    KIND_CUT,
    KIND_ENTRY,
    KIND_SEAL,
    RECORD_BYTES_MAX,
    Header,
    LogEntry,
    encode_record,
    record_size_bytes,
)
from consensus.storage.reserve import Reserve
from consensus.storage.segments import Segment, create_segment, droppable, read_segments
from consensus.storage.votes import Vote, VoteSlots

SEGMENT_BYTES_MAX = 64 << 20  # dropped as a whole; one is read in well under a second


class SyncMode(Enum):
    ALWAYS = "always"
    INTERVAL = "interval"


class Journal:
    """Method names in camel case are the library's. One thread uses it. Positions are those of the list in memory."""

    def __init__(
        self,
        disk: Disk,
        reserve: Reserve,
        *,
        cluster: str,
        node: str,
        segment_bytes_max: int = SEGMENT_BYTES_MAX,
    ) -> None:
        """Opens what `open_storage` once created. Raises `DataDirectoryError`; `repairs` tells what was put right."""
        self._disk, self._reserve, self._cluster, self._node = disk, reserve, cluster, node
        self._segment_bytes_max = segment_bytes_max
        self._votes = VoteSlots(disk, cluster=cluster, node=node)
        found = read_segments(disk, self._votes.vote, cluster=cluster, node=node)
        self.repairs = self._votes.repairs + found.repairs
        self._segments: list[Segment] = found.segments
        self._entries: list[LogEntry] = found.entries
        self._seed, self._header_bytes = found.header.seed, found.header.size_bytes
        self._file: DiskFile = disk.open(self._segments[-1].name)
        self._file.sync()  # a killed process leaves bytes that are written but not synced: from here on they count
        self._broken: OSError | None = None
        self._pending: list[tuple[int, int, int, bytes]] = []  # kind, index, term, payload: not yet encoded
        self._pending_bytes = 0
        self._batch = bytearray()  # encoded, not yet synced
        self._written = 0  # so much of it is written
        self._synced_bytes = found.end_bytes
        self._roll_wanted = False
        self._born: tuple[Segment, Header, DiskFile] | None = (
            None  # the next one, until the vote slots know it
        )
        self._closed = False
        self.unsynced = False
        self.synced_index = self._entries[-1][1] if self._entries else 0
        self._next_index = self._entries[-1][1] + 1 if self._entries else None  # None: any may come
        if not found.sealed:
            self._seal()

    @property
    def is_blank(self) -> bool:
        """Nothing was ever in it."""
        return self._segments[0].number == 1 and not any(segment.last_index for segment in self._segments)

    # -- the log

    def add(self, command: bytes | str, idx: int, term: int) -> None:
        data = command.encode("latin-1") if isinstance(command, str) else bytes(command)
        if len(data) > RECORD_BYTES_MAX:
            raise ValueError(f"an entry of {len(data)} bytes is too large for the journal")
        if idx != self._next_index and self._next_index is not None:
            raise ValueError(f"entry {idx} cannot stand where entry {self._next_index} is due")
        self._next_index = idx + 1
        self._entries.append((data, idx, term))
        self._record(KIND_ENTRY, idx, term, data)

    def clear(self) -> None:
        """All is void. What follows begins a new segment, so that the old ones can be dropped."""
        self._entries = []
        self._next_index = None
        self.synced_index = 0
        self._record(KIND_CUT, 0, 0, b"")
        self._roll_wanted = True

    def deleteEntriesFrom(self, entryFrom: int) -> None:
        if entryFrom < len(self._entries):
            index = self._entries[entryFrom][1]
            del self._entries[entryFrom:]
            self._next_index = index
            self.synced_index = min(self.synced_index, index - 1)
            self._record(KIND_CUT, index, 0, b"")

    def deleteEntriesTo(self, entryTo: int) -> None:
        """Only memory forgets; files go by `drop_segments_below`."""
        del self._entries[:entryTo]

    @overload
    def __getitem__(self, item: int) -> LogEntry: ...
    @overload
    def __getitem__(self, item: slice) -> list[LogEntry]: ...
    def __getitem__(self, item: int | slice) -> LogEntry | list[LogEntry]:
        return self._entries[item]

    def __len__(self) -> int:
        return len(self._entries)

    # -- to the disk

    def sync(self) -> None:
        """Everything added is on disk. Costs nothing when nothing was added. Raises `DiskFull` (repeat it later) or `OSError`."""
        if not self.unsynced and self._broken is None:
            return
        with self._judging_errors():
            self._write()
            self._sync_batch()
            self._seal()
            self._reserve.restore()

    def write(self) -> None:
        """Everything added survives the end of the process, though not yet a power cut. Raises as `sync`."""
        with self._judging_errors():
            if self._pending or self._written < len(self._batch):
                self._write()

    def drop_segments_below(self, index: int) -> None:
        """Removes whole old segments that hold only entries below `index`. Raises as `sync`."""
        dropped = list(droppable(self._segments, index))
        if not dropped:
            return
        with self._judging_errors():
            self._write_vote(replace(self._vote(), first_segment=dropped[-1].number + 1))
            for segment in dropped:
                self._disk.remove(segment.name)
            self._disk.sync_directory()
        del self._segments[: len(dropped)]

    def _destroy(self) -> None:
        """Orderly stop: synced, and the vote slots say how far, so that a later loss of the end is seen."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._broken is None:
                with contextlib.suppress(DiskFull):  # what could not be synced was not acknowledged
                    self.sync()
                    with self._judging_errors():
                        self._write_vote(self._vote())
        finally:
            self._file.close()
            self._votes.close()
            if self._born is not None:
                self._born[2].close()

    # -- term and vote

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:
        """Both slots are synced when this returns. Raises as `sync`; then the old vote is still in force."""
        with self._judging_errors():
            self._write_vote(replace(self._vote(), term=term, voted_for=votedForNodeId))

    def getCurrentTerm(self) -> int:
        return self._votes.vote.term

    def getVotedForNodeId(self) -> str | None:
        return self._votes.vote.voted_for

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:
        """Not stored: a stored one could pass the end of the log."""

    def getRaftCommitIndex(self) -> int:
        return 1

    def onOneSecondTimer(self) -> None:
        """The library's timer for lazy writes; nothing here is lazy."""

    # -- inside

    def _record(self, kind: int, index: int, term: int, payload: bytes) -> None:
        self._pending.append((kind, index, term, payload))
        self._pending_bytes += record_size_bytes(len(payload))
        self.unsynced = True

    def _write(self) -> None:
        if self._pending:
            self._roll_if_due()
            self._encode()
        self._write_batch()

    def _roll_if_due(self) -> None:
        end = self._synced_bytes + len(self._batch)
        full = end + self._pending_bytes > self._segment_bytes_max and end > self._header_bytes
        if full or self._roll_wanted:
            self._write_batch()
            self._sync_batch()
            self._roll()

    def _roll(self) -> None:
        """The vote slots must know the new segment before anything in it counts."""
        if self._born is None:
            first = next((index for kind, index, _, _ in self._pending if kind == KIND_ENTRY), 0)
            self._born = create_segment(
                self._disk,
                number=self._segments[-1].number + 1,
                first_index=first,
                cluster=self._cluster,
                node=self._node,
            )
        segment, header, file = self._born
        self._write_vote(replace(self._vote(), last_segment=segment.number, synced_bytes=header.size_bytes))
        self._born = None
        self._file.close()
        self._file = file
        self._segments.append(segment)
        self._seed, self._header_bytes = header.seed, header.size_bytes
        self._synced_bytes = header.size_bytes
        self._roll_wanted = False

    def _encode(self) -> None:
        start, seed, segment = self._synced_bytes, self._seed, self._segments[-1]
        for kind, index, term, payload in self._pending:
            self._batch += encode_record(
                kind, index, term, payload, batch=start, place=start + len(self._batch), seed=seed
            )
            if kind == KIND_ENTRY and index > segment.last_index:
                segment.last_index = index
        self._pending.clear()
        self._pending_bytes = 0

    def _write_batch(self) -> None:
        if self._written == len(self._batch):
            return
        try:
            self._file.write(bytes(memoryview(self._batch)[self._written :]))
        except OSError as error:
            if is_full(error):
                self._cut_back(self._written)
            raise
        self._written = len(self._batch)

    def _sync_batch(self) -> None:
        try:
            self._file.sync()
        except OSError as error:
            if is_full(error):  # room that was promised and is not there: what was written may be gone
                self._cut_back(0)
            raise
        self._synced_bytes += len(self._batch)
        self._batch, self._written = bytearray(), 0
        if not self._pending:
            self.unsynced = False
            self.synced_index = self._entries[-1][1] if self._entries else 0

    def _cut_back(self, written: int) -> None:
        """The file ends after that much of the batch again, so that the next try neither doubles nor skips a byte."""
        try:
            self._file.truncate(self._synced_bytes + written)
        except OSError as error:
            self._broken = error
            raise
        self._written = written

    def _seal(self) -> None:
        """Says that all up to here was synced. Itself unsynced: it goes to disk with the next batch at the latest."""
        here = self._synced_bytes
        self._batch += encode_record(KIND_SEAL, 0, 0, b"", batch=here, place=here, seed=self._seed)
        with contextlib.suppress(DiskFull), self._judging_errors():
            self._votes.mark_end(self._segments[-1].number, here)
            self._write_batch()

    def _vote(self) -> Vote:
        """Term and vote as they stand, and how far the journal goes now."""
        return replace(
            self._votes.vote, last_segment=self._segments[-1].number, synced_bytes=self._synced_bytes
        )

    def _write_vote(self, vote: Vote) -> None:
        try:
            self._votes.write(vote)
        except OSError as error:
            if not is_full(error) or not self._reserve.release():
                raise
            self._votes.write(vote)

    @contextlib.contextmanager
    def _judging_errors(self) -> Iterator[None]:
        if self._broken is not None:
            raise self._broken
        try:
            yield
        except DiskFull:
            raise
        except OSError as error:
            if self._broken is None and is_full(error):
                raise DiskFull("the log of this node cannot be written") from error
            self._broken = self._broken or error
            raise
