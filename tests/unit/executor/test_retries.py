"""The policy of retries: which rule an error falls under, how often, and how long a task waits."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor import (
    Again,
    Fault,
    GiveUp,
    HandlerError,
    Outcome,
    Retry,
    RetryLater,
    Status,
    TaskDied,
    TaskTimedOut,
    decide,
    fault_of,
)
from executor.retries import DEATHS, OWN, ceiling_s, class_names

pytestmark = pytest.mark.unit


class Busy(ConnectionError):
    """Of some service."""


def raised(error: type[BaseException]) -> Fault:
    return Fault(class_names(error))


def attempts(policy: Retry | None, fault: Fault) -> int:
    """How often a task runs that fails like this every time."""
    failures: dict[str, int] = {}
    for attempt in range(1, 1000):
        match decide(policy, fault, failures, random.Random(attempt).random):
            case Again(rule=rule):
                failures[rule] = failures.get(rule, 0) + 1
            case GiveUp():
                return attempt
    raise AssertionError("it never ends")


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_task_runs_as_often_as_its_policy_says(count: int) -> None:
    assert attempts(Retry(max_attempts=count), raised(ValueError)) == count


def test_without_a_policy_there_is_one_attempt() -> None:
    assert attempts(None, raised(ValueError)) == 1


@given(
    st.integers(1, 2000),
    st.floats(0, 1, exclude_max=True),
    st.just(0.0) | st.floats(0.001, 100),
    st.floats(0, 1000),
)
def test_a_wait_lies_between_nothing_and_a_ceiling_that_doubles(
    failures: int, chance: float, base_s: float, more_s: float
) -> None:
    policy = Retry(max_attempts=10_000, base_s=base_s, cap_s=base_s + more_s)
    decision = decide(policy, raised(ValueError), {OWN: failures - 1}, lambda: chance)
    assert isinstance(decision, Again)
    assert decision.after_s == chance * min(policy.cap_s, base_s * 2 ** min(failures - 1, 1000))


def test_the_whole_wait_is_used() -> None:
    decisions = [
        decide(Retry(), raised(ValueError), {OWN: 5}, random.Random(seed).random) for seed in range(200)
    ]
    waits = [decision.after_s for decision in decisions if isinstance(decision, Again)]
    assert len(waits) == 200
    assert min(waits) < 0.1 * ceiling_s(Retry(), 6) < 0.9 * ceiling_s(Retry(), 6) < max(waits)


def test_the_most_special_class_that_is_named_decides() -> None:
    policy = Retry(max_attempts=2, on={OSError: Retry(max_attempts=3), Busy: Retry(max_attempts=5)})
    assert [attempts(policy, raised(error)) for error in (ValueError, OSError, TimeoutError, Busy)] == [
        2,
        3,
        3,
        5,
    ]


@pytest.mark.parametrize("named", [Busy, "Busy", f"{Busy.__module__}.Busy"])
def test_an_error_may_be_named_by_class_by_name_and_with_its_module(named: type[BaseException] | str) -> None:
    assert attempts(Retry(never=(named,)), raised(Busy)) == 1
    assert attempts(Retry(on={named: None}), raised(Busy)) == 1
    assert attempts(Retry(never=(named,)), raised(ConnectionError)) == 10


def test_each_rule_counts_its_own_failures() -> None:
    policy = Retry(max_attempts=3, on={Busy: Retry(max_attempts=3)})
    failures = {OWN: 1, f"{Busy.__module__}.Busy": 2}
    assert isinstance(decide(policy, raised(ValueError), failures, random.random), Again)
    assert decide(policy, raised(Busy), failures, random.random) == GiveUp(
        why=f"3 attempts failed by {Busy.__module__}.Busy"
    )


def test_a_worker_that_dies_is_an_attempt_and_three_are_the_end() -> None:
    fault = fault_of(Outcome(1, 1, Status.DIED))
    assert attempts(Retry(), fault) == DEATHS
    assert attempts(Retry(max_attempts=2), fault) == 2
    assert attempts(Retry(on={TaskDied: Retry(max_attempts=6)}), fault) == 6
    assert attempts(None, fault) == 1


def test_a_time_limit_is_an_attempt_like_any() -> None:
    fault = fault_of(Outcome(1, 1, Status.TIMED_OUT))
    assert attempts(Retry(max_attempts=4), fault) == 4
    assert attempts(Retry(never=(TaskTimedOut,)), fault) == 1
    assert attempts(Retry(never=("TimeLimitExceeded",)), fault) == 1


def test_a_call_that_cannot_be_made_is_not_repeated() -> None:
    assert attempts(Retry(), Fault(is_final=True)) == 1


def test_retry_later_waits_as_long_as_it_says_and_counts() -> None:
    fault = Fault(class_names(RetryLater), 90.0)
    assert decide(Retry(base_s=1, cap_s=2), fault, {}, random.random) == Again(after_s=90.0, rule=OWN)
    assert attempts(Retry(max_attempts=4), fault) == 4
    assert attempts(Retry(max_attempts=4, on={RetryLater: Retry(max_attempts=100)}), fault) == 100
    assert decide(None, fault, {}, random.random) == GiveUp(why="the handler has retry=None")


@pytest.mark.parametrize("after_s", [-1.0, float("nan"), float("inf"), "5", True])
def test_retry_later_is_given_seconds(after_s: object) -> None:
    with pytest.raises(ValueError, match="after_s"):
        RetryLater(after_s)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"max_attempts": 0},
        {"max_attempts": 2.0},
        {"base_s": -1},
        {"base_s": "1"},
        {"base_s": 5, "cap_s": 4},
        {"cap_s": float("nan")},
        {"never": "ValueError"},
        {"never": (5,)},
        {"on": {ValueError: 3}},
        {"on": {int: Retry()}},
        {"on": {ValueError: Retry(never=(OSError,))}},
        {"on": {ValueError: None}, "never": (ValueError,)},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(HandlerError, match="retry"):
        Retry(**options)  # type: ignore[arg-type]


def test_a_policy_comes_back_from_a_hello() -> None:
    policy = Retry(
        max_attempts=3,
        base_s=0.5,
        cap_s=7,
        on={Busy: Retry(max_attempts=2), "Timeout": None},
        never=(KeyError,),
    )
    assert Retry.from_fields(policy.to_fields()) == policy


@pytest.mark.parametrize("fields", [[], [1, 2], [1, 1.0, 2.0, [["a"]], []], [1, 1.0, 2.0, [], [5]], "x"])
def test_fields_that_make_no_policy_are_refused(fields: object) -> None:
    with pytest.raises(HandlerError, match="makes no sense"):
        Retry.from_fields(fields)
