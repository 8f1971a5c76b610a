"""Two snapshots are kept; a damaged one is never loaded; one on its way can be resumed and is verified before it counts."""

from __future__ import annotations

import contextlib

import pytest

from consensus.errors import DataDirectoryError
from consensus.storage.disk import DiskFull
from consensus.storage.snapshots import SnapshotHead, SnapshotReceiver, SnapshotStore
from tests.simulation.disk import SimDisk, SimulatedCrash
from tests.unit.consensus.stored import (
    CLUSTER,
    FOUNDERS,
    NODE,
    append,
    disk_of,
    entry,
    files_of,
    flipped,
    new_disk,
    opened,
    save_snapshot,
)

pytestmark = pytest.mark.unit


def store_on(disk: SimDisk, node: str = NODE) -> SnapshotStore:
    return SnapshotStore(disk, cluster=CLUSTER, node=node)


def index_of_newest(store: SnapshotStore) -> int | None:
    snapshot = store.newest()
    return None if snapshot is None else snapshot.head.last[1]


def snapshots(disk: SimDisk) -> list[str]:
    return [name for name in disk.names() if name.startswith("snapshot-")]


def transferred(source: SimDisk, target: SnapshotStore, chunk_bytes: int = 50) -> SnapshotReceiver:
    """All but `finish`."""
    file = store_on(source, "n2:7000").newest_file()
    assert file is not None
    receiver = target.receiver(file.index, file.term, file.size_bytes, file.sha256)
    while receiver.offset < file.size_bytes:
        receiver.write(receiver.offset, file.read(receiver.offset, chunk_bytes))
    file.close()
    return receiver


# -- written here


def test_a_snapshot_comes_back_with_head_and_sections() -> None:
    disk = new_disk()
    head = SnapshotHead(last=entry(7, 3), before=entry(6, 2), members=FOUNDERS)
    writer = store_on(disk).writer(head)
    writer.write_section("executed", b"x" * 3_000_000)
    writer.write_section("empty", b"")
    writer.finish()
    disk.crash(power=True)

    found = store_on(disk).newest()

    assert found is not None
    assert found.head == head
    assert isinstance(found.head.last, tuple)  # the library compares entries as tuples
    assert found.sections == [("executed", b"x" * 3_000_000), ("empty", b"")]
    assert snapshots(disk) == [f"snapshot-{7:020d}-{3:020d}"]


def test_without_any_snapshot_there_is_none() -> None:
    store = store_on(new_disk())
    assert (store.newest(), store.older_index(), store.newest_file()) == (None, None, None)


def test_two_are_kept_and_the_journal_must_reach_back_to_the_older() -> None:
    disk = new_disk()
    store = store_on(disk)
    save_snapshot(store, 10)
    assert store.older_index() is None
    for index in (20, 30):
        save_snapshot(store, index)

    assert len(snapshots(disk)) == 2
    assert (index_of_newest(store), store.older_index()) == (30, 20)


def test_an_unfinished_one_leaves_nothing_neither_after_abort_nor_after_a_crash() -> None:
    disk = new_disk()
    store = store_on(disk)
    save_snapshot(store, 10)
    files = files_of(disk)
    head = SnapshotHead(last=entry(20), before=entry(19), members=())
    writer = store.writer(head)
    writer.write_section("t", b"x")
    writer.abort()
    writer.abort()
    writer.write_section("t", b"more")  # handed over before the abort was known
    assert files_of(disk) == files
    with pytest.raises(ValueError, match="given up"):
        writer.finish()

    store.writer(head).write_section("t", b"x")
    store_on(disk).receiver(20, 1, 100, bytes(32)).write(0, b"part")
    disk.crash(power=False)
    assert index_of_newest(store_on(disk)) == 10
    assert files_of(disk) == files


@pytest.mark.parametrize("power", [False, True])
def test_a_crash_at_every_step_leaves_the_old_ones_or_the_new_one(power: bool) -> None:
    seen = set()
    for step in range(1, 14):
        for seed in range(15):
            disk = new_disk(seed)
            save_snapshot(store_on(disk), 10)
            save_snapshot(store_on(disk), 20)
            disk.operations_until_crash, disk.crash_cuts_power = step, power
            finished = False
            try:
                save_snapshot(store_on(disk), 30)
                finished = True
            except SimulatedCrash:
                disk.crash(power=power)
            store = store_on(disk)
            newest = index_of_newest(store)
            assert store.damaged == []
            assert newest in ((30,) if finished else (20, 30))
            seen.add(newest)
    assert seen == {20, 30}


