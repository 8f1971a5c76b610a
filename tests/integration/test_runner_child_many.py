"""The child's side of runners that run many tasks at once: threads, and an event loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from executor import Form, decode_value
from tests.integration.runner_driver import Runner, await_file, await_text

pytestmark = pytest.mark.integration

MANY = [Form.THREADS, Form.LOOP]
PREFIX = {Form.THREADS: "", Form.LOOP: "async_"}


@pytest.fixture(params=MANY)
def form(request: pytest.FixtureRequest) -> Form:
    return Form(request.param)


@pytest.fixture
def prefix(form: Form) -> str:
    """Before the names of handlers that suit the form."""
    return PREFIX[form]


@pytest.fixture
def runner(form: Form, start_runner: Callable[..., Runner]) -> Runner:
    made = start_runner(form, slots=8)
    assert made.await_message("hello")[2] == form.value
    return made


def test_values_errors_and_wrong_calls(runner: Runner, prefix: str) -> None:
    assert runner.outcome(runner.run(f"{prefix}noop"))[:2] == ["done", None]
    assert decode_value(runner.outcome(runner.run(f"{prefix}add", 2, b=3))[1]) == 5
    (number,) = runner.run_many(f"{prefix}about", [((), {})], kind="big", attempt=2)
    assert decode_value(runner.outcome(number)[1]) == [number + 100, 2, f"{prefix}about", "big"]
    status, _, error, trace, *_ = runner.outcome(runner.run(f"{prefix}fail"))
    assert (status, error) == ("failed", "ValueError: broken on purpose")
    assert "executor/runners" not in trace
    assert "missing a required argument: 'b'" in runner.outcome(runner.run(f"{prefix}add", 1))[2]
    assert runner.outcome(runner.run(f"{prefix}leave"))[2] == "SystemExit: 3"
    assert runner.outcome(runner.run("nobody"))[0] == "unknown_handler"


def test_as_many_run_at_once_as_there_are_slots(runner: Runner, prefix: str, tmp_path: Path) -> None:
    numbers = [
        runner.run(f"{prefix}wait_for", str(tmp_path / "end"), str(tmp_path / str(n))) for n in range(9)
    ]
    for n in range(8):
        await_file(tmp_path / str(n))
    assert sorted(number for number, _ in runner.table.running()) == numbers[:8]
    assert runner.table.begun == numbers[7]
    runner.tell("resize", 9)
    await_file(tmp_path / "8")
    (tmp_path / "end").touch()
    assert {runner.outcome(number)[0] for number in numbers} == {"done"}
    runner.outcome(runner.run(f"{prefix}noop"))
    runner.tell("recall", [])  # what is answered after this saw all rows cleared
    runner.await_message("recalled")
    assert runner.table.running() == []


def test_fewer_slots_after_a_resize(runner: Runner, prefix: str, tmp_path: Path) -> None:
    # Given eight tasks at once
    numbers = [
        runner.run(f"{prefix}wait_for", str(tmp_path / "end"), str(tmp_path / str(n))) for n in range(8)
    ]
    for n in range(8):
        await_file(tmp_path / str(n))
    # When there is one slot from here on
    runner.tell("resize", 1)
    runner.tell("recall", [])
    runner.await_message("recalled")
    (tmp_path / "end").touch()
    for number in numbers:
        runner.outcome(number)
    # Then no two run at the same time
    numbers = runner.run_many(f"{prefix}interval", [((0.02,), {})] * 8)
    intervals = sorted(decode_value(runner.outcome(number)[1]) for number in numbers)
    assert all(before[1] <= after[0] for before, after in pairwise(intervals))


def test_a_task_whose_time_is_over_is_struck(runner: Runner, form: Form) -> None:
    name = "limited_naps" if form is Form.THREADS else "async_limited"
    numbers = [runner.run(name) for _ in range(3)]
    for number in numbers:
        status, _, error, *_ = runner.outcome(number)
        assert (status, error) == ("timed_out", f"handler {name!r} ran longer than its timeout_s of 0.2")
    assert runner.outcome(runner.run("add" if form is Form.THREADS else "async_add", 1, 1))[0] == "done"


def test_cancelling_strikes_the_number_it_names(runner: Runner, form: Form, tmp_path: Path) -> None:
    name = "spin" if form is Form.THREADS else "async_doze"
    numbers = [runner.run(name, str(tmp_path / str(n))) for n in range(3)]
    for n in range(3):
        await_file(tmp_path / str(n))
    runner.tell("cancel", numbers[1])
    status, _, error, *_ = runner.outcome(numbers[1])
    assert (status, error) == ("cancelled", f"the task of handler {name!r} was cancelled")
    assert sorted(number for number, _ in runner.table.running()) == [numbers[0], numbers[2]]


def test_cancelling_brief_tasks_never_strikes_a_neighbour(runner: Runner, prefix: str) -> None:
    # A strike may arrive at any step: in the handler, when it has just ended, or for a task that has not begun. How many hit depends on
    # the machine: as many rounds as it takes.
    cancelled = turn = 0
    end_s = time.monotonic() + 15
    while cancelled < 20 and time.monotonic() < end_s:
        turn += 1
        count = turn % 40 if prefix else turn * 100 % 3000
        numbers = runner.run_many(f"{prefix}blink", [((count,), {})] * 32)
        runner.tell_many([("cancel", number) for number in numbers[::2]])
        for number in numbers:
            status = runner.outcome(number)[0]
            assert status == "done" or (status == "cancelled" and (number - numbers[0]) % 2 == 0)
            cancelled += status == "cancelled"
    assert cancelled


def test_a_handler_that_does_not_stop_is_abandoned_and_later_reported(
    runner: Runner, prefix: str, tmp_path: Path
) -> None:
    runner.tell("resize", 1)
    number = runner.run(f"{prefix}deaf", str(tmp_path / "end"))
    status, _, error, *_ = runner.outcome(number)
    assert status == "timed_out"
    assert "did not stop within 5 s and was abandoned" in error
    # Then its place works, and the beat counts it
    assert runner.outcome(runner.run(f"{prefix}noop"))[0] == "done"
    assert runner.await_message("beat", after=len(runner.messages))[4] == 1
    # When it ends after all, the node hears that, and nothing else of it
    (tmp_path / "end").touch()
    assert runner.await_message("stopped") == ["stopped", number]
    assert runner.await_message("beat", after=len(runner.messages))[4] == 0


def test_each_number_is_run_or_recalled_never_both_and_never_neither(
    runner: Runner, prefix: str, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    expected: set[int] = set()
    recalled: list[int] = []
    for turn in range(150):
        first = runner.next
        calls = [((str(runs), first + n), {}) for n in range(1 + turn % 24)]
        numbers = runner.run_many(f"{prefix}tiny", calls)
        expected |= set(numbers)
        heard = len(runner.messages)
        runner.tell("recall", numbers[turn % len(numbers) :])
        recalled += runner.await_message("recalled", after=heard)[1]
        while not set(numbers) <= runner.ended.keys() | set(recalled):
            assert runner.pump(10.0), "a number was neither run nor recalled"
    runner.tell("drain")
    assert runner.await_end() == 0
    ran = [int(line) for line in runs.read_text().splitlines()]
    assert len(ran) == len(set(ran))
    assert sorted(ran + recalled) == sorted(expected)
    assert set(ran) == runner.ended.keys()
    assert recalled
    assert ran


def test_a_copy_of_the_process_never_answers(runner: Runner, prefix: str, tmp_path: Path) -> None:
    number = runner.run(f"{prefix}fork", str(tmp_path / "exit"), str(tmp_path / "end"))
    # When the copy has returned, and the original still runs
    await_text(tmp_path / "exit", "0")
    assert [each for each, _ in runner.table.running()] == [number]
    (tmp_path / "end").touch()
    # Then only the original goes on
    assert decode_value(runner.outcome(number)[1]) == "original"
    assert runner.outcome(runner.run(f"{prefix}add", 1, 1))[0] == "done"


def test_drained_it_finishes_what_it_has_and_ends(runner: Runner, prefix: str, tmp_path: Path) -> None:
    numbers = [
        runner.run(f"{prefix}wait_for", str(tmp_path / "end"), str(tmp_path / str(n))) for n in range(9)
    ]
    await_file(tmp_path / "0")
    runner.tell("drain")
    (tmp_path / "end").touch()
    assert runner.await_end() == 0
    assert {runner.ended[number][0] for number in numbers} == {"done"}


def test_a_loop_that_does_not_turn_names_the_task_that_holds_it(
    start_runner: Callable[..., Runner], tmp_path: Path
) -> None:
    runner = start_runner(Form.LOOP, slots=8)
    waiting = runner.run("async_wait_for", str(tmp_path / "never"), str(tmp_path / "started"))
    await_file(tmp_path / "started")
    holder = runner.run("hold_the_loop", str(tmp_path / "end"))
    while (beat := runner.await_message("beat", after=len(runner.messages)))[3] == 0:
        assert holder not in runner.ended
    assert beat[3] == holder
    # When it turns again, nobody is named
    (tmp_path / "end").touch()
    assert runner.outcome(holder)[0] == "done"
    while runner.await_message("beat", after=len(runner.messages))[3] != 0:
        assert waiting not in runner.ended
    assert "in hold_the_loop" in runner.close()
