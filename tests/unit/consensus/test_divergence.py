"""The replica that differs from the majority finds it out itself; nobody else stops."""

from __future__ import annotations

import pytest

from consensus.raft.divergence import CHECKPOINT_ENTRIES, HashWatch

pytestmark = pytest.mark.unit
GROUP = ("a", "b", "c")
AT = 3 * CHECKPOINT_ENTRIES


def watch(node: str, own: bytes, **others: bytes) -> HashWatch:
    result = HashWatch(node)
    result.applied(AT, own)
    for peer, value in others.items():
        result.heard(peer, AT, value)
    return result


def test_the_node_that_differs_from_two_stops_and_says_so() -> None:
    verdict = watch("a", b"x", b=b"y", c=b"y").verdict(GROUP)
    assert verdict is not None
    assert str(AT) in verdict


def test_a_node_that_agrees_with_the_majority_goes_on() -> None:
    assert watch("a", b"y", b=b"y", c=b"x").verdict(GROUP) is None


def test_one_other_value_is_no_majority_and_strangers_do_not_count() -> None:
    assert watch("a", b"x", b=b"y").verdict(GROUP) is None
    assert watch("a", b"x", b=b"y", stranger=b"y").verdict(GROUP) is None


def test_values_at_different_entries_are_not_compared_and_memory_is_bounded() -> None:
    own = HashWatch("a")
    for number in range(1, 1000):
        own.applied(number, b"%d" % number)
        own.heard("b", number * CHECKPOINT_ENTRIES * 7 + 1, b"other")
    assert own.verdict(GROUP) is None
    assert len(own._told) <= 64
    assert [index for index, _ in own.recent()] == sorted(index for index, _ in own.recent())