def test_what_a_killed_process_renamed_is_made_certain_by_the_next_start() -> None:
    seen = set()
    for step in range(1, 30):
        for seed in range(6):
            disk = new_disk(seed)
            storage = opened(disk)
            append(storage.journal, 1, 40)
            save_snapshot(storage.snapshots, 10)
            disk.operations_until_crash, disk.crash_cuts_power = step, False
            with contextlib.suppress(SimulatedCrash):
                save_snapshot(storage.snapshots, 30)
            disk.crash(power=False)
            told = index_of_newest(opened(disk).snapshots)  # the journal may be shortened accordingly

            disk.crash(power=True)

            assert index_of_newest(opened(disk).snapshots) == told
            seen.add(told)
    assert seen == {10, 30}


def test_a_full_disk_gives_the_new_one_up_and_keeps_the_old_ones() -> None:
    for room in range(0, 500, 11):
        disk = new_disk()
        store = store_on(disk)
        save_snapshot(store, 10)
        files = files_of(disk)
        disk.limit_bytes = disk.used_bytes() + room
        with pytest.raises(DiskFull, match="a snapshot does not fit"):
            save_snapshot(store, 20, tables=4)
        assert files_of(disk) == files


# -- damage


def test_a_flip_or_a_cut_anywhere_in_the_newest_gives_way_to_the_older_and_is_told() -> None:
    disk = new_disk()
    for index in (10, 20):
        save_snapshot(store_on(disk), index)
    files = files_of(disk)
    newest = max(files)
    damages = [flipped(files[newest], place, place % 8) for place in range(len(files[newest]))]
    damages += [files[newest][:length] for length in range(len(files[newest]))]

    for damaged in damages:
        store = store_on(disk_of(files | {newest: damaged}))
        assert index_of_newest(store) == 10
        assert f"{newest} is damaged at byte" in store.damaged[0]
        assert store.older_index() is None  # nothing of the journal may go


def test_a_damaged_one_does_not_count_among_the_two_kept() -> None:
    disk = new_disk()
    for index in (10, 20):
        save_snapshot(store_on(disk), index)
    disk.turn_a_bit(max(snapshots(disk)), 200, 3)
    store = store_on(disk)
    assert index_of_newest(store) == 10

    save_snapshot(store, 30)

    assert (index_of_newest(store_on(disk)), store.older_index()) == (30, 10)
    assert len(snapshots(disk)) == 2


def test_with_no_whole_one_left_the_start_is_refused_with_instructions() -> None:
    disk = new_disk()
    for index in (10, 20):
        save_snapshot(store_on(disk), index)
    for name in snapshots(disk):
        disk.turn_a_bit(name, 100, 0)

    with pytest.raises(DataDirectoryError, match="There is no other: move the data directory away"):
        store_on(disk).newest()


def test_a_start_on_the_older_needs_a_journal_that_reaches_back_to_it() -> None:
    disk = new_disk()
    storage = opened(disk, segment_bytes_max=400)
    for index in range(1, 31):
        append(storage.journal, index, index)
    for index in (12, 22):
        save_snapshot(storage.snapshots, index)
    older = storage.snapshots.older_index()
    assert older == 12
    storage.journal.drop_segments_below(older)
    disk.turn_a_bit(max(snapshots(disk)), 100, 0)

    storage = opened(disk, segment_bytes_max=400)
    assert storage.journal[0][1] <= 12
    assert index_of_newest(storage.snapshots) == 12

    storage.journal.drop_segments_below(22)  # what a node must not do
    with pytest.raises(DataDirectoryError, match="the snapshots reach only to entry 12"):
        opened(disk, segment_bytes_max=400)


def test_lost_snapshots_are_missed() -> None:
    disk = new_disk()
    storage = opened(disk, segment_bytes_max=400)
    for index in range(1, 31):
        append(storage.journal, index, index)
    save_snapshot(storage.snapshots, 20)
    storage.journal.drop_segments_below(20)
    less = {name: data for name, data in files_of(disk).items() if not name.startswith("snapshot-")}
    with pytest.raises(DataDirectoryError, match="A snapshot is missing"):
        opened(disk_of(less), segment_bytes_max=400)

    storage.journal.clear()
    storage.journal.sync()
    less = {name: data for name, data in files_of(disk).items() if not name.startswith("snapshot-")}
    with pytest.raises(DataDirectoryError, match="emptied for a snapshot that is missing"):
        opened(disk_of(less), segment_bytes_max=400)


def test_another_cluster_is_refused_another_node_is_not() -> None:
    disk = new_disk()
    save_snapshot(store_on(disk, "n2:7000"), 10)
    assert index_of_newest(store_on(disk)) == 10
    with pytest.raises(DataDirectoryError, match="belongs to cluster 'test', not 'other'"):
        SnapshotStore(disk, cluster="other", node=NODE).newest()


# -- sent and received


