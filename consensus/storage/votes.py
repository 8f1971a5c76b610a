"""Term and vote in two slots, and beside them which part of the journal must be there.

Files `vote.0` and `vote.1`: header, then one sealed body `[counter, term, vote, first segment, last segment, synced bytes]`. Each
is rewritten in place and synced, one after the other, so that one of them is whole at every moment. One bad slot is
harmless: what it said more than the other had not left the node. Two bad slots stop the node.

A log cannot show by itself that its end is missing. So the slots also name the oldest and newest segment and how far the newest
was synced; they are written when a segment begins, when old ones are dropped, with each vote, and at an orderly stop. In between,
behind the first slot, stands the *end mark* `[segment, synced bytes]`: rewritten after each sync and not synced itself, so it costs
one `pwrite`. It outlives a killed process; what a power cut leaves of it is true or unreadable, and then it is not asked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from consensus.errors import DataDirectoryError
from consensus.storage.disk import Disk, DiskFile
from consensus.storage.records import (
    REJOIN,
    Damaged,
    FileKind,
    encode_header,
    open_body,
    read_header,
    seal_body,
)

SLOT_NAMES = ("vote.0", "vote.1")
SLOT_BYTES = 512  # one sector: a node id is far shorter
_MARK_PLACE = (
    2 * SLOT_BYTES
)  # header and slot end before it; a sector of its own, so that a torn mark tears no vote


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    term: int
    voted_for: str | None
    first_segment: int  # older ones were dropped on purpose
    last_segment: int
    synced_bytes: int  # the last segment is at least that long


def create_slots(disk: Disk, vote: Vote, *, cluster: str, node: str) -> None:
    """New files, synced; the directory is synced by the caller."""
    header = _header(cluster, node)
    for name in SLOT_NAMES:
        file = disk.create(name)
        try:
            file.write(header + _encode(1, vote))
            file.sync()
        finally:
            file.close()


class VoteSlots:
    """Opens both slots; `vote` is what the newer good one says. `repairs` tells what was put right."""

    def __init__(self, disk: Disk, *, cluster: str, node: str) -> None:
        self.repairs: list[str] = []
        self._header = _header(cluster, node)
        found = []
        for place, name in enumerate(SLOT_NAMES):
            try:
                found.append((*_read(disk.read(name), name, cluster, node), place))
            except Damaged as damage:
                self.repairs.append(f"{name} was damaged ({damage}) and is written anew from the other slot")
        if not found:
            raise DataDirectoryError(f"{SLOT_NAMES[0]} and {SLOT_NAMES[1]} are both damaged: {REJOIN}")
        self._counter, self.vote, newest = max(found, key=lambda slot: slot[0])
        self.vote = _advanced(self.vote, disk.read(SLOT_NAMES[0], _MARK_PLACE, SLOT_BYTES))
        self._files: list[DiskFile] = [disk.open(name) for name in SLOT_NAMES]
        if len(found) == 1 or found[0][0] != found[1][0]:
            self._rewrite(order=(1 - newest, newest))

    def write(self, vote: Vote) -> None:
        """Both slots hold `vote` on disk when this returns. When it raises, `vote` is still the old one."""
        data = _encode(self._counter + 1, vote)
        for file in self._files:
            file.write_at(len(self._header), data)
            file.sync()
        self._counter += 1
        self.vote = vote

    def mark_end(self, segment: int, synced_bytes: int) -> None:
        """So far the journal was synced. Not synced itself."""
        self._files[0].write_at(_MARK_PLACE, seal_body([segment, synced_bytes]))

    def close(self) -> None:
        for file in self._files:
            file.close()

    def _rewrite(self, *, order: tuple[int, int]) -> None:
        """The worse slot first: until it is synced, the better one stays as it is."""
        for place in order:
            self._files[place].write_at(0, self._header + _encode(self._counter, self.vote))
            self._files[place].sync()


def _header(cluster: str, node: str) -> bytes:
    header = encode_header(FileKind.VOTE, cluster=cluster, node=node)
    if len(header) > SLOT_BYTES:
        raise ValueError(f"cluster {cluster!r} and node {node!r} have too long names")
    return header


def _advanced(vote: Vote, mark: bytes) -> Vote:
    """With the end of the journal from the mark, if that is readable and further."""
    try:
        segment, synced_bytes = open_body(mark, 0)
    except Damaged:
        return vote
    if (segment, synced_bytes) <= (vote.last_segment, vote.synced_bytes):
        return vote
    return replace(vote, last_segment=segment, synced_bytes=synced_bytes)


def _encode(counter: int, vote: Vote) -> bytes:
    body = seal_body(
        [counter, vote.term, vote.voted_for, vote.first_segment, vote.last_segment, vote.synced_bytes]
    )
    if len(body) > SLOT_BYTES:
        raise ValueError(f"the node id {vote.voted_for!r} is too long for a vote")
    return body.ljust(SLOT_BYTES, b"\0")


def _read(data: bytes, name: str, cluster: str, node: str) -> tuple[int, Vote]:
    header = read_header(data, FileKind.VOTE, name=name, cluster=cluster, node=node)
    counter, term, voted_for, first, last, synced = open_body(data, header.size_bytes)
    return counter, Vote(
        term=term, voted_for=voted_for, first_segment=first, last_segment=last, synced_bytes=synced
    )
