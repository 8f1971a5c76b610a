"""What every disk must do: the real directory and the simulated one, by the same list of promises."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from consensus.storage.disk import DirectoryDisk, Disk
from tests.simulation.disk import SimDisk

pytestmark = pytest.mark.unit


@pytest.fixture(params=["directory", "simulated"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    return DirectoryDisk(tmp_path) if request.param == "directory" else SimDisk(Random(0), lambda _: None)


def test_a_created_file_is_empty_listed_and_cannot_be_created_twice(disk: Disk) -> None:
    disk.create("b").close()
    disk.create("a").close()

    assert sorted(disk.names()) == ["a", "b"]
    assert (disk.size_bytes("a"), disk.read("a")) == (0, b"")
    with pytest.raises(FileExistsError):
        disk.create("a")


def test_what_is_not_there_is_not_opened_read_measured_renamed_or_removed(disk: Disk) -> None:
    for act in (disk.open, disk.read, disk.size_bytes, disk.remove):
        with pytest.raises(FileNotFoundError):
            act("a")
    with pytest.raises(FileNotFoundError):
        disk.rename("a", "b")


def test_writes_append_also_after_the_file_was_opened_again(disk: Disk) -> None:
    file = disk.create("a")
    file.write(b"one")
    file.write(b"two")
    file.sync()
    file.close()
    file = disk.open("a")
    assert file.size_bytes() == 6
    file.write(b"three")

    assert disk.read("a") == b"onetwothree"
    assert disk.size_bytes("a") == file.size_bytes() == 11
    file.close()


def test_a_write_at_a_place_overwrites_and_may_go_beyond_the_end(disk: Disk) -> None:
    file = disk.create("a")
    file.write(b"012345")
    file.write_at(2, b"xx")
    file.write_at(8, b"y")
    file.write(b"z")

    assert disk.read("a") == b"01xx45\0\0yz"
    file.close()


def test_a_truncated_file_goes_on_at_its_new_end(disk: Disk) -> None:
    file = disk.create("a")
    file.write(b"012345")
    file.truncate(2)
    file.write(b"ab")

    assert disk.read("a") == b"01ab"
    file.close()


def test_a_part_is_read_and_less_where_the_file_ends(disk: Disk) -> None:
    file = disk.create("a")
    file.write(b"012345")
    file.close()

    assert disk.read("a", 2, 3) == b"234"
    assert disk.read("a", 4, 100) == b"45"
    assert disk.read("a", 3) == b"345"
    assert disk.read("a", 100, 5) == b""


def test_a_rename_replaces_and_an_open_file_is_still_the_same(disk: Disk) -> None:
    file, old = disk.create("new"), disk.create("name")
    old.write(b"old")
    old.close()
    file.write(b"1")
    disk.rename("new", "name")
    file.write(b"2")
    file.sync()
    disk.sync_directory()

    assert (disk.names(), disk.read("name")) == (["name"], b"12")
    disk.remove("name")
    assert disk.names() == []
    file.close()
    file.close()
