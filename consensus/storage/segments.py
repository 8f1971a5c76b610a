"""The files of the journal: their names, their order, and what a start makes of them.

Segments are numbered one by one; the name carries the number and the first index: `journal-<number>-<first index>.seg`. (The
index alone would not do: after a conflict was cut a second segment may begin at the same index.) The vote slots say which numbers must be
there, so a missing file is seen wherever it is missing. A segment with the number after the last that the slots know was being
created when the process ended; nothing in it was ever acknowledged, and its predecessor is whole: it is removed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from consensus.errors import DataDirectoryError
from consensus.storage.disk import Disk, DiskFile
from consensus.storage.records import (
    REJOIN,
    Damaged,
    FileKind,
    Header,
    LogEntry,
    Scan,
    encode_header,
    read_header,
    scan,
)
from consensus.storage.votes import Vote

_NAME = re.compile(r"journal-(\d{10})-(\d{20})\.seg")


@dataclass(slots=True, kw_only=True)
class Segment:
    number: int
    name: str
    last_index: int = 0  # highest index of any entry in it, also of entries that were cut later


def is_segment(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def create_segment(
    disk: Disk, *, number: int, first_index: int, cluster: str, node: str
) -> tuple[Segment, Header, DiskFile]:
    """A new file with its header, synced, and its directory too. When it raises, nothing of it is left."""
    name = f"journal-{number:010d}-{first_index:020d}.seg"
    data = encode_header(FileKind.SEGMENT, cluster=cluster, node=node, extra=(number, first_index))
    file = disk.create(name)
    try:
        file.write(data)
        file.sync()
        disk.sync_directory()
    except OSError:
        file.close()
        disk.remove(name)
        raise
    header = read_header(data, FileKind.SEGMENT, name=name, cluster=cluster, node=node)
    return Segment(number=number, name=name), header, file


@dataclass(slots=True, kw_only=True)
class Found:
    """The journal as it is on disk. `end_bytes`, `header` and `sealed` belong to the last segment."""

    segments: list[Segment]
    entries: list[LogEntry]
    header: Header
    end_bytes: int
    sealed: bool
    repairs: list[str]


def read_segments(disk: Disk, expected: Vote, *, cluster: str, node: str) -> Found:
    """Reads, judges and repairs. Raises `DataDirectoryError` for damage. What it returns is not yet synced."""
    repairs: list[str] = []
    names = _names(disk)
    for number in sorted(names):
        if number < expected.first_segment:
            disk.remove(names.pop(number))  # dropped on purpose, the removal itself was lost
    _remove_unborn(disk, names, expected, cluster, node, repairs)
    for number in range(expected.first_segment, expected.last_segment + 1):
        if number not in names:
            raise DataDirectoryError(f"segment {number} of the journal is missing: restore it, or {REJOIN}")
    if max(names) > expected.last_segment:
        raise DataDirectoryError(
            f"{names[max(names)]} is newer than the vote files: they were replaced by old ones; {REJOIN}"
        )
    segments, entries = [], list[LogEntry]()
    for number in sorted(names):
        segment, header, result = _read_segment(disk, number, names[number], entries, cluster, node)
        segments.append(segment)
        size = disk.size_bytes(segment.name)
        synced_bytes = expected.synced_bytes if number == expected.last_segment else size
        if result.good_bytes < synced_bytes or result.proof is not None:
            raise _damage(
                segment.name, result.good_bytes, "what stands there was acknowledged and is damaged"
            )
        if result.good_bytes < size:
            _cut_tail(disk, segment.name, result.good_bytes, size, repairs)
    return Found(
        segments=segments,
        entries=entries,
        header=header,
        end_bytes=result.good_bytes,
        sealed=result.sealed,
        repairs=repairs,
    )


def _names(disk: Disk) -> dict[int, str]:
    names: dict[int, str] = {}
    for name in disk.names():
        if match := _NAME.fullmatch(name):
            number = int(match[1])
            if number in names:
                raise DataDirectoryError(
                    f"{names[number]} and {name} have the same number, one is foreign: {REJOIN}"
                )
            names[number] = name
    return names


def _remove_unborn(
    disk: Disk, names: dict[int, str], expected: Vote, cluster: str, node: str, repairs: list[str]
) -> None:
    number = expected.last_segment + 1
    name = names.get(number)
    if name is None:
        return
    header = encode_header(FileKind.SEGMENT, cluster=cluster, node=node, extra=(number, int(name[19:39])))
    if disk.size_bytes(name) > len(header):
        return  # it holds more than a header: not being born; the caller refuses it
    disk.remove(name)
    disk.sync_directory()
    del names[number]
    repairs.append(f"{name} was being created when the node ended, nothing was in it: removed")


def _read_segment(
    disk: Disk, number: int, name: str, entries: list[LogEntry], cluster: str, node: str
) -> tuple[Segment, Header, Scan]:
    data = disk.read(name)
    try:
        header = read_header(data, FileKind.SEGMENT, name=name, cluster=cluster, node=node)
        if header.extra[0] != number:
            raise DataDirectoryError(f"{name} is segment {header.extra[0]} under a wrong name: {REJOIN}")
        result = scan(data, header, entries)
    except Damaged as damage:
        raise _damage(name, damage.place, str(damage)) from damage
    return Segment(number=number, name=name, last_index=result.last_index), header, result


def _cut_tail(disk: Disk, name: str, good_bytes: int, size: int, repairs: list[str]) -> None:
    file = disk.open(name)
    try:
        file.truncate(good_bytes)
    finally:
        file.close()
    repairs.append(
        f"{name}: the last {size - good_bytes} bytes, from byte {good_bytes} on, were torn when the node ended; "
        "they had not been acknowledged and are cut off"
    )


def _damage(name: str, place: int, why: str) -> DataDirectoryError:
    return DataDirectoryError(f"{name} is damaged at byte {place} ({why}): {REJOIN}")


def droppable(segments: list[Segment], index: int) -> Iterator[Segment]:
    """The oldest ones that hold only entries below `index`; never the newest."""
    for segment in segments[:-1]:
        if segment.last_index >= index:
            return
        yield segment
