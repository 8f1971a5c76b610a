"""Two slots for term and vote: one of them is whole at every moment, and both bad stop the node."""

from __future__ import annotations

import itertools

import pytest

from consensus.errors import DataDirectoryError
from consensus.storage.votes import SLOT_NAMES, Vote, VoteSlots, create_slots
from tests.simulation.disk import SimDisk, SimulatedCrash
from tests.unit.consensus.stored import CLUSTER, NODE, disk_of, files_of, flipped, new_disk

pytestmark = pytest.mark.unit

OLD = Vote(term=1, voted_for=None, first_segment=1, last_segment=1, synced_bytes=40)
NEW = Vote(term=2, voted_for="n2:7000", first_segment=1, last_segment=3, synced_bytes=4000)


def slots(disk: SimDisk) -> VoteSlots:
    return VoteSlots(disk, cluster=CLUSTER, node=NODE)


def created(seed: int = 0) -> SimDisk:
    disk = new_disk(seed)
    create_slots(disk, OLD, cluster=CLUSTER, node=NODE)
    disk.sync_directory()
    return disk


def test_a_vote_is_on_disk_when_write_returns() -> None:
    disk = created()
    slots(disk).write(NEW)

    disk.crash(power=True)

    assert slots(disk).vote == NEW


def test_after_a_power_cut_at_any_step_it_is_the_old_vote_or_the_new_one_and_stays_so() -> None:
    seen = set()
    for step, seed in itertools.product(range(1, 5), range(40)):
        disk = created(seed)
        opened = slots(disk)
        disk.operations_until_crash = step
        with pytest.raises(SimulatedCrash):
            opened.write(NEW)
        disk.crash(power=True)

        found = slots(disk).vote
        disk.crash(power=True)

        assert found in (OLD, NEW)
        assert slots(disk).vote == found
        seen.add(found.term)
    assert seen == {1, 2}


def test_one_bad_slot_is_repaired_from_the_other_whatever_is_wrong_with_it() -> None:
    disk = created()
    slots(disk).write(NEW)
    files = files_of(disk)
    for name in SLOT_NAMES:
        for place in range(len(files[name])):
            damaged = disk_of(files | {name: flipped(files[name], place)})
            opened = slots(damaged)
            assert opened.vote == NEW
            if opened.repairs:
                assert name in opened.repairs[0]
                assert files_of(damaged)[name] == files[name]
        for length in range(len(files[name])):
            assert slots(disk_of(files | {name: files[name][:length]})).vote == NEW


def test_two_bad_slots_stop_the_node_with_instructions() -> None:
    disk = created()
    files = files_of(disk)
    damaged = disk_of({name: flipped(data, 30) for name, data in files.items()})

    with pytest.raises(
        DataDirectoryError, match=r"vote\.0 and vote\.1 are both damaged: move the data directory"
    ):
        slots(damaged)


def test_the_end_mark_outlives_the_process_and_counts_only_when_it_is_further() -> None:
    disk = created()
    opened = slots(disk)
    opened.mark_end(1, 500)
    disk.crash(power=False)
    assert slots(disk).vote.synced_bytes == 500

    slots(disk).write(NEW)
    assert slots(disk).vote == NEW


def test_a_torn_end_mark_is_not_asked_and_tears_no_vote() -> None:
    disk = created()
    slots(disk).mark_end(1, 500)
    files = files_of(disk)

    for place in range(1024, len(files["vote.0"])):
        opened = slots(disk_of(files | {"vote.0": flipped(files["vote.0"], place)}))
        assert (opened.vote, opened.repairs) == (OLD, [])


def test_a_slot_of_another_node_is_refused_by_name() -> None:
    with pytest.raises(DataDirectoryError, match=r"vote\.0 belongs to node n1:7000, not n9:7000"):
        VoteSlots(created(), cluster=CLUSTER, node="n9:7000")
