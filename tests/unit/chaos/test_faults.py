"""The plan of a storm is a function of its seed; the driver makes processes and links so, and always heals."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tests.chaos.addresses import free_addresses
from tests.chaos.faults import (
    LEADER,
    FaultDriver,
    Isolate,
    Kill,
    Pause,
    Planned,
    Reset,
    Slow,
    Split,
    plan,
    rules_of,
)
from tests.chaos.proxy import PASS, Proxy, Rule

pytestmark = pytest.mark.unit

CUT = Rule(cut=True)
SLOW = Rule(delay_s=0.1)


class Notebook:
    """A node that only notes what was done to it, and refuses what makes no sense."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self.name, self.notes = name, notes
        self.up, self.stopped = True, False

    def kill(self) -> None:
        assert self.up
        self.up, self.stopped = False, False
        self.notes.append(f"kill {self.name}")

    def start(self) -> None:
        assert not self.up
        self.up = True
        self.notes.append(f"start {self.name}")

    def pause(self) -> None:
        assert self.up
        assert not self.stopped
        self.stopped = True
        self.notes.append(f"pause {self.name}")

    def resume(self) -> None:
        assert self.up
        assert self.stopped
        self.stopped = False
        self.notes.append(f"resume {self.name}")


class Storm:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.nodes = [Notebook(name, self.notes) for name in "abc"]
        addresses = free_addresses(6)
        self.proxy = Proxy(dict(zip(addresses[:3], addresses[3:], strict=True)))
        self.proxy.start()
        self.driver = FaultDriver(
            nodes=self.nodes, addresses=addresses[:3], proxy=self.proxy, leader=lambda: 1
        )

    def run(self, *faults: tuple[float, float, object]) -> list[str]:
        """(at, until, fault), in hundredths of a second."""
        self.driver.run([Planned(fault=f, at_s=at / 100, lasts_s=(end - at) / 100) for at, end, f in faults])  # type: ignore[arg-type]
        return self.notes


@pytest.fixture
def storm() -> Iterator[Storm]:
    storm = Storm()
    try:
        yield storm
    finally:
        storm.proxy.stop()


def test_a_plan_is_a_function_of_its_seed_and_ends_in_time() -> None:
    first = plan(7, nodes=5, duration_s=60)
    assert first == plan(7, nodes=5, duration_s=60)
    assert first != plan(8, nodes=5, duration_s=60)
    assert 25 < len(first) < 100
    assert all(0 <= planned.at_s <= planned.at_s + planned.lasts_s <= 60 for planned in first)


def test_plans_have_every_kind_of_fault() -> None:
    faults = [planned.fault for seed in range(20) for planned in plan(seed, nodes=3, duration_s=30)]
    assert {type(fault) for fault in faults} == {Kill, Pause, Isolate, Split, Slow, Reset}
    killed = {len(fault.places) for fault in faults if isinstance(fault, Kill)}
    assert killed == {1, 2, 3}
    assert any(isinstance(fault, Kill) and fault.places == (LEADER,) for fault in faults)
    assert any(isinstance(fault, Isolate) and not fault.inward for fault in faults)


def test_the_longest_pause_is_as_asked() -> None:
    pauses = [
        planned.lasts_s
        for seed in range(50)
        for planned in plan(seed, nodes=3, duration_s=500, pause_s_max=60.0)
        if isinstance(planned.fault, Pause)
    ]
    assert min(pauses) < 0.5
    assert 50 < max(pauses) <= 60


def test_rules_of_overlapping_faults_join() -> None:
    nodes = ["a", "b", "c"]
    assert set(rules_of([], nodes).values()) == {PASS}
    inward = rules_of([Isolate(place=0, outward=False)], nodes)
    assert [pair for pair, rule in inward.items() if rule == CUT] == [("b", "a"), ("c", "a")]
    outward = rules_of([Isolate(place=0, inward=False)], nodes)
    assert [pair for pair, rule in outward.items() if rule == CUT] == [("a", "b"), ("a", "c")]
    split = rules_of([Split(places=(0, 1))], nodes)
    assert {pair for pair, rule in split.items() if rule == PASS} == {("a", "b"), ("b", "a")}
    both = rules_of([Slow(place=0, rule=SLOW), Isolate(place=1)], nodes)
    assert both["a", "c"] == SLOW
    assert both["a", "b"] == CUT
    assert both["b", "c"] == CUT


def test_a_killed_node_is_started_when_the_last_fault_that_kills_it_ends(storm: Storm) -> None:
    assert storm.run((0, 6, Kill(places=(0,))), (3, 10, Kill(places=(0, 1)))) == [
        "kill a",
        "kill b",
        "start a",
        "start b",
    ]


def test_a_paused_node_may_be_killed_and_is_paused_again_after_its_start(storm: Storm) -> None:
    assert storm.run((0, 10, Pause(place=0)), (3, 6, Kill(places=(0,)))) == [
        "pause a",
        "kill a",
        "start a",
        "pause a",
        "resume a",
    ]


def test_the_leader_is_who_leads_when_the_fault_begins(storm: Storm) -> None:
    assert storm.run((0, 2, Kill(places=(LEADER,)))) == ["kill b", "start b"]
    assert "places=(1,)" in storm.driver.log[0]


def test_a_storm_that_is_stopped_heals_at_once(storm: Storm) -> None:
    stop = threading.Event()
    stop.set()
    began = time.monotonic()
    storm.driver.run([Planned(fault=Kill(places=(0,)), at_s=0.0, lasts_s=60.0)], stop=stop)
    assert time.monotonic() - began < 5
    assert all(node.up and not node.stopped for node in storm.nodes)


@pytest.mark.parametrize("seed", range(5))
def test_any_storm_leaves_all_nodes_up_and_all_links_open(storm: Storm, seed: int) -> None:
    faults = plan(seed, nodes=3, duration_s=0.3, every_s=0.02)
    storm.driver.run(faults)
    assert all(node.up and not node.stopped for node in storm.nodes)
    assert set(storm.driver._rules.values()) == {PASS}
