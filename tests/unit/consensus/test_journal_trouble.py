"""A full disk loses and doubles nothing and is waited out; an I/O error is final."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from random import Random

import pytest

from consensus.storage.disk import DiskFull
from consensus.storage.journal import Journal
from consensus.storage.records import FileKind, encode_header
from tests.simulation.disk import SimDisk, SimFile
from tests.unit.consensus.stored import (
    CLUSTER,
    NODE,
    SMALL,
    append,
    entry,
    indexes,
    new_disk,
    opened,
    segments,
)

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("act", [Journal.sync, Journal.write], ids=["sync", "write"])
def test_a_full_disk_loses_and_doubles_nothing_whatever_room_is_left(act: Callable[[Journal], None]) -> None:
    for room in range(0, 240, 7):
        disk = new_disk()
        journal = opened(disk).journal
        append(journal, 1, 2)
        disk.limit_bytes = disk.used_bytes() + room
        for index in range(3, 8):
            journal.add(*entry(index))
        with pytest.raises(DiskFull, match="the disk is full"):
            act(journal)
        assert (journal.synced_index, journal.unsynced) == (2, True)
        journal.add(*entry(8))
        with pytest.raises(DiskFull):
            act(journal)

        disk.limit_bytes = None
        journal.sync()

        assert journal.synced_index == 8
        disk.crash(power=True)
        assert indexes(opened(disk).journal) == list(range(1, 9))


def test_a_full_disk_at_a_new_segment_is_waited_out_at_every_byte_of_room() -> None:
    for room in range(0, 1200, 13):
        disk = new_disk()
        journal = opened(disk, segment_bytes_max=SMALL).journal
        append(journal, 1, 3)
        disk.limit_bytes = disk.used_bytes() + room
        acknowledged = 3
        with contextlib.suppress(DiskFull):
            for index in range(4, 16):
                append(journal, index, index)
                acknowledged = index
        if room % 2:
            disk.crash(power=False)
            found = indexes(opened(disk, segment_bytes_max=SMALL).journal)
            assert found == list(range(1, len(found) + 1))
            assert len(found) >= acknowledged
            continue
        disk.limit_bytes = None
        journal.sync()
        last = journal[-1][1]
        assert indexes(opened(disk, segment_bytes_max=SMALL).journal) == list(range(1, last + 1))


class ForgetfulDisk(SimDisk):
    """Promises room that is not there: one fdatasync ends with ENOSPC and what it should have written is gone."""

    promises_broken = 0

    def open(self, name: str) -> SimFile:
        disk = self

        class File(SimFile):
            def sync(self) -> None:
                if disk.promises_broken:
                    disk.promises_broken -= 1
                    inode = self._inode
                    inode.data[inode.synced_bytes :] = bytes(len(inode.data) - inode.synced_bytes)
                    raise OSError(errno.ENOSPC, "No space left on device (simulated)")
                super().sync()

        return File(self, self._found(name), self._life)


def test_an_fdatasync_that_found_no_room_is_repeated_with_all_bytes_written_again() -> None:
    disk = ForgetfulDisk(Random(0), lambda _: None)
    journal = opened(disk).journal
    append(journal, 1, 2)
    for index in (3, 4):
        journal.add(*entry(index))
    disk.promises_broken = 2
    for _ in range(2):
        with pytest.raises(DiskFull):
            journal.sync()
    assert (journal.synced_index, journal.unsynced) == (2, True)

    journal.sync()

    disk.crash(power=True)
    assert indexes(opened(disk).journal) == [1, 2, 3, 4]


class CopyOnWriteDisk(SimDisk):
    """Without room a file system like btrfs cannot even overwrite."""

    def open(self, name: str) -> SimFile:
        disk = self

        class File(SimFile):
            def write_at(self, offset: int, data: bytes) -> None:
                if disk.room_bytes() <= 0:
                    raise OSError(errno.ENOSPC, "No space left on device (simulated)")
                super().write_at(offset, data)

        return File(self, self._found(name), self._life)


def test_a_vote_on_a_full_disk_takes_the_room_of_the_reserve_which_comes_back_later() -> None:
    disk = CopyOnWriteDisk(Random(0), lambda _: None)
    journal = opened(disk).journal
    append(journal, 1, 1)
    disk.limit_bytes = disk.used_bytes()

    journal.setCurrentTerm(2, "n2:7000")

    assert "reserve" not in disk.names()
    assert opened(disk).journal.getCurrentTerm() == 2
    disk.limit_bytes = None
    append(journal, 2, 2)
    assert disk.size_bytes("reserve") == 1 << 20


def test_a_new_segment_that_the_votes_could_not_name_is_taken_up_again_or_removed_at_the_next_start() -> None:
    for killed in (False, True):
        disk = CopyOnWriteDisk(Random(0), lambda _: None)
        journal = opened(disk, segment_bytes_max=SMALL).journal
        append(journal, 1, 6)
        disk.remove("reserve")
        disk.crash(power=False)
        disk.limit_bytes = disk.used_bytes()
        journal = opened(disk, segment_bytes_max=SMALL).journal
        journal.add(*entry(7))
        header = encode_header(FileKind.SEGMENT, cluster=CLUSTER, node=NODE, extra=(2, 7))
        disk.limit_bytes = disk.used_bytes() + len(header)  # and nothing more
        for _ in range(2):
            with pytest.raises(DiskFull):
                journal.sync()
        assert len(segments(disk)) == 2
        if killed:
            disk.crash(power=False)
            journal = opened(disk, segment_bytes_max=SMALL).journal
            assert "was being created" in journal.repairs[0]
            journal.add(*entry(7))
        disk.limit_bytes = None

        journal.sync()

        disk.crash(power=True)
        assert indexes(opened(disk, segment_bytes_max=SMALL).journal) == list(range(1, 8))
        assert len(segments(disk)) == 2


def test_a_tail_that_cannot_be_cut_after_a_full_disk_is_final() -> None:
    class StuckDisk(SimDisk):
        def open(self, name: str) -> SimFile:
            class File(SimFile):
                def truncate(self, size_bytes: int) -> None:
                    raise OSError(errno.ENOSPC, "No space left on device (simulated)")

            return File(self, self._found(name), self._life)

    disk = StuckDisk(Random(0), lambda _: None)
    journal = opened(disk).journal
    append(journal, 1, 2)
    disk.limit_bytes = disk.used_bytes() + 60
    for index in (3, 4):
        journal.add(*entry(index))
    for _ in range(2):
        with pytest.raises(OSError, match="No space left") as raised:
            journal.sync()
        assert not isinstance(raised.value, DiskFull)
        disk.limit_bytes = None


def test_a_reserve_that_does_not_fit_is_tried_again_now_and_then_and_disturbs_nothing() -> None:
    disk = new_disk()
    append(opened(disk).journal, 1, 1)
    disk.remove("reserve")
    disk.limit_bytes = disk.used_bytes() + 100_000
    journal = opened(disk).journal
    append(journal, 2, 2)
    assert "reserve" not in disk.names()

    disk.limit_bytes = None
    for index in range(3, 300):
        append(journal, index, index)

    assert disk.size_bytes("reserve") == 1 << 20


def test_an_io_error_is_final_and_the_disk_is_not_asked_again() -> None:
    disk = new_disk()
    journal = opened(disk).journal
    append(journal, 1, 2)
    journal.add(*entry(3))
    disk.failures_due = 1
    with pytest.raises(OSError, match="Input/output error"):
        journal.sync()
    syncs = disk.syncs

    for act in (journal.sync, journal.write, lambda: journal.setCurrentTerm(9, None)):
        with pytest.raises(OSError, match="Input/output error") as raised:
            act()
        assert raised.value.errno == errno.EIO

    assert disk.syncs == syncs
    assert (journal.synced_index, journal.getCurrentTerm()) == (2, 0)
    journal._destroy()


def test_a_vote_that_could_not_be_synced_is_not_in_force() -> None:
    disk = new_disk()
    journal = opened(disk).journal
    journal.setCurrentTerm(1, "n1:7000")
    disk.failures_due = 1
    with pytest.raises(OSError, match="Input/output error"):
        journal.setCurrentTerm(2, "n2:7000")
    assert (journal.getCurrentTerm(), journal.getVotedForNodeId()) == (1, "n1:7000")
