"""What tasks print, log and report of their progress, each kept apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from executor import Form
from tests.integration.runner_driver import Runner, await_file

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("form", Form)
def test_output_of_tasks_at_the_same_time_is_kept_apart(
    start_runner: Callable[..., Runner], form: Form
) -> None:
    runner = start_runner(form, slots=4)
    name = "async_say" if form is Form.LOOP else "say"
    words = ["alpha", "beta", "gamma", "delta"]
    numbers = [runner.run(name, word, 20) for word in words]
    for number, word in zip(numbers, words, strict=True):
        status, *_, output, _ = runner.outcome(number)
        end = f"{word} to stderr\n{word} as bytes\nERROR somebody: {word} logged\n"
        assert (status, output) == ("done", f"{word}\n" * 20 + end)
    assert runner.outcome(runner.run("async_noop" if form is Form.LOOP else "noop"))[5] is None


def test_of_much_output_the_end_is_kept(start_runner: Callable[..., Runner]) -> None:
    runner = start_runner()
    output = runner.outcome(runner.run("say_much", 10_000))[5]
    assert output.endswith("line 9998 ü\nline 9999 ü\n")
    assert 16_000 < len(output.encode()) <= 16_384


def test_a_failed_task_keeps_its_output(start_runner: Callable[..., Runner]) -> None:
    runner = start_runner()
    status, *_, output, _ = runner.outcome(runner.run("say_then_fail"))
    assert (status, output) == ("failed", "before the end\n")


def test_threads_of_a_handler_are_heard_and_programs_write_where_they_always_would(
    start_runner: Callable[..., Runner],
) -> None:
    runner = start_runner()
    assert runner.outcome(runner.run("say_by_others"))[5] == "from a thread of the handler\n"
    errors = runner.close()
    assert "from a program" in errors
    assert "said at import, by no task\n" in errors


def test_what_is_said_between_tasks_belongs_to_none(
    start_runner: Callable[..., Runner], tmp_path: Path
) -> None:
    runner = start_runner()
    runner.outcome(runner.run("say_later", str(tmp_path / "go"), str(tmp_path / "said")))
    (tmp_path / "go").touch()
    await_file(tmp_path / "said")
    assert runner.outcome(runner.run("noop"))[5] is None
    assert "long after\n" in runner.close()


def test_the_logger_of_the_context_is_heard_from_info_on(start_runner: Callable[..., Runner]) -> None:
    runner = start_runner()
    number = runner.run("log_by_context")
    assert runner.outcome(number)[5] == f"INFO task.log_by_context: at {number + 100}\n"


@pytest.mark.parametrize("form", [Form.PROCESS, Form.THREADS])
def test_progress_leaves_at_most_five_times_a_second_and_the_newest_always(
    start_runner: Callable[..., Runner], tmp_path: Path, form: Form
) -> None:
    runner = start_runner(form)
    runner.await_message("hello")
    number = runner.run("report_fast", 1.0, str(tmp_path / "end"))
    while runner.await_message("progress", after=len(runner.messages))[4] != "last word":
        assert number not in runner.ended
    reports = [message for message in runner.messages if message[0] == "progress"]
    assert {report[1] for report in reports} == {number}
    assert reports[-1][2] == reports[-1][3]  # done of total
    assert 2 <= len(reports) <= 8
    assert reports[-1][2] > 1000
    (tmp_path / "end").touch()
    runner.outcome(number)
