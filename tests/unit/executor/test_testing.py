"""`executor.testing.run`: a handler in a user's own test behaves as in a worker."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from executor import Context, PayloadError, TimeLimitExceeded, handler
from executor.testing import run

pytestmark = pytest.mark.unit


def test_the_value_is_what_the_one_who_waits_gets() -> None:
    def echo(*values: object, **named: object) -> object:
        return (values, named)

    moment = datetime(2026, 1, 2, tzinfo=UTC)
    assert run(echo, 1, (2, 3), at=moment, cost=Decimal("1.5")).value == [
        [1, [2, 3]],
        {"at": moment, "cost": Decimal("1.5")},
    ]
    assert run(lambda: None).value is None


def test_arguments_arrive_as_they_would_travel() -> None:
    seen: list[Any] = []
    run(seen.append, (1, 2))
    assert seen == [[1, 2]]


def test_what_cannot_be_sent_is_refused_on_both_ways() -> None:
    with pytest.raises(PayloadError, match=r"a builtins\.set cannot be sent"):
        run(len, {1})
    with pytest.raises(PayloadError, match=r"a builtins\.set cannot be sent"):
        run(lambda: {1})


def test_the_context_is_that_of_a_task() -> None:
    def about(context: Context, extra: int) -> list[object]:
        context.progress(1, 2, "half")
        context.progress(2, 2)
        return [context.key, context.attempt, context.handler, context.kind, context.cancelled, extra]

    ran = run(about, 5, key=7, attempt=2, kind="big")
    assert ran.value == [7, 2, "about", "big", False, 5]
    assert [report[1:] for report in ran.progress] == [(7, 1.0, 2.0, "half"), (7, 2.0, 2.0, "")]


def test_a_context_given_by_the_caller_is_refused() -> None:
    def about(context: Context) -> None: ...

    with pytest.raises(TypeError, match="'context' is given by the executor"):
        run(about, context=1)


def test_what_is_printed_and_logged_is_kept_and_the_streams_come_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def say(context: Context) -> None:
        print("to stdout")
        sys.stderr.write("to stderr\n")
        context.logger.info("hello")
        logging.getLogger("somebody").error("oh no")

    ran = run(say)
    assert ran.output == "to stdout\nto stderr\nINFO task.say: hello\nERROR somebody: oh no\n"
    print("after")
    assert capsys.readouterr().out == "after\n"


def test_what_the_handler_raises_is_raised() -> None:
    def fail() -> None:
        raise LookupError("broken on purpose")

    with pytest.raises(LookupError, match="broken on purpose"):
        run(fail)


def test_arguments_that_do_not_fit_are_a_type_error() -> None:
    def two(a: int, b: int) -> None: ...

    with pytest.raises(TypeError, match="missing 1 required positional argument: 'b'"):
        run(two, 1)


def test_a_coroutine_runs_to_its_end() -> None:
    async def later(value: int) -> int:
        await asyncio.sleep(0)
        return value + 1

    assert run(later, 1).value == 2


def _sleep() -> None:
    time.sleep(60)


async def _sleep_async() -> None:
    await asyncio.sleep(60)


@handler(name="testing-limited", timeout_s=0.05)
def _limited() -> None:
    time.sleep(60)


@pytest.mark.parametrize("function", [_sleep, _sleep_async])
def test_the_time_limit_strikes(function: Any) -> None:
    with pytest.raises(TimeLimitExceeded, match=r"ran longer than its timeout_s of 0\.05"):
        run(function, timeout_s=0.05)


def test_a_declared_time_limit_holds() -> None:
    with pytest.raises(TimeLimitExceeded, match=r"'testing-limited' ran longer than its timeout_s of 0\.05"):
        run(_limited)


def test_a_time_limit_outside_of_the_main_thread_is_refused() -> None:
    errors: list[BaseException] = []

    def attempt() -> None:
        try:
            run(_sleep, timeout_s=1.0)
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    assert "can only strike in the main thread" in str(errors[0])


def test_the_sample_tells_what_it_cost() -> None:
    def call(context: Context) -> None:
        with context.io("somebody"):
            time.sleep(0.02)

    sample = run(call).sample
    assert 0.02 <= sample.io_s <= sample.wall_s
    assert sample.cpu_s < 0.02
