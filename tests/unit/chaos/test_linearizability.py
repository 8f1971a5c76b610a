"""The judge is judged: what a broken ledger would answer is refused, and a plain search over all orders agrees with the clever one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.chaos.linearizability import UNANSWERED, Model, Operation, Verdict, judge

pytestmark = pytest.mark.unit


class Register:
    """A number that starts as 0: ("read",), ("write", n), ("swap", expected, n) with the answer whether it did."""

    def initial(self) -> int:
        return 0

    def is_read(self, request: Any) -> bool:
        return bool(request[0] == "read")

    def step(self, state: int, request: Any, answer: Any) -> Iterable[int]:
        match request:
            case ("read",):
                return [state] if answer in (UNANSWERED, state) else []
            case ("write", new):
                return [new]
            case ("swap", expected, new):
                did = state == expected
                return [new if did else state] if answer in (UNANSWERED, did) else []
        raise AssertionError(request)


def called(invoked: int, returned: int | None, *request: Any, answer: Any = None) -> Operation:
    return Operation(
        request=request,
        answer=UNANSWERED if returned is None else answer,
        invoked=invoked,
        returned=returned,
    )


def explained_by_some_order(operations: Sequence[Operation], model: Model[Any]) -> bool:
    """The naive twin: every subset of the unanswered calls, every order, straight from the definition."""
    answered = [one for one in operations if one.returned is not None]
    unanswered = [one for one in operations if one.returned is None]
    for count in range(len(unanswered) + 1):
        for taken in itertools.combinations(unanswered, count):
            for order in itertools.permutations([*answered, *taken]):
                if _keeps_real_time(order) and _is_legal(order, model):
                    return True
    return False


def _keeps_real_time(order: Sequence[Operation]) -> bool:
    return not any(
        later.returned is not None and later.returned < earlier.invoked
        for earlier, later in itertools.combinations(order, 2)
    )


def _is_legal(order: Sequence[Operation], model: Model[Any]) -> bool:
    states = {model.initial()}
    for one in order:
        states = {after for state in states for after in model.step(state, one.request, one.answer)}
    return bool(states)


def test_overlapping_calls_may_take_effect_in_either_order() -> None:
    history = [
        called(0, 10, "write", 1),
        called(0, 10, "write", 2),
        called(11, 12, "read", answer=1),
    ]
    assert judge(history, Register()).good


def test_a_stale_read_is_refused_and_named() -> None:
    history = [called(0, 1, "write", 1), called(2, 3, "read", answer=0)]

    judgement = judge(history, Register())

    assert judgement.verdict is Verdict.VIOLATED
    assert "('read',)" in judgement.reason


def test_two_reads_may_not_see_a_value_come_and_go() -> None:
    write = called(0, None, "write", 1)
    assert judge([write, called(1, 2, "read", answer=0), called(3, 4, "read", answer=1)], Register()).good
    assert not judge([write, called(1, 2, "read", answer=1), called(3, 4, "read", answer=0)], Register()).good


def test_an_unanswered_call_may_take_effect_long_after_or_never() -> None:
    lost = called(0, None, "write", 7)
    assert judge([lost, called(1, 2, "read", answer=0)], Register()).good
    assert judge([lost, called(1, 2, "read", answer=0), called(900, 901, "read", answer=7)], Register()).good


def test_an_unanswered_call_takes_effect_at_most_once() -> None:
    history = [
        called(0, None, "swap", 0, 7),
        called(1, 2, "swap", 7, 0, answer=True),
        called(3, 4, "swap", 7, 0, answer=True),
    ]
    assert not judge(history, Register()).good
    assert judge([*history, called(0, None, "swap", 0, 7)], Register()).good


def test_more_unanswered_calls_than_can_be_judged_are_undecided() -> None:
    history = [called(at, None, "write", at) for at in range(31)]

    judgement = judge(history, Register())

    assert judgement.verdict is Verdict.UNDECIDED
    assert not judgement.good


def test_a_search_that_grows_too_large_is_undecided() -> None:
    history = [called(0, 100, "swap", n, n + 1, answer=False) for n in range(10, 20)]
    assert judge(history, Register(), configurations_max=20).verdict is Verdict.UNDECIDED


def test_thirty_unanswered_writes_are_judged_in_time_also_when_the_history_is_wrong() -> None:
    writes = [called(at, None, "write", at % 5 + 1) for at in range(30)]
    reads = [called(100 + 2 * at, 101 + 2 * at, "read", answer=at % 5 + 1) for at in range(30)]
    assert judge([*writes, *reads], Register()).good
    assert (
        judge([*writes, *reads, called(200, 201, "read", answer=9)], Register()).verdict is Verdict.VIOLATED
    )


def test_an_answer_without_a_return_is_no_operation() -> None:
    with pytest.raises(ValueError, match="exactly when"):
        Operation(request=("read",), answer=0, invoked=0, returned=None)


NUMBERS = st.integers(0, 2)
REQUESTS = st.one_of(
    st.just(("read",)),
    st.tuples(st.just("write"), NUMBERS),
    st.tuples(st.just("swap"), NUMBERS, NUMBERS),
)


@st.composite
def operations(draw: st.DrawFn) -> Operation:
    request = draw(REQUESTS)
    invoked = draw(st.integers(0, 8))
    returned = draw(st.one_of(st.none(), st.integers(invoked, 9)))
    if returned is None:
        return called(invoked, None, *request)
    answer = {"read": NUMBERS, "write": st.none(), "swap": st.booleans()}[request[0]]
    return called(invoked, returned, *request, answer=draw(answer))


@given(st.lists(operations(), max_size=6))
@settings(max_examples=2000)
@example([called(0, 1, "write", 1), called(1, 2, "read", answer=0)])
def test_the_search_agrees_with_the_definition(history: list[Operation]) -> None:
    assert judge(history, Register()).good == explained_by_some_order(history, Register())
