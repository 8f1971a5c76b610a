"""From operations to futures: parts joined in order, refused and unknown never mixed up, an unknown call repeated under its id."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Any

import pytest

from consensus import operations
from consensus.calls import UNKNOWN_CALLS_MAX, Calls, aresult, result
from consensus.errors import ConsensusError, NoQuorum, OutcomeUnknown, Refused
from consensus.group_commit import Call
from consensus.key_calls import KeyCalls
from consensus.operations import OPERATION_KEYS_MAX, ExecuteAnswer
from consensus.waiting import Batons

pytestmark = pytest.mark.unit


class Sent(KeyCalls):
    """The calls as they are handed to the Raft thread; the test ends them."""

    def __init__(self) -> None:
        self.calls: list[tuple[Call, str | None]] = []
        self._calls = Calls(lambda call, call_id: self.calls.append((call, call_id)), Batons())

    def end(self, at: int, answer: Any = None, error: ConsensusError | None = None) -> None:
        self.calls[at][0].finish(answer, error)


NO_NEWS: list[list[int]] = [[], [], []]
KEYS = range(1, 2 * OPERATION_KEYS_MAX + 11)


def test_a_call_of_many_keys_travels_in_parts_and_is_joined_in_order() -> None:
    sent = Sent()
    future = sent.execute_future(KEYS)
    assert len(sent.calls) == 3
    sent.end(2, [[], [2 * OPERATION_KEYS_MAX + 1, 1], []])
    sent.end(0, NO_NEWS)
    assert not future.done()
    sent.end(1, NO_NEWS)
    answers = future.result(0)
    assert len(answers) == len(KEYS)
    assert [at for at, answer in enumerate(answers) if answer is ExecuteAnswer.ALREADY] == [
        2 * OPERATION_KEYS_MAX
    ]


def test_no_keys_are_answered_at_once() -> None:
    sent = Sent()
    assert sent.execute_future([]).result(0) == []
    assert sent.calls == []


def test_a_call_of_which_every_part_was_refused_is_refused() -> None:
    sent = Sent()
    future = sent.execute_future(KEYS)
    for part in range(3):
        sent.end(part, error=NoQuorum("nobody there"))
    with pytest.raises(NoQuorum):
        future.result(0)


def test_a_call_of_which_a_part_took_effect_is_unknown_and_its_repeat_sends_only_what_is_open() -> None:
    sent = Sent()
    future = sent.execute_future(KEYS)
    sent.end(0, NO_NEWS)
    sent.end(1, error=NoQuorum("nobody there"))
    sent.end(2, error=OutcomeUnknown("no answer", "1-7-0"))
    with pytest.raises(OutcomeUnknown, match="2 of 3") as unknown:
        future.result(0)
    assert unknown.value.call_id is not None

    again = sent.repeat_future(unknown.value.call_id)
    assert [call_id for _, call_id in sent.calls[3:]] == [None, "1-7-0"]
    sent.end(3, NO_NEWS)
    sent.end(4, NO_NEWS)
    assert again.result(0) == [ExecuteAnswer.NEW] * len(KEYS)


def test_a_part_that_cannot_be_repeated_leaves_the_call_without_an_id() -> None:
    sent = Sent()
    future = sent.execute_future(KEYS)
    sent.end(0, NO_NEWS)
    sent.end(1, NO_NEWS)
    sent.end(2, error=OutcomeUnknown("the node stopped"))
    with pytest.raises(OutcomeUnknown) as unknown:
        future.result(0)
    assert unknown.value.call_id is None


def test_an_unknown_call_is_repeated_under_its_id_and_read_as_what_it_was() -> None:
    sent = Sent()
    future = sent.reserve_future(10)
    sent.end(0, error=OutcomeUnknown("no answer", "1-5-0"))
    with pytest.raises(OutcomeUnknown):
        future.result(0)
    again = sent.repeat_future("1-5-0")
    assert sent.calls[1][1] == "1-5-0"
    sent.end(1, 77)
    assert again.result(0) == range(77, 87)


def test_ids_are_kept_for_a_bounded_number_of_calls() -> None:
    sent = Sent()
    for number in range(UNKNOWN_CALLS_MAX + 1):
        sent.reserve_future(1)
        sent.end(number, error=OutcomeUnknown("no answer", f"1-{number}-0"))
    with pytest.raises(Refused, match="not known any more"):
        sent.repeat("1-0-0")
    sent.repeat_future("1-1-0")
    assert sent.calls[-1][1] == "1-1-0"


def test_an_answer_that_cannot_be_read_ends_the_call_and_not_the_thread_that_brought_it() -> None:
    sent = Sent()
    future = sent.reserve_future(10)
    sent.end(0, "seven")
    with pytest.raises(TypeError):
        future.result(0)


def test_a_cancelled_future_takes_no_answer() -> None:
    sent = Sent()
    future = sent.reserve_future(10)
    assert future.cancel()
    sent.end(0, 7)
    assert future.cancelled()


def test_an_operation_keeps_what_it_needs_through_the_call() -> None:
    sent = Sent()
    sent._calls.start(operations.change_group("ab", "abc"), 1.0)
    sent.claim_future([(1, 0)])
    assert [(call.alone, call.needs_session) for call, _ in sent.calls] == [(True, False), (False, True)]


def test_a_stalled_thread_ends_the_wait_as_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consensus.calls.STALLED_AFTER_S", 0.0)
    never: Future[None] = Future()
    with pytest.raises(OutcomeUnknown, match="stalled"):
        result(never, 0.01)
    with pytest.raises(OutcomeUnknown, match="stalled"):
        asyncio.run(aresult(never, 0.01))
