"""Every byte of the journal flipped, every length cut: the same entries, a torn tail that nobody was told of, or a named refusal."""

from __future__ import annotations

import pytest

from consensus.errors import DataDirectoryError
from consensus.storage.records import LogEntry
from tests.unit.consensus.stored import (
    SMALL,
    append,
    disk_of,
    entries_of,
    entry,
    files_of,
    flipped,
    indexes,
    new_disk,
    only,
    opened,
)

pytestmark = pytest.mark.unit


def read_again(files: dict[str, bytes]) -> list[LogEntry] | None:
    """None: refused, with instructions."""
    try:
        return entries_of(opened(disk_of(files), segment_bytes_max=SMALL).journal)
    except DataDirectoryError as error:
        return None if "move the data directory away" in str(error) else []


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
