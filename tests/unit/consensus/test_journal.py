"""What was synced is there after any end of the process; segments follow each other, and a missing one is missed."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from consensus.errors import DataDirectoryError
from consensus.storage.directory import open_storage
from consensus.storage.disk import DirectoryDisk
from consensus.storage.journal import Journal, SyncMode
from consensus.storage.records import FileKind, encode_header
from tests.simulation.disk import SimulatedCrash
from tests.unit.consensus.stored import (
    CLUSTER,
    NODE,
    SMALL,
    append,
    disk_of,
    entry,
    files_of,
    indexes,
    new_disk,
    only,
    opened,
    save_snapshot,
    segments,
)

pytestmark = pytest.mark.unit


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


# -- stop and restart


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
