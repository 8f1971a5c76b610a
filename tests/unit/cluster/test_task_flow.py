"""The life of tasks at the node: the order of steps is the promise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

import pytest

from cluster.dead.record import Attempt
from cluster.envelope import Columns, Envelope, encode_envelope
from cluster.flow_events import (
    Complete,
    Delivered,
    Done,
    Drop,
    Ending,
    Forward,
    Mark,
    Marked,
    Place,
    Ran,
    Run,
    StoreCopy,
    Stored,
    StoreDead,
    StoreResults,
    Undecodable,
    Way,
)
from cluster.task_flow import TaskFlow
from executor import Level, Task

pytestmark = pytest.mark.unit

PLACE = Place("cpu-short", "high", "t.cpu-short.high", 0, 1)
VALUE = encode_envelope(Envelope(handler="h", kind="k", arguments=b"a", submitted_ms=5))
NO_WAYS: Mapping[int, Way] = {}
NO_AFTERS: Mapping[int, int] = {}


def delivered(
    keys: Sequence[int],
    first_offset: int = 0,
    *,
    executed: Set[int] = frozenset(),
    ways: Mapping[int, Way] = NO_WAYS,
    afters: Mapping[int, int] = NO_AFTERS,
    place: Place = PLACE,
    value: bytes = VALUE,
) -> Delivered:
    count = len(keys)
    return Delivered(
        place=place,
        keys=keys,
        offsets=range(first_offset, first_offset + count),
        values=[value] * count,
        columns=Columns(["h"] * count, ["k"] * count, [b"a"] * count, [5] * count),
        executed=executed,
        ways=ways,
        afters=afters,
    )


def task(key: int, attempt: int = 1) -> Task:
    return Task(key, key, attempt, "h", b"a", "k", Level.HIGH)


def complete(*offsets: int, place: Place = PLACE) -> Complete:
    return Complete(place=place, offsets=list(offsets))


def test_offsets_complete_only_after_the_marks() -> None:
    flow = TaskFlow()
    assert flow.handle(delivered([7, 8])) == [Run(tasks=[task(7), task(8)])]
    assert flow.is_running(7)
    assert flow.handle(Done(keys=[8, 7])) == [Mark(keys=[8, 7], outcome="done")]
    assert flow.handle(Marked(keys=[8, 7])) == [complete(1, 0)]
    assert len(flow) == 0
    assert flow.held_bytes == 0


def test_results_are_stored_before_the_marks_and_each_mark_waits_for_its_own() -> None:
    flow = TaskFlow()
    flow.handle(delivered([7, 8]))
    results = [b"r7", b"r8"]
    assert flow.handle(Done(keys=[7, 8], results=results)) == [StoreResults(keys=[7, 8], results=results)]
    assert flow.handle(Stored(keys=[8])) == [Mark(keys=[8], outcome="done")]
    assert flow.handle(Stored(keys=[7])) == [Mark(keys=[7], outcome="done")]
    assert flow.handle(Stored(keys=[7])) == []


def test_an_executed_key_completes_without_running() -> None:
    flow = TaskFlow()
    assert flow.handle(delivered([6, 7], 3, executed={7})) == [complete(4), Run(tasks=[task(6)])]


def test_records_of_several_partitions_complete_each_at_its_own() -> None:
    flow, other = TaskFlow(), PLACE._replace(partition=1)
    flow.handle(delivered([1, 2], 10))
    flow.handle(delivered([3], 50, place=other))
    flow.handle(Done(keys=[1, 3, 2]))
    done = flow.handle(Marked(keys=[1, 3, 2]))
    assert done == [complete(10), complete(50, place=other), complete(11)]


@pytest.mark.parametrize("second", [[7], [7, 7]])
def test_a_second_record_of_a_key_in_flight_is_never_dispatched(second: list[int]) -> None:
    flow = TaskFlow()
    flow.handle(delivered([7], 0))
    assert flow.handle(delivered(second, 1)) == []
    flow.handle(Done(keys=[7]))
    assert flow.handle(delivered([7], 9)) == []  # ended here, but not marked yet
    completed = [offset for one in flow.handle(Marked(keys=[7])) for offset in one.offsets]  # type: ignore[union-attr]
    assert completed == [0, *range(1, 1 + len(second)), 9]


def test_two_records_of_one_key_in_one_batch_run_once() -> None:
    assert TaskFlow().handle(delivered([7, 7])) == [Run(tasks=[task(7)])]


def test_a_failed_task_is_stored_dead_before_it_is_marked() -> None:
    flow = TaskFlow()
    flow.handle(delivered([7]))
    dead = StoreDead(key=7, raw_key=b"", value=VALUE, reason="boom", topic=PLACE.topic)
    assert flow.handle(Ran(key=7, ending=Ending.FAILED, error="boom")) == [dead]
    assert flow.handle(Marked(keys=[7])) != []  # were it marked by somebody else, the record may go
    flow.handle(delivered([8]))
    flow.handle(Ran(key=8, ending=Ending.FAILED, error="boom"))
    assert flow.handle(Stored(keys=[8])) == [Mark(keys=[8], outcome="dead")]


@pytest.mark.parametrize("ending", [Ending.FAILED, Ending.DIED])
def test_a_retry_is_stored_before_its_record_completes_and_nothing_is_marked(ending: Ending) -> None:
    flow = TaskFlow()
    flow.handle(delivered([7]))
    way = Forward(topic="t.delay.near", value=b"later")
    assert flow.handle(Ran(key=7, ending=ending, error="boom", way=way)) == [
        StoreCopy(key=7, topic="t.delay.near", value=b"later")
    ]
    assert flow.handle(Stored(keys=[7])) == [Complete(place=PLACE, offsets=[0])]
    assert len(flow) == 0


@pytest.mark.parametrize("ending", [Ending.FAILED, Ending.DIED])
def test_the_last_failure_is_stored_with_all_attempts(ending: Ending) -> None:
    flow = TaskFlow()
    flow.handle(delivered([7]))
    attempts = [Attempt(1, 5, "node1", "boom")]
    (dead,) = flow.handle(Ran(key=7, ending=ending, error="boom", attempts=attempts))
    assert dead == StoreDead(
        key=7, raw_key=b"", value=VALUE, reason="boom", attempts=attempts, topic=PLACE.topic
    )


def test_a_retry_runs_as_the_next_attempt() -> None:
    flow = TaskFlow()
    assert flow.handle(delivered([7, 8], afters={8: 2})) == [Run(tasks=[task(7), task(8, attempt=3)])]


@pytest.mark.parametrize("ending", [Ending.RETURNED, Ending.LOST])
def test_a_task_that_was_returned_or_whose_answer_was_lost_runs_again_uncounted(ending: Ending) -> None:
    flow = TaskFlow()
    value = encode_envelope(Envelope(handler="h", kind="k", arguments=b"a", after=1, submitted_ms=5))
    flow.handle(delivered([7], afters={7: 1}, value=value))
    for _ in range(5):
        assert flow.handle(Ran(key=7, ending=ending)) == [Run(tasks=[task(7, attempt=2)])]


def test_a_second_answer_for_an_ended_run_changes_nothing() -> None:
    flow = TaskFlow()
    flow.handle(delivered([7, 8]))
    flow.handle(Done(keys=[7]))
    assert flow.handle(Ran(key=7, ending=Ending.FAILED, error="late")) == []
    assert flow.handle(Done(keys=[7])) == []
    assert flow.handle(Done(keys=[7, 8], results=[b"late", b"r"])) == [StoreResults(keys=[8], results=[b"r"])]


def test_a_record_that_is_no_task_goes_to_dead_and_its_offset_completes_with_it() -> None:
    flow = TaskFlow()
    event = Undecodable(raw_key=b"k", value=b"?", reason="no task", place=PLACE, offset=4)
    assert flow.handle(event) == [
        StoreDead(key=None, raw_key=b"k", value=b"?", reason="no task", complete=complete(4))
    ]


def test_a_parked_record_completes_unmarked_once_its_copy_is_acknowledged() -> None:
    flow = TaskFlow()
    away = Forward(topic="t.parked", value=b"copy")
    assert flow.handle(delivered([7, 8], ways={7: away})) == [
        StoreCopy(key=7, topic="t.parked", value=b"copy"),
        Run(tasks=[task(8)]),
    ]
    assert not flow.is_running(7)
    assert flow.handle(delivered([7], 5, ways={7: away})) == []  # one copy is enough
    assert flow.handle(Stored(keys=[7])) == [complete(0), complete(5)]
    assert flow.held_bytes == len(VALUE)


def test_a_purged_record_is_marked_cancelled_before_it_completes() -> None:
    flow = TaskFlow()
    assert flow.handle(delivered([7], ways={7: Drop()})) == [Mark(keys=[7], outcome="cancelled")]
    assert flow.handle(Marked(keys=[7])) == [complete(0)]


def test_a_cancelled_run_is_marked_so() -> None:
    flow = TaskFlow()
    flow.handle(delivered([7]))
    assert flow.handle(Ran(key=7, ending=Ending.CANCELLED)) == [Mark(keys=[7], outcome="cancelled")]
    assert flow.handle(Marked(keys=[7])) == [complete(0)]


def test_a_returned_task_hears_what_operators_have_said_meanwhile() -> None:
    flow = TaskFlow()
    flow.handle(delivered([7, 8]))
    away = Forward(topic="t.parked", value=b"copy")
    assert flow.handle(Ran(key=7, ending=Ending.RETURNED, way=away)) == [
        StoreCopy(key=7, topic="t.parked", value=b"copy")
    ]
    assert flow.handle(Ran(key=8, ending=Ending.RETURNED, way=Drop())) == [
        Mark(keys=[8], outcome="cancelled")
    ]
    assert flow.handle(Stored(keys=[7])) == [complete(0)]


def test_what_operators_say_of_an_executed_key_does_not_matter() -> None:
    flow = TaskFlow()
    assert flow.handle(delivered([7], executed={7}, ways={7: Drop()})) == [complete(0)]
