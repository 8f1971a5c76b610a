"""The child's side of a runner that runs one task at a time, as a real process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from executor import decode_value
from tests.integration.runner_driver import Runner, await_file, await_text

pytestmark = pytest.mark.integration


@pytest.fixture
def runner(start_runner: Callable[..., Runner]) -> Runner:
    made = start_runner()
    made.await_message("hello")
    return made


def test_hello_names_the_form_and_every_handler(runner: Runner) -> None:
    kind, protocol, form, handlers = runner.await_message("hello")
    assert (kind, protocol, form) == ("hello", 2, "process")
    assert {"add", "async_add"} <= {fields[0] for fields in handlers}


def test_values_errors_and_wrong_calls(runner: Runner) -> None:
    assert runner.outcome(runner.run("noop"))[:2] == ["done", None]
    status, result, *_ = runner.outcome(runner.run("add", 2, b=3))
    assert (status, decode_value(result)) == ("done", 5)
    assert decode_value(runner.outcome(runner.run("async_add", 2, 3))[1]) == 5
    (number,) = runner.run_many("about", [((), {})], kind="big", attempt=4)
    assert decode_value(runner.outcome(number)[1]) == [number + 100, 4, "about", "big"]
    status, _, error, trace, *_ = runner.outcome(runner.run("fail"))
    assert (status, error) == ("failed", "ValueError: broken on purpose")
    assert "in fail" in trace
    assert "executor/runners" not in trace
    status, _, error, trace, *_ = runner.outcome(runner.run("add", 1))
    assert (status, trace) == ("failed", None)
    assert "declared as add(a: 'int', b: 'int') -> 'int': missing a required argument: 'b'" in error
    assert "a builtins.set cannot be sent" in runner.outcome(runner.run("unsendable"))[2]
    assert runner.outcome(runner.run("leave"))[:3] == ["failed", None, "SystemExit: 3"]
    assert runner.outcome(runner.run("nobody"))[0] == "unknown_handler"
    assert "'context' is given by the executor" in runner.outcome(runner.run("about", context=1))[2]


@pytest.mark.parametrize("name", ["limited_spin", "limited_sleep", "async_limited", "async_limited_spin"])
def test_a_task_whose_time_is_over_is_struck_and_the_next_one_runs(runner: Runner, name: str) -> None:
    status, _, error, *_ = runner.outcome(runner.run(name))
    assert (status, error) == ("timed_out", f"handler {name!r} ran longer than its timeout_s of 0.2")
    assert decode_value(runner.outcome(runner.run("add", 1, 1))[1]) == 2


def test_a_row_of_brief_tasks_has_its_limit_each_for_itself(runner: Runner) -> None:
    numbers = runner.run_many("nap", [((0.02,), {})] * 40)
    assert {runner.outcome(number)[0] for number in numbers} == {"done"}
    assert runner.outcome(runner.run("nap", 60.0))[0] == "timed_out"


@pytest.mark.parametrize("name", ["spin", "doze", "async_doze"])
def test_cancelling_strikes_what_runs(runner: Runner, tmp_path: Path, name: str) -> None:
    number = runner.run(name, str(tmp_path / "started"))
    await_file(tmp_path / "started")
    runner.tell("cancel", number)
    status, _, error, *_ = runner.outcome(number)
    assert (status, error) == ("cancelled", f"the task of handler {name!r} was cancelled")
    assert runner.outcome(runner.run("add", 1, 1))[0] == "done"


def test_cancelling_strikes_nothing_but_the_number_it_names(runner: Runner, tmp_path: Path) -> None:
    ended = runner.run("noop")
    runner.outcome(ended)
    number = runner.run("wait_for", str(tmp_path / "end"), str(tmp_path / "started"))
    await_file(tmp_path / "started")
    runner.tell("cancel", ended)
    runner.tell("cancel", number + 1)
    runner.tell("recall", [])  # answered after both were heard
    runner.await_message("recalled")
    (tmp_path / "end").touch()
    assert runner.outcome(number)[0] == "done"


def test_cancelling_a_row_of_brief_tasks_never_strikes_a_neighbour(runner: Runner) -> None:
    # A signal may arrive at any step: in the handler, when it has just ended, or for a task that has not begun. How many hit depends on
    # the machine: as many rounds as it takes.
    cancelled = 0
    end_s = time.monotonic() + 15
    while cancelled < 10 and time.monotonic() < end_s:
        numbers = runner.run_many("blink", [((50_000,), {})] * 32)
        runner.tell_many([("cancel", number) for number in numbers[::2]])
        for number in numbers:
            status = runner.outcome(number)[0]
            assert status == "done" or (status == "cancelled" and (number - numbers[0]) % 2 == 0)
            cancelled += status == "cancelled"
    assert cancelled


def test_a_handler_may_ask_whether_it_was_cancelled(runner: Runner, tmp_path: Path) -> None:
    number = runner.run("ask_whether_cancelled", started=str(tmp_path / "started"))
    await_file(tmp_path / "started")
    runner.tell("cancel", number)
    assert decode_value(runner.outcome(number)[1]) == "True"


def test_a_handler_that_hangs_leaves_beats_and_its_number(runner: Runner, tmp_path: Path) -> None:
    number = runner.run("stubborn", str(tmp_path / "started"))
    await_file(tmp_path / "started")
    runner.tell("cancel", number)
    heard = len(runner.messages)
    runner.await_message("beat", after=heard)
    runner.await_message("beat", after=len(runner.messages))
    assert runner.table.running(1)[0][0] == number
    assert number not in runner.ended


def test_each_number_is_run_or_recalled_never_both_and_never_neither(runner: Runner, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    expected: set[int] = set()
    recalled: list[int] = []
    for turn in range(150):
        first = runner.next
        numbers = runner.run_many("tiny", [((str(runs), first + n), {}) for n in range(1 + turn % 24)])
        expected |= set(numbers)
        heard = len(runner.messages)
        runner.tell("recall", numbers[turn % len(numbers) :])
        recalled += runner.await_message("recalled", after=heard)[1]
        while not set(numbers) <= runner.ended.keys() | set(recalled):
            assert runner.pump(10.0), "a number was neither run nor recalled"
    runner.tell("drain")
    runner.await_end()
    ran = [int(line) for line in runs.read_text().splitlines()]
    assert len(ran) == len(set(ran))
    assert sorted(ran + recalled) == sorted(expected)
    assert set(ran) == runner.ended.keys()
    assert recalled
    assert ran


def test_what_is_recalled_before_it_is_read_does_not_run(runner: Runner, tmp_path: Path) -> None:
    first = runner.run("wait_for", str(tmp_path / "end"), str(tmp_path / "started"))
    await_file(tmp_path / "started")
    runner.tell("recall", [first, first + 1, first + 2])  # these two are not even sent yet
    assert runner.await_message("recalled")[1] == [first + 1, first + 2]
    numbers = runner.run_many("noop", [((), {})] * 3)
    (tmp_path / "end").touch()
    assert runner.outcome(numbers[2])[0] == "done"
    assert numbers[0] not in runner.ended
    assert numbers[1] not in runner.ended


def test_what_has_ended_is_told_while_a_slow_task_runs_after_it(runner: Runner, tmp_path: Path) -> None:
    numbers = runner.run_many("noop", [((), {})] * 2)
    first, tasks = runner.next, ["wait_for", str(tmp_path / "end"), str(tmp_path / "started")]
    for number in numbers:
        runner.outcome(number)
    # Given one batch of a brief and a slow task
    runner.run_mixed([("noop", ()), (tasks[0], tuple(tasks[1:]))])
    await_file(tmp_path / "started")
    # When the node looks for what waits behind it
    runner.tell("recall", [first + 1])
    # Then the brief one is told
    assert runner.outcome(first)[0] == "done"
    assert runner.await_message("recalled")[1] == []
    assert first + 1 not in runner.ended


@pytest.mark.parametrize(("name", "code"), [("die_at_once", 5), ("segfault", -signal.SIGSEGV)])
def test_a_death_names_the_task_that_ran(runner: Runner, name: str, code: int) -> None:
    runner.run_mixed([("noop", ()), (name, ()), ("noop", ())])
    assert runner.await_end() == code
    assert runner.table.running(1)[0][0] == 2  # the second one pays
    assert 3 not in runner.ended
    if name == "segfault":
        assert "in segfault" in runner.close()


def test_between_batches_nobody_pays(runner: Runner) -> None:
    for count in range(1, 4):
        numbers = runner.run_mixed(
            [("noop", ())] * 3 + [("fail" if count == 2 else "add", (1, 1)), ("noop", ())]
        )
        for number in numbers:
            runner.outcome(number)
        assert runner.table.running(1) == []
        assert runner.table.begun == numbers[-1]


@pytest.mark.parametrize("name", ["fork", "async_fork"])
def test_a_copy_of_the_process_never_answers(runner: Runner, tmp_path: Path, name: str) -> None:
    runs, end = tmp_path / "runs", tmp_path / "end"
    runner.run_mixed([(name, (str(tmp_path / "exit"), str(end))), ("tiny", (str(runs), 2))])
    # When the copy has returned, and the original still runs
    await_text(tmp_path / "exit", "0")
    assert runner.table.running(1)[0][0] == 1
    end.touch()
    # Then only the original goes on
    assert decode_value(runner.outcome(1)[1]) == "original"
    assert runner.outcome(2)[0] == "done"
    assert runs.read_text() == "2\n"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_handler_may_use_processes_of_its_own(runner: Runner, method: str) -> None:
    assert decode_value(runner.outcome(runner.run("pool", method))[1]) == [1, 2, 3]
    assert runner.outcome(runner.run("noop"))[0] == "done"


def test_when_the_node_is_gone_the_process_ends_amid_a_handler(runner: Runner, tmp_path: Path) -> None:
    runner.run("spin", str(tmp_path / "started"))
    await_file(tmp_path / "started")
    runner.data.close()
    runner.control.close()
    assert runner.process.wait(10) == 0


def test_drained_it_finishes_what_it_has_and_ends(runner: Runner, tmp_path: Path) -> None:
    number = runner.run("wait_for", str(tmp_path / "end"), str(tmp_path / "started"))
    behind = runner.run("add", 1, 2)
    await_file(tmp_path / "started")
    runner.tell("drain")
    (tmp_path / "end").touch()
    assert runner.await_end() == 0
    assert runner.ended[number][0] == runner.ended[behind][0] == "done"


def test_signals_to_the_whole_group_do_not_end_it(runner: Runner) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(runner.process.pid, number)
    assert runner.outcome(runner.run("add", 1, 1))[0] == "done"
