"""Journal and snapshots: what was synced is read back; a torn tail is cut, damage is refused by name."""

from pathlib import Path

import pytest

from consensus.errors import DataDirectoryError
from consensus.storage.journal import Journal
from consensus.storage.snapshots import Snapshot, SnapshotStore, encode_snapshot

pytestmark = pytest.mark.unit


def written(path: Path, count: int = 5) -> Path:
    journal = Journal(path / "journal")
    journal.setCurrentTerm(3, "n1")
    for index in range(1, count + 1):
        journal.add(b"command %d" % index, index, 3)
    journal.sync()
    journal._destroy()
    return path / "journal"


def entries(path: Path) -> list[tuple[bytes, int, int]]:
    journal = Journal(path)
    try:
        return [journal[i] for i in range(len(journal))]
    finally:
        journal._destroy()


def test_what_was_synced_is_read_back_with_term_and_vote(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert [index for _, index, _ in entries(path)] == [1, 2, 3, 4, 5]
    journal = Journal(path)
    assert (journal.getCurrentTerm(), journal.getVotedForNodeId()) == (3, "n1")
    journal._destroy()


def test_a_cut_holds_after_a_restart(tmp_path: Path) -> None:
    path = written(tmp_path)
    journal = Journal(path)
    journal.deleteEntriesFrom(2)
    journal.add(b"other", 3, 4)
    journal._destroy()
    assert [(index, term) for _, index, term in entries(path)] == [(1, 3), (2, 3), (3, 4)]


def test_compaction_keeps_the_rest(tmp_path: Path) -> None:
    path = written(tmp_path)
    journal = Journal(path)
    journal.deleteEntriesTo(3)
    journal._destroy()
    assert [index for _, index, _ in entries(path)] == [4, 5]


def test_every_length_of_a_torn_last_record_is_cut_at_the_last_good_one(tmp_path: Path) -> None:
    path = written(tmp_path)
    whole = path.read_bytes()
    last = whole.rindex(b"command 5") - 25
    for length in range(last + 1, len(whole)):
        path.write_bytes(whole[:length])
        assert [index for _, index, _ in entries(path)] == [1, 2, 3, 4]
        assert len(path.read_bytes()) == last


def test_a_flipped_bit_before_good_records_stops_the_node_with_instructions(tmp_path: Path) -> None:
    path = written(tmp_path)
    whole = path.read_bytes()
    for place in range(0, whole.rindex(b"command 5") - 25):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(DataDirectoryError, match="move the directory away"):
            Journal(path)


def test_a_missing_or_damaged_vote_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    vote = tmp_path / "vote"
    vote.write_bytes(vote.read_bytes()[:-1] + b"!")
    with pytest.raises(DataDirectoryError, match="vote"):
        Journal(path)
    vote.unlink()
    with pytest.raises(DataDirectoryError, match="vote"):
        Journal(path)


def test_two_snapshots_are_kept_and_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    for index in (10, 20, 30):
        store.save(encode_snapshot(Snapshot((b"b", index, 1), (b"a", index - 1, 1), b"dump %d" % index)))
    paths = sorted(tmp_path.glob("snapshot-*"))
    assert len(paths) == 2
    newest = store.newest()
    assert newest is not None
    assert newest.dump == b"dump 30"
    data = bytearray(paths[-1].read_bytes())
    data[-1] ^= 1
    paths[-1].write_bytes(data)
    with pytest.raises(DataDirectoryError, match="cannot be read"):
        store.newest()


def test_a_start_that_ended_right_after_the_journal_was_made_can_be_repeated(tmp_path: Path) -> None:
    Journal(tmp_path / "journal")._destroy()

    assert entries(tmp_path / "journal") == []
