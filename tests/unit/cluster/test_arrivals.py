"""Records become events: what is no task, what has run, what operators stopped, what lies in the wrong lane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from cluster.arrivals import Arrivals
from cluster.envelope import Envelope, decode_envelope, encode_envelope, encode_key
from cluster.flow_events import Delivered, Drop, Forward, Place, Undecodable, Way
from cluster.gate import OPEN_GATE, Gate
from cluster.parked import decode_parked
from executor import Lane

pytestmark = pytest.mark.unit

PLACE = Place("cpu-short", "low", "t.cpu-short.low", 0, 1)


class World:
    """What surrounds the records; a test changes it."""

    def __init__(self) -> None:
        self.executed: set[int] = set()
        self.gate = OPEN_GATE
        self.lanes: dict[str, Lane] = {}
        self.rooms = dict.fromkeys(Lane, 100)
        self.arrivals = Arrivals(
            "t",
            executed=lambda keys: [key in self.executed for key in keys],
            gate=lambda: self.gate,
            lane_of=lambda handler, _: self.lanes.get(handler, Lane.CPU_SHORT),
            room=lambda lane: self.rooms[lane],
        )

    def deliver(self, *records: tuple[int, bytes]) -> Delivered:
        (event,) = self.arrivals.events(
            PLACE,
            [encode_key(key) for key, _ in records],
            [value for _, value in records],
            range(len(records)),
        )
        assert isinstance(event, Delivered)
        return event

    def ways(self, *handlers: str, submitted_ms: int = 5) -> Mapping[int, Way]:
        """By the handlers' places, from 1."""
        return self.deliver(
            *((place, task(each, submitted_ms)) for place, each in enumerate(handlers, 1))
        ).ways


def task(handler: str, submitted_ms: int = 5) -> bytes:
    return encode_envelope(Envelope(handler=handler, kind="k", arguments=b"a", submitted_ms=submitted_ms))


@pytest.fixture
def world() -> World:
    return World()


def test_plain_records_are_one_event_and_nothing_is_said_of_them(world: World) -> None:
    event = world.deliver((7, task("h")), (8, task("g")))
    assert (list(event.keys), list(event.columns.handlers)) == ([7, 8], ["h", "g"])
    assert (event.executed, event.ways) == (frozenset(), {})


def test_keys_that_were_executed_are_named(world: World) -> None:
    world.executed = {8, 9}
    assert world.deliver((7, task("h")), (8, task("h"))).executed == {8}


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [(encode_key(8), b"?", "magic"), (encode_key(8), None, "magic"), (b"short", task("h"), "8 bytes")],
)
def test_a_record_that_is_no_task_is_told_apart_and_its_neighbours_are_delivered(
    world: World, key: bytes, value: bytes | None, reason: str
) -> None:
    keys: Sequence[bytes | None] = [encode_key(7), key, encode_key(9)]
    odd, good = world.arrivals.events(PLACE, keys, [task("h"), value, task("g")], [10, 11, 12])
    assert isinstance(odd, Undecodable)
    assert isinstance(good, Delivered)
    assert reason in odd.reason
    assert (odd.offset, odd.raw_key, odd.value) == (11, key, value or b"")
    assert (list(good.keys), list(good.offsets), list(good.columns.handlers)) == (
        [7, 9],
        [10, 12],
        ["h", "g"],
    )


def test_a_record_of_the_first_version_is_delivered_with_the_others(world: World) -> None:
    old = b"QT\x01\x94\xa1o\xc4\x01a\x00\x05"
    event = world.deliver((7, old), (8, task("h")))
    assert list(event.columns.handlers) == ["o", "h"]
    assert list(event.columns.kinds) == ["", "k"]


def test_records_of_a_paused_handler_are_parked_with_their_topic(world: World) -> None:
    world.gate = Gate(paused={"h"})
    ways = world.ways("h", "g")
    assert list(ways) == [1]
    assert isinstance(ways[1], Forward)
    assert ways[1].topic == "t.parked"
    assert decode_parked(ways[1].value) == ("cpu-short", "low", task("h"))
    assert world.arrivals.parked == 1


def test_what_was_submitted_before_a_purge_is_dropped_and_later_ones_run(world: World) -> None:
    world.gate = Gate(purged_handlers={"h": 5})
    assert world.ways("h", "g", submitted_ms=5) == {1: Drop()}
    assert world.ways("h", "g", submitted_ms=6) == {}


def test_a_purged_lane_drops_whatever_handler(world: World) -> None:
    world.gate = Gate(purged_lanes={"cpu-short": 5})
    assert world.ways("h", "g") == {1: Drop(), 2: Drop()}


def test_in_the_wrong_lane_it_runs_while_this_node_has_room_and_is_moved_when_not(world: World) -> None:
    world.lanes = {"h": Lane.CPU_LONG}
    assert world.ways("h", "g") == {}
    world.rooms[Lane.CPU_LONG] = 0
    assert world.ways("h", "g") == {1: Forward(topic="t.cpu-long.low", value=task("h"))}
    assert world.arrivals.moved == 1


def test_a_full_lane_moves_nothing_that_belongs_there(world: World) -> None:
    world.rooms[Lane.CPU_SHORT] = 0
    assert world.ways("h") == {}


def test_a_task_that_was_given_back_is_judged_as_of_now(world: World) -> None:
    value = task("h")
    assert world.arrivals.way_again(PLACE, value, decode_envelope(value)) is None
    world.gate = Gate(purged_handlers={"h": 5})
    assert world.arrivals.way_again(PLACE, value, decode_envelope(value)) == Drop()
