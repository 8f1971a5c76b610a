"""The moments that random storms rarely hit, made on purpose: a holder that sleeps too long, a leader that does not know
it is none, a node that lost its disk.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.blocks import judge_blocks
from tests.chaos.key_group import KeyGroup
from tests.chaos.key_history import judge_keys
from tests.chaos.proxy import Rule

pytestmark = pytest.mark.chaos

TAKEOVER_S = 20.0


@pytest.fixture
def group(tmp_path: Path) -> Iterator[KeyGroup]:
    """Three nodes with a leader; the end of each test judges what was answered in it."""
    with KeyGroup(tmp_path, 3, seed=0) as group:
        group.probe_all(20.0)
        yield group
        for node in group.nodes:
            node.resume()
        group.proxy.heal()
        group.probe_all(20.0)
        assert group.hashes_agree(20.0)
        assert group.died_alone() == []
        calls = group.calls()
    assert judge_keys(calls).faults == ()
    assert judge_blocks(calls) == []


def claim(group: KeyGroup, place: int, key: int, after: int = 0) -> list[Any]:
    [answer] = group.call(place, "claim", {"pairs": [[key, after]]})
    return list(answer)


def claim_until(group: KeyGroup, place: int, key: int, kind: str) -> list[Any]:
    """Asks again while the key is held, as a node does."""
    deadline = time.monotonic() + TAKEOVER_S
    while (answer := claim(group, place, key))[0] == "held":
        assert time.monotonic() < deadline, f"still held after {TAKEOVER_S:g} s: {answer}"
    assert answer[0] == kind
    return answer


def mark(group: KeyGroup, place: int, key: int, attempt: int) -> str:
    [answer] = group.call(place, "execute", {"pairs": [[key, attempt]]})
    return str(answer)


def test_a_holder_that_sleeps_beyond_its_lease_is_taken_over_once_and_hears_of_it(group: KeyGroup) -> None:
    # Given a node that holds two keys and is paused
    sleeper = ((group.leader() or 0) + 1) % 3
    taker = (sleeper + 1) % 3
    lost, kept = group.call(taker, "reserve", {"count": 2})[0], group.call(taker, "reserve", {"count": 1})[0]
    for key in (lost, kept):
        assert claim(group, sleeper, key)[:2] == ["go", 1]
        assert claim(group, taker, key)[0] == "held"
    group.nodes[sleeper].pause()

    # When its session is closed and another node claims one of them
    assert claim_until(group, taker, lost, "recover")[1] == 2
    group.nodes[sleeper].resume()

    # Then the sleeper's mark of that key counts no more, the other one is late but true, and the taker's is new
    assert mark(group, sleeper, lost, 1) == "overtaken"
    assert mark(group, sleeper, kept, 1) == "late"
    assert mark(group, taker, lost, 2) == "new"
    assert claim(group, taker, kept)[0] == "executed"


def test_a_leader_that_is_cut_off_answers_no_read_from_its_past(group: KeyGroup) -> None:
    # Given a leader cut off from the others, and a key marked among them
    old = group.await_leader()
    other = (old + 1) % 3
    [key, _] = group.call(old, "reserve", {"count": 1})
    group.proxy.cut(
        [group.addresses[old]], [each for each in group.addresses if each != group.addresses[old]]
    )
    assert group.call(other, "execute", {"keys": [key]}) == ["new"]

    # When the old leader is asked
    read = group.call_in_vain(old, "is_executed", {"keys": [key]}, 1.5)
    again = group.call_in_vain(old, "execute", {"keys": [key]}, 1.5)

    # Then it has no answer, until it has heard what happened
    assert {read[0], again[0]} <= {"NoQuorum", "OutcomeUnknown"}
    group.proxy.heal()
    assert group.call(old, "is_executed", {"keys": [key]}) == [True]
    assert group.call(old, "execute", {"keys": [key]}) == ["already"]


@pytest.mark.parametrize("heard", [True, False], ids=["it is not heard", "it hears nothing"])
def test_a_one_way_cut_of_the_leader_costs_no_more_than_an_election(group: KeyGroup, heard: bool) -> None:
    # Given a leader whose network is broken in one direction
    old = group.await_leader()
    others = [place for place in range(3) if place != old]
    pairs = [(group.addresses[old], group.addresses[place]) for place in others]
    group.proxy.set_rules({pair if heard else pair[::-1]: Rule(cut=True) for pair in pairs})

    # When the others are asked
    blocks = [group.call(place, "reserve", {"count": 3}, 5.0) for place in others]

    # Then they have a leader of their own, and the old one does nothing for them
    assert len({tuple(block) for block in blocks}) == 2
    assert group.await_leader(other_than=old) in others


def test_a_node_that_lost_its_disk_helps_nobody_to_forget(group: KeyGroup) -> None:
    # Given a mark that only two nodes hold
    first = group.await_leader()
    second, without = (first + 1) % 3, (first + 2) % 3
    [key, _] = group.call(first, "reserve", {"count": 1})
    group.proxy.cut([group.addresses[without]], [group.addresses[first], group.addresses[second]])
    assert group.call(first, "execute", {"keys": [key]}) == ["new"]

    # When one of the two is down and the other comes back with an empty disk
    for place in (first, second):
        group.nodes[place].kill()
        group.proxy.reset(
            group.addresses[place], group.addresses[without]
        )  # nor is the mark still on its way
    group.nodes[second].lose_disk()
    group.nodes[second].start()
    group.proxy.heal()

    # Then it makes no majority with the node that lacks the mark, and the mark returns with the one that has it
    group.call_in_vain(without, "is_executed", {"keys": [key]}, 3.0)
    group.nodes[first].start()
    for place in (without, first):
        assert group.call(place, "is_executed", {"keys": [key]}) == [True]
