"""What a runner tells of an error, in each form: enough to decide about a retry without importing the handler."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from executor import Form
from tests.integration.runner_driver import Runner

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


@pytest.mark.parametrize(
    ("form", "prefix"),
    [(Form.PROCESS, ""), (Form.PROCESS, "async_"), (Form.THREADS, ""), (Form.LOOP, "async_")],
)
def test_classes_and_wait_of_an_error_are_told(
    start_runner: Callable[..., Runner], form: Form, prefix: str
) -> None:
    runner = start_runner(form)
    runner.await_message("hello")
    failed = runner.outcome(runner.run(f"{prefix}fail"))
    assert failed[-1] == [["builtins.ValueError", "builtins.Exception"], None, False]
    asked = runner.outcome(runner.run(f"{prefix}ask_again", 12.5))
    assert asked[-1][0][0] == "executor.errors.RetryLater"
    assert asked[-1][1:] == [12.5, False]
    assert runner.outcome(runner.run(f"{prefix}fail", 1))[-1] == [[], None, True]  # arguments that do not fit
    assert runner.outcome(runner.run(f"{prefix}add", 1, 2))[-1] is None