def test_a_file_being_sent_stays_until_it_is_closed_though_newer_ones_come() -> None:
    disk = new_disk()
    store = store_on(disk)
    save_snapshot(store, 10)
    file = store.newest_file()
    assert file is not None
    whole = disk.read(file.name)
    for index in (20, 30, 40):
        save_snapshot(store, index)

    assert file.read(5, 100) == whole[5:105]
    assert file.read(0, file.size_bytes + 100) == whole
    assert len(snapshots(disk)) == 3
    file.close()
    file.close()
    assert len(snapshots(disk)) == 2


def test_what_was_being_sent_when_the_process_ended_is_removed_at_the_next_start() -> None:
    disk = new_disk()
    store = store_on(disk)
    save_snapshot(store, 10)
    assert store.newest_file() is not None
    for index in (20, 30):
        save_snapshot(store, index)
    assert len(snapshots(disk)) == 3

    assert store_on(disk).older_index() == 20
    assert len(snapshots(disk)) == 2


def test_a_received_snapshot_is_whole_synced_and_the_newest() -> None:
    source, disk = new_disk(), new_disk()
    save_snapshot(store_on(source, "n2:7000"), 50, 4)
    store = store_on(disk)

    snapshot = transferred(source, store).finish()

    assert snapshot == store_on(source).newest()
    disk.crash(power=True)
    assert store_on(disk).newest() == snapshot


def test_a_transfer_goes_on_where_it_stood_and_chunks_may_come_twice_or_not_at_all() -> None:
    source, store = new_disk(), store_on(new_disk())
    save_snapshot(store_on(source), 50)
    file = store_on(source).newest_file()
    assert file is not None
    wanted = (file.index, file.term, file.size_bytes, file.sha256)
    store.receiver(*wanted).write(0, file.read(0, 100))
    store.receiver(*wanted).write(0, file.read(0, 100))
    store.receiver(*wanted).write(200, file.read(200, 100))

    assert store.receiver(*wanted).offset == 100
    store.receiver(*wanted).write(100, file.read(100, file.size_bytes))
    assert store.receiver(*wanted).finish().head.last[1] == 50


def test_a_newer_transfer_replaces_the_unfinished_one() -> None:
    disk = new_disk()
    store = store_on(disk)
    store.receiver(10, 1, 1000, bytes(32)).write(0, b"abc")
    assert store.receiver(20, 1, 1000, bytes(32)).offset == 0
    assert len(disk.names()) == 1


def test_a_received_snapshot_with_any_byte_wrong_is_thrown_away_and_can_be_begun_anew() -> None:
    source, disk = new_disk(), new_disk()
    save_snapshot(store_on(source), 50)
    store = store_on(disk)
    save_snapshot(store, 10)
    file = store_on(source).newest_file()
    assert file is not None
    whole = file.read(0, file.size_bytes)
    wanted = (file.index, file.term, file.size_bytes, file.sha256)
    for place in range(len(whole)):
        receiver = store.receiver(*wanted)
        assert receiver.offset == 0
        receiver.write(0, flipped(whole, place))
        with pytest.raises(ValueError, match="thrown away"):
            receiver.finish()
    assert index_of_newest(store) == 10
    assert len(snapshots(disk)) == 1

    short = store.receiver(*wanted)
    short.write(0, whole[:-1])
    with pytest.raises(ValueError, match="not what was announced"):
        short.finish()
    assert transferred(source, store).finish().head.last[1] == 50


def test_a_snapshot_announced_with_another_end_or_of_another_cluster_is_thrown_away() -> None:
    source = new_disk()
    save_snapshot(store_on(source), 50)
    file = store_on(source).newest_file()
    assert file is not None
    whole = file.read(0, file.size_bytes)

    receiver = store_on(new_disk()).receiver(51, 1, file.size_bytes, file.sha256)
    receiver.write(0, whole)
    with pytest.raises(ValueError, match="ends at entry 50, not 51"):
        receiver.finish()

    receiver = SnapshotStore(new_disk(), cluster="other", node=NODE).receiver(
        50, 1, file.size_bytes, file.sha256
    )
    receiver.write(0, whole)
    with pytest.raises(ValueError, match="belongs to cluster 'test'"):
        receiver.finish()


def test_more_bytes_than_announced_are_refused() -> None:
    receiver = store_on(new_disk()).receiver(50, 1, 10, bytes(32))
    with pytest.raises(ValueError, match="10 bytes was announced, more came"):
        receiver.write(0, bytes(11))


def test_a_full_disk_interrupts_a_transfer_which_then_goes_on() -> None:
    source, disk = new_disk(), new_disk()
    save_snapshot(store_on(source), 50)
    store = store_on(disk)
    disk.limit_bytes = 130
    with pytest.raises(DiskFull):
        transferred(source, store)
    disk.limit_bytes = None

    receiver = transferred(source, store)

    assert receiver.finish().head.last[1] == 50
