"""The group changes by one command, one node at a time, while it works; changes outlive restarts; who left disturbs nobody."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consensus import ConsensusError, KeyService, NoQuorum, Refused
from tests.chaos.addresses import free_addresses

pytestmark = pytest.mark.integration
WITHIN_S = 30.0


class Group:
    """Key services in this process, by address."""

    def __init__(self, directory: Path, addresses: list[str]) -> None:
        self.directory, self.addresses = directory, addresses
        self.services: dict[str, KeyService] = {}

    def start(self, address: str, *, joining: bool = False, peers: list[str] | None = None) -> KeyService:
        service = KeyService(
            address,
            self.addresses[:3] if peers is None else peers,
            self.directory / address.replace(":", "_"),
            cluster="membership",
            snapshot_every_s=0.5,
            lease_s=5.0,
            joining=joining,
        )
        service.start()
        self.services[address] = service
        return service

    def stop(self, address: str) -> None:
        self.services.pop(address).stop()

    def leader(self) -> str:
        found: list[str] = []

        def one_leads() -> bool:
            found[:] = [a for a, s in self.services.items() if s.statistics().is_leader]
            return len(found) == 1

        eventually(one_leads)
        return found[0]

    def agree(self) -> bool:
        """All replicas have the same state, and have applied as much."""
        return (
            len({(s.statistics().state_hash, s.statistics().last_applied) for s in self.services.values()})
            == 1
        )


def eventually(is_true: Callable[[], bool], within_s: float = WITHIN_S) -> None:
    deadline = time.monotonic() + within_s
    while not is_true():
        assert time.monotonic() < deadline, "it did not become true in time"
        threading.Event().wait(0.02)


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    made = Group(tmp_path, free_addresses(4))
    try:
        for address in made.addresses[:3]:
            made.start(address)
        for service in made.services.values():
            service.wait_ready(WITHIN_S)
        yield made
    finally:
        for service in made.services.values():
            service.stop()


def test_a_new_node_catches_up_by_snapshot_and_log_while_the_group_works_and_counts_after_a_restart(
    group: Group,
) -> None:
    a, b, c, d = group.addresses
    first = group.services[a]
    keys = first.reserve(2_000)
    for start in range(0, 2_000, 20):
        first.execute(keys[start : start + 20])
    eventually(lambda: bool(list(group.directory.glob("*/snapshot-0*"))))

    group.start(d, joining=True, peers=[a, b, c])
    assert set(first.add_member(d, timeout_s=WITHIN_S)) == {a, b, c, d}
    joined = group.services[d]
    joined.wait_ready(WITHIN_S)
    assert all(joined.executed(keys))
    assert joined.reserve(5).start == 2_001

    for address in (c, d):  # the change is in their logs, whatever their command lines say
        group.stop(address)
    group.start(c, peers=[a, b, c])
    group.start(d, peers=[a, b, c])
    for address in (c, d):
        group.services[address].wait_ready(WITHIN_S)
        assert set(group.services[address].members()) == {a, b, c, d}
    group.stop(a)
    group.services[d].reserve(1, timeout_s=WITHIN_S)  # three of four
    group.stop(b)
    with pytest.raises(ConsensusError):
        group.services[d].reserve(1, timeout_s=2.0)  # two of four are no majority


def test_a_removed_node_raises_no_term_and_gets_no_majority(group: Group) -> None:
    a, b, c, _ = group.addresses
    leader = group.leader()
    leaving = next(address for address in (a, b, c) if address != leader)
    staying = group.services[leader]
    assert set(staying.remove_member(leaving, timeout_s=WITHIN_S)) == {a, b, c} - {leaving}
    term = staying.statistics().term

    removed = group.services[leaving]
    eventually(lambda: leaving not in removed.members())  # it hears of it
    group.stop(leaving)
    again = group.start(leaving)  # an operator forgot to take it away
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < 3.0:
        staying.barrier(timeout_s=WITHIN_S)
    assert staying.statistics().term == term, "the removed node forced an election"
    assert not again.statistics().is_leader

    survivor = next(address for address in (a, b, c) if address not in (leader, leaving))
    group.stop(survivor)
    with pytest.raises(ConsensusError):  # two of two are needed: the removed one does not count
        staying.reserve(1, timeout_s=2.0)


def test_a_leader_that_is_removed_hands_over_first(group: Group) -> None:
    leader = group.leader()
    rest = set(group.addresses[:3]) - {leader}
    assert set(group.services[leader].remove_member(leader, timeout_s=WITHIN_S)) == rest
    group.stop(leader)
    new = group.leader()
    assert new in rest
    group.services[new].reserve(1, timeout_s=WITHIN_S)


def test_a_node_that_is_not_there_is_not_added_and_the_group_goes_on(group: Group) -> None:
    first = group.services[group.addresses[0]]
    with pytest.raises(ConsensusError):
        first.add_member(group.addresses[3], timeout_s=2.0)
    with pytest.raises(Refused, match="host:port"):
        first.add_member("nonsense")
    first.reserve(1, timeout_s=WITHIN_S)
    assert set(first.members()) == set(group.addresses[:3])


def test_a_leader_that_is_stopped_hands_over_without_an_election_timeout(group: Group) -> None:
    leader = group.leader()
    term = group.services[leader].statistics().term
    eventually(group.agree)
    group.stop(leader)
    assert group.services[group.leader()].statistics().term == term + 1
    group.services[group.leader()].reserve(1, timeout_s=WITHIN_S)


def test_a_joining_node_without_a_group_has_no_majority_of_its_own(tmp_path: Path) -> None:
    own, other = free_addresses(2)
    alone = KeyService(own, [other], tmp_path, cluster="membership", joining=True)
    alone.start()
    try:
        with pytest.raises(NoQuorum):
            alone.wait_ready(2.0)
    finally:
        alone.stop()


def test_a_lost_disk_may_be_replaced_by_an_empty_one_and_does_no_harm_before_it_has_caught_up(
    group: Group,
) -> None:
    a, b, c = group.addresses[:3]
    leader = group.leader()
    lost, lagging = (address for address in (a, b, c) if address != leader)
    group.stop(lagging)
    keys = group.services[leader].reserve(500)
    group.services[leader].execute(keys)  # on two disks
    group.stop(lost)
    shutil.rmtree(group.directory / lost.replace(":", "_"))
    group.stop(leader)

    for address in (lost, lagging):  # a majority, and none of the two has what was answered
        group.start(address)
    with pytest.raises(NoQuorum):
        group.services[lost].wait_ready(3.0)

    group.start(leader)
    for service in group.services.values():
        service.wait_ready(WITHIN_S)
    eventually(lambda: all(group.services[lost].executed(keys)))
    group.stop(leader)
    assert group.services[lost].is_executed(keys[0], linearizable=True, timeout_s=WITHIN_S)  # it counts again
