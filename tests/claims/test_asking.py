"""Instructions to the ledger: few calls, and each is asked until its answer is known."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import pytest

from cluster.claims.asking import AGAIN_S, CALL_KEYS_MAX, GATHER_S, Asking
from cluster.claims.events import Claimed, DoubtAnswered, Executed, FailAnswered, ReleaseAnswered
from cluster.claims.instructions import Claim, Doubt, Execute, ExecuteUnclaimed, Fail, Release
from consensus import Claim as Entry
from consensus import ClaimKind, ConsensusError, Decision, ExecuteAnswer, NoQuorum, OutcomeUnknown, operations
from consensus.operations import Operation
from tests.ledger_driver import Driver

pytestmark = pytest.mark.unit


class Desk:
    """A real ledger behind futures that end when the test says so."""

    def __init__(self) -> None:
        self.driver = Driver(keys=10_000)
        self.session = self.driver.open("a")
        self.waiting: list[tuple[str, Operation[Any], Future[Any]]] = []
        self.lost: dict[str, Any] = {}

    def claim_future(self, pairs: Sequence[tuple[int, int]]) -> Future[Any]:
        return self._start("claim", operations.claim(pairs))

    def release_future(self, pairs: Sequence[tuple[int, int]]) -> Future[Any]:
        return self._start("release", operations.release(pairs))

    def fail_future(self, pairs: Sequence[tuple[int, int]]) -> Future[Any]:
        return self._start("fail", operations.fail(pairs))

    def execute_future(self, keys: Sequence[Any], *, outcome: str) -> Future[Any]:
        return self._start("execute", operations.execute(keys, outcome))

    def doubt_future(self, keys: Sequence[int], why: str) -> Future[Any]:
        return self._start("doubt", operations.doubt(keys, why))

    def repeat_future(self, call_id: str) -> Future[Any]:
        return self._start(f"repeat {call_id}", operations.barrier())

    def claim_of(self, key: int) -> Entry | None:
        return self.driver.machine.claims.get(key)

    def _start(self, name: str, operation: Operation[Any]) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((name, operation, future))
        return future

    def answer(self) -> str:
        name, operation, future = self.waiting.pop(0)
        if name.startswith("repeat "):
            future.set_result(self.lost.pop(name[7:]))
        else:
            future.set_result(self.driver.do(operation, self.session))
        return name

    def lose(self, call_id: str) -> None:
        """It took effect, and nobody heard the answer."""
        _, operation, future = self.waiting.pop(0)
        self.lost[call_id] = self.driver.do(operation, self.session)
        future.set_exception(OutcomeUnknown("no answer in time", call_id))

    def refuse(self, error: ConsensusError) -> None:
        self.waiting.pop(0)[2].set_exception(error)

    def names(self) -> list[str]:
        return [name for name, _, _ in self.waiting]


class Story:
    def __init__(self) -> None:
        self.desk = Desk()
        self.heard = 0
        self.asking = Asking(self.desk, self.hear)
        self.now = 50.0

    def hear(self) -> None:
        self.heard += 1

    def send(self, *instructions: Any) -> list[str]:
        for instruction in instructions:
            self.asking.add(instruction)
        self.asking.send(self.now)
        return self.desk.names()

    def answer(self) -> list[Any]:
        self.desk.answer()
        return list(self.asking.events(self.now))


def test_claims_of_many_records_are_one_call_that_leaves_at_once_and_whose_answer_wakes() -> None:
    story = Story()
    assert story.send(Claim(pairs=[(1, 0)]), Claim(pairs=[(2, 0)])) == ["claim"]
    [event] = story.answer()
    assert isinstance(event, Claimed)
    assert [(answer.kind, answer.attempt) for answer in event.answers] == [(ClaimKind.GO, 1)] * 2
    assert story.heard == 1


def test_each_sort_of_answer_becomes_its_event() -> None:
    story = Story()
    story.send(Claim(pairs=[(key, 0) for key in range(1, 6)]))
    story.answer()
    story.send(
        Release(pairs=[(1, 1)]),
        Fail(pairs=[(2, 1)]),
        Execute(pairs=[(3, 1)], outcome="dead"),
        ExecuteUnclaimed(keys=[7], outcome="done"),
        Doubt(key=4, why="who knows"),
    )
    events = [event for _ in range(5) for event in story.answer()]
    assert events == [
        ReleaseAnswered(keys=[1], owns=[True]),
        FailAnswered(keys=[2], owns=[True]),
        Executed(keys=[3], answers=[ExecuteAnswer.NEW]),
        Executed(keys=[7], answers=[ExecuteAnswer.NEW]),
        DoubtAnswered(keys=[4], doubted={4}),
    ]
    assert story.desk.driver.machine.executed.outcome(3) == "dead"
    assert story.desk.driver.machine.claims.in_doubt() == {4: "who knows"}


def test_marks_gather_a_moment_after_each_call() -> None:
    story = Story()
    assert story.send(Execute(pairs=[(1, 0)], outcome="done")) == ["execute"]
    assert story.send(Execute(pairs=[(2, 0)], outcome="done")) == ["execute"]
    assert 0 < story.asking.wait_s(story.now, 1.0) <= GATHER_S
    story.now += GATHER_S
    assert story.send() == ["execute", "execute"]


def test_an_unknown_outcome_is_repeated_under_its_id_and_gives_the_first_answer() -> None:
    story = Story()
    story.send(Claim(pairs=[(1, 0)]))
    story.desk.lose("call-7")
    assert story.asking.events(story.now) == []
    assert story.send() == []
    story.now += AGAIN_S
    assert story.send() == ["repeat call-7"]
    [event] = story.answer()
    assert event.answers[0].kind is ClaimKind.GO


@pytest.mark.parametrize("error", [NoQuorum("nobody"), OutcomeUnknown("forgotten")])
def test_a_refusal_and_a_forgotten_id_are_asked_anew(error: ConsensusError) -> None:
    story = Story()
    story.send(Claim(pairs=[(1, 0)]))
    story.desk.refuse(error)
    assert story.asking.events(story.now) == []
    assert story.send() == []
    assert story.asking.wait_s(story.now, 1.0) == pytest.approx(AGAIN_S)
    story.now += AGAIN_S
    assert story.send() == ["claim"]
    assert story.asking.repeats == 1


def test_a_held_key_that_is_in_doubt_is_told_as_such() -> None:
    story = Story()
    story.send(Claim(pairs=[(1, 0), (2, 0)]))
    story.answer()
    story.send(Doubt(key=2, why="who knows"))
    story.answer()
    story.send(Claim(pairs=[(1, 0), (2, 0)]))
    [event] = story.answer()
    assert [answer.kind for answer in event.answers] == [ClaimKind.HELD] * 2
    assert event.doubted == {2}
    story.desk.driver.do(operations.resolve([2], Decision.RETRY))
    story.send(Claim(pairs=[(2, 0)]))
    [event] = story.answer()
    assert event.answers[0].kind is ClaimKind.GO


def test_calls_are_few_and_of_bounded_size() -> None:
    story = Story()
    keys = range(1, 1 + 6 * CALL_KEYS_MAX)
    assert len(story.send(ExecuteUnclaimed(keys=keys, outcome="done"))) == 4
    assert story.asking.wait_s(story.now, 1.0) > 0, "what has no room waits for an answer, not in circles"
    sizes = [call.size_bytes for _, call, _ in story.desk.waiting]
    assert max(sizes) < 60_000


def test_what_is_no_answer_of_the_ledger_ends_aloud() -> None:
    story = Story()
    story.send(Claim(pairs=[(1, 0)]))
    story.desk.waiting.pop(0)[2].set_exception(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        story.asking.events(story.now)
