"""The simulated network does what a network may do, and a calm one does nothing bad."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from tests.simulation.clock import NodeClock, Timeline
from tests.simulation.network import DEAD_LINK_S, DUPLICATE_LATE_S, UNDER_WAY_BYTES_MAX, Network, SimLinks

pytestmark = pytest.mark.unit


class Host:
    def __init__(self, timeline: Timeline) -> None:
        self.clock = NodeClock(timeline=timeline, boot_s=0.0)
        self.runs = True

    def reachable(self) -> bool:
        return self.runs

    def arrived(self) -> None:
        pass


class TwoNodes:
    """a dials b; both are connected after a second."""

    def __init__(self, seed: int = 1) -> None:
        self.timeline = Timeline()
        self.network = Network(self.timeline, Random(seed))
        self.hosts = {name: Host(self.timeline) for name in ("a", "b")}
        self.links: dict[str, SimLinks] = {
            name: self.network.attach(name, host) for name, host in self.hosts.items()
        }
        self.links["a"].dial("b")
        self.pass_s(1.0)
        self.connections = self.seen("a") + self.seen("b")

    def pass_s(self, seconds: float) -> None:
        self.timeline.run_until(self.timeline.now_s + seconds)

    def send(self, *numbers: int) -> None:
        for number in numbers:
            assert self.links["a"].send("b", {"type": "n", "n": number})

    def seen(self, node: str) -> list[Any]:
        """Messages as their numbers, everything else as the name of its class."""
        return [
            event.message["n"] if hasattr(event, "message") else type(event).__name__
            for event in self.links[node].receive(0.0)
        ]


@pytest.fixture
def two() -> TwoNodes:
    return TwoNodes()


def test_both_ends_hear_of_a_new_link(two: TwoNodes) -> None:
    assert two.connections == ["Connected", "Connected"]


def test_a_calm_link_delivers_everything_in_order(two: TwoNodes) -> None:
    two.send(*range(100))
    two.pass_s(1.0)
    assert two.seen("b") == list(range(100))


def test_without_a_link_nothing_is_sent(two: TwoNodes) -> None:
    assert not two.links["a"].send("c", {"type": "n"})


def test_messages_share_no_objects_and_tuples_arrive_as_lists(two: TwoNodes) -> None:
    entry = (b"x", 1, 1)
    two.links["a"].send("b", {"type": "n", "n": entry})
    two.pass_s(1.0)
    assert two.seen("b") == [[b"x", 1, 1]]


def test_loss_loses_some(two: TwoNodes) -> None:
    two.network.path("a", "b").loss = 0.5
    two.send(*range(100))
    two.pass_s(1.0)
    assert 20 < len(two.seen("b")) < 80


def test_duplicates_arrive_twice(two: TwoNodes) -> None:
    two.network.path("a", "b").duplicate = 1.0
    two.send(1, 2)
    two.pass_s(1.0 + DUPLICATE_LATE_S)
    assert sorted(two.seen("b")) == [1, 1, 2, 2]


def test_reordering_reorders(two: TwoNodes) -> None:
    path = two.network.path("a", "b")
    path.reorder, path.delay_s = True, (0.001, 0.4)
    two.send(*range(100))
    two.pass_s(1.0)
    seen = two.seen("b")
    assert sorted(seen) == list(range(100)) != seen


def test_delay_delays(two: TwoNodes) -> None:
    two.network.path("a", "b").delay_s = (0.4, 0.4)
    two.send(1)
    two.pass_s(0.39)
    assert two.seen("b") == []
    two.pass_s(0.02)
    assert two.seen("b") == [1]


def test_a_narrow_path_takes_its_time(two: TwoNodes) -> None:
    two.network.path("a", "b").bytes_per_s = 10_000
    two.links["a"].send("b", {"type": "n", "n": b"x" * 10_000})
    two.pass_s(0.9)
    assert two.seen("b") == []
    two.pass_s(0.2)
    assert two.seen("b") == [b"x" * 10_000]


def test_a_one_way_cut_leaves_the_other_way_open(two: TwoNodes) -> None:
    two.network.cut("a", "b", holds=False)
    two.send(1)
    two.links["b"].send("a", {"type": "n", "n": 2})
    two.pass_s(1.0)
    assert two.seen("b") == []
    assert two.seen("a") == [2]


def test_a_cut_loses_or_holds_what_was_sent_meanwhile(two: TwoNodes) -> None:
    for holds, expected in ((False, []), (True, [1])):
        two.network.cut("a", "b", holds=holds)
        two.send(1)
        two.pass_s(1.0)
        two.network.mend("a", "b")
        two.pass_s(1.0)
        assert two.seen("b") == expected


def test_a_long_cut_ends_the_link_and_a_mended_one_is_dialled_again(two: TwoNodes) -> None:
    two.network.cut("a", "b", holds=True)
    two.pass_s(DEAD_LINK_S + 0.1)
    assert two.seen("a") == ["Disconnected"]
    assert two.seen("b") == ["Disconnected"]
    two.network.mend("a", "b")
    two.pass_s(1.0)
    assert two.seen("a") == ["Connected"]


def test_a_reset_loses_what_is_under_way(two: TwoNodes) -> None:
    two.send(1)
    two.network.close_link("a", "b")
    two.pass_s(1.0)
    assert two.seen("b") == ["Disconnected", "Connected"]


def test_a_killed_process_is_missed_at_once_a_powerless_one_after_silence() -> None:
    for at_once, expected in ((True, ["Disconnected"]), (False, [])):
        two = TwoNodes()
        two.network.detach("b", at_once=at_once)
        two.pass_s(0.1)
        assert two.seen("a") == expected
        assert two.links["a"].send("b", {"type": "n"}) is not at_once
        two.pass_s(DEAD_LINK_S)
        assert "Disconnected" in [*expected, *two.seen("a")]


def test_a_node_that_came_back_early_ends_its_old_link_first() -> None:
    two = TwoNodes()
    two.network.detach("b", at_once=False)
    two.links["b"] = two.network.attach("b", two.hosts["b"])
    two.pass_s(1.0)
    assert two.seen("a") == ["Disconnected", "Connected"]
    two.pass_s(DEAD_LINK_S)
    assert two.seen("a") == []


def test_a_paused_node_loses_its_links_after_silence(two: TwoNodes) -> None:
    two.network.paused("b", lambda: True)
    two.hosts["b"].runs = False
    two.pass_s(DEAD_LINK_S + 0.1)
    assert two.seen("a") == ["Disconnected"]


def test_what_is_under_way_is_bounded(two: TwoNodes) -> None:
    message = {"type": "n", "n": bytes(1_000_000)}
    sent = 0
    while two.links["a"].send("b", message):
        sent += 1
        assert sent < 100
    assert sent == UNDER_WAY_BYTES_MAX // 1_000_020
    two.pass_s(10.0)
    two.seen("b")
    assert two.links["a"].send("b", message)


def test_a_forgotten_peer_is_not_dialled_again(two: TwoNodes) -> None:
    two.links["a"].forget("b")
    two.pass_s(2.0)
    assert two.seen("a") == ["Disconnected"]


def test_the_same_seed_gives_the_same_run() -> None:
    def digest(seed: int) -> tuple[int, list[Any]]:
        two = TwoNodes(seed)
        path = two.network.path("a", "b")
        path.loss, path.duplicate, path.reorder, path.delay_s = 0.3, 0.3, True, (0.0, 0.4)
        two.send(*range(50))
        two.pass_s(2.0)
        return two.network.digest, two.seen("b")

    assert digest(7) == digest(7) != digest(8)
