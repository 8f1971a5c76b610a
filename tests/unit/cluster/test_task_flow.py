"""The life of a task at the node: the order of steps is the promise."""

import pytest

from cluster.task_flow import (
    DEATHS_MAX,
    Complete,
    Delivered,
    Ending,
    Mark,
    Marked,
    Position,
    Ran,
    Run,
    Stored,
    StoreDead,
    StoreResult,
    TaskFlow,
    Undecodable,
)

pytestmark = pytest.mark.unit


def position(offset: int) -> Position:
    return Position("cpu-short", "t.cpu-short.normal", 0, offset, 1)


def delivered(key: int, offset: int, *, executed: bool = False) -> Delivered:
    return Delivered(
        key=key, handler="h", arguments=b"a", value=b"v", position=position(offset), executed=executed
    )


def test_an_offset_completes_only_after_the_mark() -> None:
    flow = TaskFlow()
    assert flow.handle(delivered(7, 0)) == [Run(key=7, attempt=1, handler="h", arguments=b"a")]
    assert flow.handle(Ran(key=7, ending=Ending.DONE)) == [Mark(key=7, outcome="done")]
    assert flow.handle(Marked(keys=[7])) == [Complete(position=position(0))]
    assert not flow.in_flight


def test_a_result_is_stored_before_the_mark() -> None:
    flow = TaskFlow()
    flow.handle(delivered(7, 0))
    assert flow.handle(Ran(key=7, ending=Ending.DONE, result=b"r")) == [StoreResult(key=7, result=b"r")]
    assert flow.handle(Stored(key=7)) == [Mark(key=7, outcome="done")]


def test_an_executed_key_completes_without_running() -> None:
    assert TaskFlow().handle(delivered(7, 3, executed=True)) == [Complete(position=position(3))]


def test_a_second_record_of_a_key_in_flight_is_never_dispatched() -> None:
    flow = TaskFlow()
    flow.handle(delivered(7, 0))
    assert flow.handle(delivered(7, 1)) == []
    flow.handle(Ran(key=7, ending=Ending.DONE))
    assert flow.handle(Marked(keys=[7])) == [Complete(position=position(0)), Complete(position=position(1))]


def test_a_failed_task_is_stored_dead_before_it_is_marked() -> None:
    flow = TaskFlow()
    flow.handle(delivered(7, 0))
    assert flow.handle(Ran(key=7, ending=Ending.FAILED, error="boom")) == [
        StoreDead(key=7, raw_key=b"", value=b"v", reason="boom")
    ]
    assert flow.handle(Stored(key=7)) == [Mark(key=7, outcome="dead")]


def test_a_worker_death_runs_the_task_again_until_it_is_taken_for_poison() -> None:
    flow = TaskFlow()
    flow.handle(delivered(7, 0))
    for attempt in range(2, DEATHS_MAX + 1):
        assert flow.handle(Ran(key=7, ending=Ending.DIED)) == [
            Run(key=7, attempt=attempt, handler="h", arguments=b"a")
        ]
    assert isinstance(flow.handle(Ran(key=7, ending=Ending.DIED, error="killed"))[0], StoreDead)


def test_a_returned_task_runs_again_uncounted() -> None:
    flow = TaskFlow()
    flow.handle(delivered(7, 0))
    assert flow.handle(Ran(key=7, ending=Ending.RETURNED)) == [
        Run(key=7, attempt=1, handler="h", arguments=b"a")
    ]


def test_a_second_answer_for_an_ended_run_changes_nothing() -> None:
    flow = TaskFlow()
    flow.handle(delivered(7, 0))
    flow.handle(Ran(key=7, ending=Ending.DONE))
    assert flow.handle(Ran(key=7, ending=Ending.FAILED, error="late")) == []


def test_a_record_that_is_no_task_goes_to_dead_and_its_offset_completes_with_it() -> None:
    flow = TaskFlow()
    (store,) = flow.handle(Undecodable(raw_key=b"k", value=b"?", reason="no task", position=position(4)))
    assert isinstance(store, StoreDead)
    assert store.key is None
    assert store.complete == position(4)
