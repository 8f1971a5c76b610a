"""The simulated disk loses what a real one may lose, and nothing else."""

from __future__ import annotations

import errno
from random import Random

import pytest

from tests.simulation.disk import PAGE_BYTES, SimDisk, SimulatedCrash

pytestmark = pytest.mark.unit

SEEDS = range(200)


def a_disk(seed: int = 0) -> SimDisk:
    return SimDisk(Random(seed), lambda _seconds: None)


def a_disk_with(name: str, content: bytes, seed: int = 0) -> SimDisk:
    disk = a_disk(seed)
    file = disk.create(name)
    file.write(content)
    file.sync()
    disk.sync_directory()
    return disk


def test_what_was_synced_survives_every_power_cut() -> None:
    for seed in SEEDS:
        disk = a_disk_with("log", b"kept" * 3000, seed)
        disk.open("log").write(b"at risk" * 3000)
        disk.crash(power=True)
        assert disk.read("log")[:12000] == b"kept" * 3000


def test_an_unsynced_write_may_survive_vanish_or_be_torn_in_its_middle() -> None:
    seen = set()
    for seed in SEEDS:
        disk = a_disk_with("log", b"", seed)
        disk.open("log").write(b"x" * 3000)
        disk.crash(power=True)
        left = disk.read("log")
        seen.add("gone" if not left.strip(b"\0") else "whole" if left == b"x" * 3000 else "torn")
    assert seen == {"gone", "whole", "torn"}


def test_a_later_page_may_land_though_an_earlier_one_was_lost() -> None:
    found = False
    for seed in SEEDS:
        disk = a_disk_with("log", b"", seed)
        disk.open("log").write(b"x" * (2 * PAGE_BYTES))
        disk.crash(power=True)
        left = disk.read("log")
        found |= left[:PAGE_BYTES] == bytes(PAGE_BYTES) and left[PAGE_BYTES:] == b"x" * PAGE_BYTES
    assert found


def test_a_page_rewritten_in_place_may_come_back_old() -> None:
    contents = set()
    for seed in SEEDS:
        disk = a_disk_with("vote", b"old", seed)
        disk.open("vote").write_at(0, b"new")
        disk.crash(power=True)
        contents.add(disk.read("vote"))
    assert {b"old", b"new"} <= contents


def test_a_truncation_may_be_undone_until_it_is_synced() -> None:
    contents = set()
    for seed in SEEDS:
        disk = a_disk_with("log", b"good and torn", seed)
        disk.open("log").truncate(4)
        disk.crash(power=True)
        contents.add(disk.read("log"))
    assert {b"good", b"good and torn"} <= contents
    disk = a_disk_with("log", b"good and torn")
    file = disk.open("log")
    file.truncate(4)
    file.sync()
    disk.crash(power=True)
    assert disk.read("log") == b"good"


@pytest.mark.parametrize("change", ["create", "rename", "remove"])
def test_an_entry_of_the_directory_may_be_lost_until_the_directory_is_synced(change: str) -> None:
    names = set()
    for seed in SEEDS:
        disk = a_disk_with("old", b"content", seed)
        if change == "create":
            disk.create("new").sync()
        elif change == "rename":
            disk.rename("old", "new")
        else:
            disk.remove("old")
        disk.crash(power=True)
        names.add(tuple(disk.names()))
    expected = {
        "create": {("old",), ("new", "old")},
        "rename": {("old",), ("new",)},
        "remove": {("old",), ()},
    }
    assert names == expected[change]


def test_a_killed_process_loses_nothing_it_wrote() -> None:
    disk = a_disk()
    disk.create("log").write(b"written, never synced")
    disk.crash(power=False)
    assert disk.read("log") == b"written, never synced"


def test_a_full_disk_leaves_a_part_written_and_says_so() -> None:
    disk = a_disk_with("log", b"1234")
    disk.limit_bytes = 6
    with pytest.raises(OSError, match="No space") as failure:
        disk.open("log").write(b"5678")
    assert failure.value.errno == errno.ENOSPC
    assert disk.read("log") == b"123456"


def test_after_a_failed_sync_no_later_sync_makes_its_pages_certain() -> None:
    lost = False
    for seed in SEEDS:
        disk = a_disk_with("log", b"", seed)
        file = disk.open("log")
        file.write(b"x" * 100)
        disk.failures_due = 1
        with pytest.raises(OSError, match="Input/output"):
            file.sync()
        file.sync()
        disk.crash(power=True)
        lost |= disk.read("log") != b"x" * 100
    assert lost


def test_a_crash_can_be_asked_for_inside_any_operation() -> None:
    for seed in SEEDS:
        disk = a_disk(seed)
        disk.operations_until_crash = 3
        file = disk.create("log")
        file.write(b"x")
        with pytest.raises(SimulatedCrash):
            file.sync()
        disk.crash(power=True)
        assert disk.names() in ([], ["log"])


def test_files_of_a_dead_process_cannot_be_written() -> None:
    disk = a_disk()
    file = disk.create("log")
    disk.crash(power=False)
    with pytest.raises(RuntimeError, match="dead process"):
        file.write(b"ghost")


def test_a_turned_bit_is_read_and_stays() -> None:
    disk = a_disk_with("log", b"\x00\x00")
    disk.turn_a_bit("log", 1, 3)
    disk.crash(power=True)
    assert disk.read("log") == b"\x00\x08"


def test_a_slow_disk_costs_its_node_time() -> None:
    spent = []
    disk = SimDisk(Random(1), spent.append)
    file = disk.create("log")
    disk.slow_sync_s = 0.5
    file.sync()
    assert sum(spent) > 0.01
