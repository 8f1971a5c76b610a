"""Whose directory this is; the first start can be interrupted anywhere; what is missing later is refused, never begun anew."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import msgpack
import pytest
from crc32c import crc32c

from consensus.errors import DataDirectoryError
from consensus.storage.directory import lock_directory
from consensus.storage.disk import DiskFull
from consensus.storage.journal import SyncMode
from consensus.storage.records import FORMAT_VERSION
from tests.simulation.disk import SimulatedCrash
from tests.unit.consensus.stored import (
    FOUNDERS,
    append,
    disk_of,
    entries_of,
    entry,
    files_of,
    flipped,
    new_disk,
    opened,
    save_snapshot,
)

pytestmark = pytest.mark.unit


def test_a_directory_is_used_by_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "data"
    lock = lock_directory(path)
    with pytest.raises(DataDirectoryError, match=f"data directory {path} is in use by another process"):
        lock_directory(path)
    lock.close()
    lock_directory(path).close()


def test_a_directory_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataDirectoryError, match="cannot be used"):
        lock_directory(tmp_path / "file" / "data")


def test_the_founders_are_those_of_the_first_start() -> None:
    disk = new_disk()
    opened(disk)
    assert opened(disk, founders=("other:1",)).founders == FOUNDERS


def test_another_cluster_or_node_is_refused_by_name() -> None:
    disk = new_disk()
    opened(disk)
    with pytest.raises(DataDirectoryError, match="identity belongs to cluster 'test', not 'other'"):
        opened(disk, cluster="other")
    with pytest.raises(DataDirectoryError, match="identity belongs to node n1:7000, not n2:7000"):
        opened(disk, node="n2:7000")


def test_a_newer_format_and_the_old_layout_are_refused_by_name() -> None:
    disk = new_disk()
    opened(disk)
    files = files_of(disk)
    newer = bytearray(files["identity"])
    struct.pack_into("<H", newer, 4, FORMAT_VERSION + 1)
    size = struct.unpack_from("<H", newer, 6)[0]
    struct.pack_into("<I", newer, size - 4, crc32c(bytes(newer[: size - 4])))
    with pytest.raises(
        DataDirectoryError, match=f"identity has format {FORMAT_VERSION + 1}, .* start the newer"
    ):
        opened(disk_of(files | {"identity": bytes(newer)}))

    old = {"identity": msgpack.packb([1, "test", "n1:7000"]), "journal": b"QJRNL\0\0\1", "vote": b"1234"}
    disk = disk_of(old)
    with pytest.raises(DataDirectoryError, match="has format 1, this program reads format 2: stop all nodes"):
        opened(disk)
    assert files_of(disk) == old


@pytest.mark.parametrize("power", [False, True])
def test_a_first_start_interrupted_at_any_step_can_be_repeated(power: bool) -> None:
    for step in range(1, 45):
        for seed in range(8):
            disk = new_disk(seed)
            for _ in range(3):  # interrupted again and again
                disk.operations_until_crash, disk.crash_cuts_power = step, power
                with contextlib.suppress(SimulatedCrash):
                    opened(disk)
                disk.crash(power=power)
            storage = opened(disk)
            assert (entries_of(storage.journal), storage.founders) == ([], FOUNDERS)
            append(storage.journal, 1, 1)
            assert set(disk.names()) == {
                "identity",
                "journal-0000000001-00000000000000000001.seg",
                "reserve",
                "vote.0",
                "vote.1",
            }


@pytest.mark.parametrize("power", [False, True])
def test_a_later_start_interrupted_at_any_step_loses_nothing(power: bool) -> None:
    for step in range(1, 25):
        for seed in range(8):
            disk = new_disk(seed)
            storage = opened(disk)
            storage.journal.setCurrentTerm(4, "n2:7000")
            append(storage.journal, 1, 3)
            for index in (4, 5):
                storage.journal.add(*entry(index))
            storage.journal.write()
            disk.crash(power=True)
            disk.operations_until_crash, disk.crash_cuts_power = step, power
            with contextlib.suppress(SimulatedCrash):
                opened(disk, boot_id="boot-2", sync=SyncMode.INTERVAL)
            disk.crash(power=power)
            journal = opened(disk, boot_id="boot-2").journal
            assert entries_of(journal)[:3] == [entry(1), entry(2), entry(3)]
            assert (journal.getCurrentTerm(), journal.getVotedForNodeId()) == (4, "n2:7000")


def test_each_file_that_identity_names_is_missed() -> None:
    disk = new_disk()
    storage = opened(disk)
    append(storage.journal, 1, 3)
    save_snapshot(storage.snapshots, 2)
    storage.journal._destroy()
    files = files_of(disk)
    for name in files:
        if not name.startswith("snapshot-"):  # the journal reaches back to its beginning without it
            less = disk_of({other: data for other, data in files.items() if other != name})
            with pytest.raises(DataDirectoryError, match="missing"):
                opened(less)
            assert name not in less.names()


def test_a_flip_or_a_cut_anywhere_in_the_identity_is_refused() -> None:
    disk = new_disk()
    opened(disk)
    files = files_of(disk)
    data = files["identity"]
    for place in range(len(data)):
        with pytest.raises(
            DataDirectoryError, match=r"identity is damaged at byte .* move the data directory"
        ):
            opened(disk_of(files | {"identity": flipped(data, place, place % 8)}))
        with pytest.raises(
            DataDirectoryError, match=r"identity is damaged at byte .* move the data directory"
        ):
            opened(disk_of(files | {"identity": data[:place]}))


def test_a_full_disk_at_start_gives_up_the_reserve_and_starts() -> None:
    disk = new_disk()
    append(opened(disk).journal, 1, 3)
    disk.limit_bytes = disk.used_bytes()

    storage = opened(disk, boot_id="boot-2")

    assert entries_of(storage.journal) == [entry(1), entry(2), entry(3)]
    storage.journal.setCurrentTerm(5, None)


def test_a_first_start_on_a_full_disk_says_so() -> None:
    disk = new_disk()
    disk.limit_bytes = 10
    with pytest.raises(DiskFull, match="make room"):
        opened(disk)
    disk.limit_bytes = None
    assert entries_of(opened(disk).journal) == []


def test_a_new_directory_must_catch_up_for_it_may_replace_a_lost_one() -> None:
    disk = new_disk()
    assert opened(disk).must_catch_up
    storage = opened(disk)
    assert storage.must_catch_up
    storage.caught_up()
    assert not opened(disk).must_catch_up


def test_an_old_directory_must_catch_up_only_after_another_boot_under_sync_mode_interval() -> None:
    always, interval = SyncMode.ALWAYS, SyncMode.INTERVAL
    for before, now, boot_id, lost in (
        (always, always, "boot-2", False),
        (interval, interval, "boot-1", False),
        (interval, interval, "boot-2", True),
        (interval, always, "boot-2", True),
        (always, interval, "boot-2", True),
    ):
        disk = new_disk()
        opened(disk, sync=before).caught_up()
        assert opened(disk, sync=now, boot_id=boot_id).must_catch_up is lost


def test_must_catch_up_is_told_at_each_start_until_the_node_has_caught_up() -> None:
    disk = new_disk()
    opened(disk, sync=SyncMode.INTERVAL).caught_up()
    assert opened(disk, sync=SyncMode.ALWAYS, boot_id="boot-2").must_catch_up
    disk.crash(power=True)
    storage = opened(disk, sync=SyncMode.ALWAYS, boot_id="boot-2")
    assert storage.must_catch_up

    storage.caught_up()

    disk.crash(power=True)
    assert not opened(disk, sync=SyncMode.ALWAYS, boot_id="boot-3").must_catch_up
