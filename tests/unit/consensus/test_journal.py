"""What was synced is there after any end of the process; a torn tail is cut; anything else is refused by name."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from consensus.errors import DataDirectoryError
from consensus.storage.directory import open_storage
from consensus.storage.disk import DirectoryDisk, DiskFull
from consensus.storage.journal import Journal, SyncMode
from consensus.storage.records import FileKind, LogEntry, encode_header
from tests.simulation.disk import SimDisk, SimFile, SimulatedCrash
from tests.unit.consensus.stored import (
    CLUSTER,
    NODE,
    append,
    disk_of,
    entries_of,
    entry,
    files_of,
    flipped,
    new_disk,
    only,
    opened,
    save_snapshot,
)

pytestmark = pytest.mark.unit

SMALL = 400  # bytes of a segment: three to five entries


def indexes(journal: Journal) -> list[int]:
    return [index for _, index, _ in entries_of(journal)]


def segments(disk: SimDisk) -> list[str]:
    return [name for name in disk.names() if name.endswith(".seg")]


def read_again(files: dict[str, bytes]) -> list[LogEntry] | None:
    """None: refused, with instructions."""
    try:
        return entries_of(opened(disk_of(files), segment_bytes_max=SMALL).journal)
    except DataDirectoryError as error:
        return None if "move the data directory away" in str(error) else []


# -- what is kept


def test_a_fresh_journal_has_no_entries_term_0_and_no_vote() -> None:
    journal = opened(new_disk()).journal

    assert (len(journal), journal.getCurrentTerm(), journal.getVotedForNodeId()) == (0, 0, None)
    assert (journal.synced_index, journal.unsynced, journal.getRaftCommitIndex()) == (0, False, 1)


def test_what_was_synced_survives_a_power_cut_with_term_and_vote() -> None:
    for seed in range(30):
        disk = new_disk(seed)
        journal = opened(disk).journal
        journal.setCurrentTerm(3, "n2:7000")
        append(journal, 1, 5, term=3)
        journal.add(*entry(6, 3))
        journal.write()

        disk.crash(power=True)
        journal = opened(disk).journal

        assert indexes(journal) in ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6])
        assert (journal.getCurrentTerm(), journal.getVotedForNodeId()) == (3, "n2:7000")
        assert journal.synced_index == len(journal)


def test_what_was_written_survives_the_end_of_the_process_and_counts_as_synced_only_once_it_is() -> None:
    disk = new_disk()
    journal = opened(disk).journal
    append(journal, 1, 2)
    journal.add(*entry(3))
    journal.write()
    assert (journal.synced_index, journal.unsynced) == (2, True)

    disk.crash(power=False)
    assert opened(disk).journal.synced_index == 3

    disk.crash(power=True)  # what was read at the last start may have been acknowledged since
    assert indexes(opened(disk).journal) == [1, 2, 3]


def test_sync_writes_once_and_calls_fdatasync_once_for_all_that_was_added() -> None:
    disk = new_disk()
    journal = opened(disk).journal
    for index in range(1, 101):
        journal.add(*entry(index))
    before = disk.syncs

    journal.sync()
    journal.sync()

    assert disk.syncs == before + 1
    assert (journal.synced_index, journal.unsynced) == (100, False)


def test_a_text_command_of_the_library_is_kept_as_its_bytes() -> None:
    journal = opened(new_disk()).journal
    journal.add("\x01", 1, 0)
    assert journal[0] == (b"\x01", 1, 0)


def test_slices_and_negative_positions_are_those_of_a_list() -> None:
    journal = opened(new_disk()).journal
    append(journal, 1, 5)
    assert journal[-1] == entry(5)
    assert journal[1:3] == [entry(2), entry(3)]


def test_an_entry_out_of_order_or_too_large_changes_nothing() -> None:
    journal = opened(new_disk()).journal
    append(journal, 1, 2)

    with pytest.raises(ValueError, match="entry 5 cannot stand where entry 3 is due"):
        journal.add(*entry(5))
    with pytest.raises(ValueError, match="too large"):
        journal.add(bytes((1 << 24) + 1), 3, 1)

    assert (indexes(journal), journal.unsynced) == ([1, 2], False)


def test_a_cut_holds_after_a_restart_and_takes_back_the_synced_index_at_once() -> None:
    disk = new_disk()
    journal = opened(disk).journal
    append(journal, 1, 5)

    journal.deleteEntriesFrom(2)
    assert (journal.synced_index, journal.unsynced) == (2, True)
    append(journal, 3, 3, term=2)

    disk.crash(power=True)
    assert [(index, term) for _, index, term in opened(disk).journal[:]] == [(1, 1), (2, 1), (3, 2)]


def test_forgetting_a_prefix_in_memory_touches_no_file() -> None:
    disk = new_disk()
    journal = opened(disk).journal
    append(journal, 1, 5)
    files = files_of(disk)

    journal.deleteEntriesTo(3)

    assert indexes(journal) == [4, 5]
    assert files_of(disk) == files
    append(journal, 6, 6)
    assert indexes(opened(disk).journal) == [1, 2, 3, 4, 5, 6]


# -- segments


def test_full_segments_follow_each_other_and_whole_old_ones_are_dropped() -> None:
    disk = new_disk()
    storage = opened(disk, segment_bytes_max=SMALL)
    for index in range(1, 31):
        append(storage.journal, index, index)
    count = len(segments(disk))
    assert count > 5
    assert max(disk.size_bytes(name) for name in segments(disk)) <= SMALL + 40
    save_snapshot(storage.snapshots, 20)

    storage.journal.drop_segments_below(20)

    assert 1 < len(segments(disk)) < count
    assert indexes(storage.journal) == list(range(1, 31))
    disk.crash(power=True)
    first = indexes(opened(disk, segment_bytes_max=SMALL).journal)[0]
    assert 10 < first <= 20
    assert indexes(opened(disk, segment_bytes_max=SMALL).journal) == list(range(first, 31))


def test_the_newest_segment_is_never_dropped() -> None:
    disk = new_disk()
    journal = opened(disk).journal
    append(journal, 1, 3)
    journal.drop_segments_below(1000)
    assert indexes(opened(disk).journal) == [1, 2, 3]


def test_segments_whose_removal_was_lost_are_removed_at_the_next_start() -> None:
    disk = new_disk()
    storage = opened(disk, segment_bytes_max=SMALL)
    for index in range(1, 21):
        append(storage.journal, index, index)
    save_snapshot(storage.snapshots, 15)
    before = files_of(disk)
    storage.journal.drop_segments_below(15)
    dropped = before.keys() - files_of(disk).keys()
    assert len(dropped) > 2

    again = disk_of(files_of(disk) | {name: before[name] for name in sorted(dropped)[1:]})
    opened(again, segment_bytes_max=SMALL)

    assert segments(again) == segments(disk)


def test_a_log_begun_anew_from_a_snapshot_starts_a_segment_and_frees_the_old_ones() -> None:
    disk = new_disk()
    storage = opened(disk)
    append(storage.journal, 1, 5)
    save_snapshot(storage.snapshots, 500)

    storage.journal.clear()
    append(storage.journal, 499, 500)
    storage.journal.drop_segments_below(499)

    assert only(disk, "journal-") == f"journal-{2:010d}-{499:020d}.seg"
    assert indexes(opened(disk).journal) == [499, 500]


@pytest.mark.parametrize("power", [False, True])
def test_a_crash_at_every_step_of_a_new_segment_loses_nothing_and_needs_no_one(power: bool) -> None:
    for step in range(1, 40):
        for seed in range(12):
            disk = new_disk(seed)
            journal = opened(disk, segment_bytes_max=SMALL).journal
            append(journal, 1, 3)
            disk.operations_until_crash, disk.crash_cuts_power = step, power
            acknowledged = 3
            with contextlib.suppress(SimulatedCrash):
                for index in range(4, 13):
                    append(journal, index, index)
                    acknowledged = index
            disk.crash(power=power)

            found = indexes(opened(disk, segment_bytes_max=SMALL).journal)

            assert found == list(range(1, len(found) + 1))
            assert len(found) in (acknowledged, acknowledged + 1)


def test_a_segment_that_was_being_created_is_harmless_with_any_part_of_its_header() -> None:
    disk = new_disk()
    journal = opened(disk, segment_bytes_max=SMALL).journal
    append(journal, 1, 2)
    files = files_of(disk)
    append(journal, 3, 5)
    append(journal, 6, 9)
    newest = segments(disk)[1]

    header = encode_header(FileKind.SEGMENT, cluster=CLUSTER, node=NODE, extra=(2, 6))
    for length in range(len(header) + 1):
        storage = opened(disk_of(files | {newest: files_of(disk)[newest][:length]}), segment_bytes_max=SMALL)
        assert indexes(storage.journal) == [1, 2]
        assert "was being created" in storage.journal.repairs[0]


def test_a_missing_segment_is_refused_wherever_it_is_missing() -> None:
    disk = new_disk()
    journal = opened(disk, segment_bytes_max=SMALL).journal
    for index in range(1, 21):
        append(journal, index, index)
    files = files_of(disk)
    for name in segments(disk):
        less = {other: data for other, data in files.items() if other != name}
        with pytest.raises(DataDirectoryError, match="of the journal is missing: restore it"):
            opened(disk_of(less), segment_bytes_max=SMALL)


def test_a_segment_of_another_node_or_under_another_number_is_refused() -> None:
    disk, other = new_disk(), new_disk()
    append(opened(disk).journal, 1, 3)
    append(opened(other, node="n2:7000").journal, 1, 3)
    name = only(disk, "journal-")
    with pytest.raises(DataDirectoryError, match=f"{name} belongs to node n2:7000, not n1:7000"):
        opened(disk_of(files_of(disk) | {name: other.read(name)}))

    disk = new_disk()
    journal = opened(disk, segment_bytes_max=SMALL).journal
    for index in range(1, 13):
        append(journal, index, index)
    first, second = segments(disk)[:2]
    with pytest.raises(DataDirectoryError, match="under a wrong name"):
        opened(disk_of(files_of(disk) | {first: disk.read(second)}))


def test_vote_files_restored_from_an_old_copy_are_refused() -> None:
    disk = new_disk()
    journal = opened(disk, segment_bytes_max=SMALL).journal
    old = {name: data for name, data in files_of(disk).items() if name.startswith("vote.")}
    for index in range(1, 21):
        append(journal, index, index)

    with pytest.raises(DataDirectoryError, match="newer than the vote files"):
        opened(disk_of(files_of(disk) | old))


def test_vote_files_that_do_not_know_the_newest_segment_do_not_make_it_unborn() -> None:
    disk = new_disk()
    journal = opened(disk, segment_bytes_max=SMALL).journal
    old = {name: data for name, data in files_of(disk).items() if name.startswith("vote.")}
    append(journal, 1, 5)
    append(journal, 6, 8)
    assert len(segments(disk)) == 2

    with pytest.raises(DataDirectoryError, match="newer than the vote files"):
        opened(disk_of(files_of(disk) | old), segment_bytes_max=SMALL)


# -- every byte


def stopped(*, orderly: bool) -> dict[str, bytes]:
    """Twelve acknowledged entries in batches of one to three, over several segments, with a cut."""
    disk = new_disk()
    journal = opened(disk, segment_bytes_max=SMALL).journal
    for first, last in ((1, 1), (2, 4), (5, 6), (7, 9), (10, 10)):
        append(journal, first, last)
    journal.deleteEntriesFrom(9)
    append(journal, 10, 12, term=2)
    if orderly:
        journal._destroy()
    else:
        disk.crash(power=False)
    return files_of(disk)


WANTED = [entry(index) for index in range(1, 10)] + [entry(index, 2) for index in range(10, 13)]


@pytest.mark.parametrize("orderly", [True, False], ids=["stopped", "killed"])
def test_a_flip_of_any_byte_of_the_journal_loses_no_acknowledged_entry_silently(orderly: bool) -> None:
    files = stopped(orderly=orderly)
    assert read_again(files) == WANTED
    names = [name for name in files if name.endswith(".seg")]
    assert len(names) > 2
    refused = 0
    for name in names:
        for place in range(len(files[name])):
            found = read_again(files | {name: flipped(files[name], place, place % 8)})
            assert found in (None, WANTED), (name, place)
            refused += found is None
    assert refused > 0.5 * sum(len(files[name]) for name in names)


def test_the_seal_alone_shows_a_flip_when_a_power_cut_took_the_end_mark() -> None:
    files = stopped(orderly=False)
    files["vote.0"] = files["vote.0"][: len(files["vote.1"])]
    name = max(name for name in files if name.endswith(".seg"))
    refused = 0
    for place in range(len(files[name])):
        found = read_again(files | {name: flipped(files[name], place, place % 8)})
        assert found in (None, WANTED), place
        refused += found is None
    assert refused > len(files[name]) // 2


@pytest.mark.parametrize("orderly", [True, False], ids=["stopped", "killed"])
def test_a_cut_at_any_length_of_any_segment_loses_no_acknowledged_entry_silently(orderly: bool) -> None:
    files = stopped(orderly=orderly)
    for name in [name for name in files if name.endswith(".seg")]:
        for length in range(len(files[name])):
            found = read_again(files | {name: files[name][:length]})
            assert found in (None, WANTED), (name, length)


def test_a_flip_in_the_votes_beside_a_whole_journal_changes_nothing() -> None:
    files = stopped(orderly=False)
    for name in ("vote.0", "vote.1"):
        for place in range(len(files[name])):
            assert read_again(files | {name: flipped(files[name], place)}) == WANTED


def test_an_unsynced_batch_damaged_at_any_byte_is_cut_reported_and_synced() -> None:
    disk = new_disk()
    journal = opened(disk).journal
    append(journal, 1, 3)
    name = only(disk, "journal-")
    synced = disk.size_bytes(name) - 40  # the seal is not synced
    for index in range(4, 8):
        journal.add(*entry(index))
    journal.write()
    disk.crash(power=False)
    files = files_of(disk)

    for place in range(synced, len(files[name])):
        torn = disk_of(files | {name: flipped(files[name], place)})
        storage = opened(torn)
        found = indexes(storage.journal)
        assert found == list(range(1, len(found) + 1))
        assert len(found) >= 3
        if found != [1, 2, 3, 4, 5, 6, 7]:
            assert f"{name}: the last" in storage.journal.repairs[0]
        append(storage.journal, len(found) + 1, len(found) + 1, term=9)
        torn.crash(power=True)
        assert indexes(opened(torn).journal) == [*found, len(found) + 1]


def test_damage_names_the_file_and_the_byte_and_how_to_rejoin() -> None:
    disk = new_disk()
    journal = opened(disk).journal
    append(journal, 1, 1)
    name = only(disk, "journal-")
    place = disk.read(name).index(b"command 1")
    append(journal, 2, 2)

    damaged = disk_of(files_of(disk) | {name: flipped(disk.read(name), place)})

    with pytest.raises(
        DataDirectoryError, match=rf"{name} is damaged at byte {place - 36} .*: move the data"
    ):
        opened(damaged)


# -- trouble


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


def test_a_journal_stopped_twice_is_stopped() -> None:
    disk = new_disk()
    journal = opened(disk).journal
    journal.add(*entry(1))
    journal._destroy()
    journal._destroy()
    assert indexes(opened(disk).journal) == [1]


def test_restarting_an_idle_node_does_not_grow_its_journal() -> None:
    disk = new_disk()
    append(opened(disk).journal, 1, 3)
    size = disk.size_bytes(only(disk, "journal-"))
    for _ in range(5):
        opened(disk).journal._destroy()
    assert disk.size_bytes(only(disk, "journal-")) == size


def test_the_real_files_hold_the_same(tmp_path: Path) -> None:
    def at_path() -> Journal:
        return open_storage(
            DirectoryDisk(tmp_path),
            cluster="c",
            node="n",
            founders=["n"],
            sync=SyncMode.ALWAYS,
            boot_id="b",
            segment_bytes_max=SMALL,
        ).journal

    journal = at_path()
    journal.setCurrentTerm(2, "n")
    for index in range(1, 21):
        append(journal, index, index, term=2)
    journal.deleteEntriesFrom(15)
    append(journal, 16, 16, term=3)
    journal._destroy()

    journal = at_path()
    assert indexes(journal) == list(range(1, 17))
    assert (journal[-1], journal.getVotedForNodeId(), journal.repairs) == (entry(16, 3), "n", [])
    journal._destroy()
    newest = max(tmp_path.glob("*.seg"))
    newest.write_bytes(newest.read_bytes()[:-50])
    with pytest.raises(DataDirectoryError, match=f"data directory {tmp_path}: {newest.name} is damaged"):
        at_path()
