"""`submit`: any importable function of any program, without a declaration."""

from __future__ import annotations

import functools
import importlib
import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, as_completed
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from executor import (
    Executor,
    ExecutorStopped,
    HandlerError,
    Limits,
    PayloadError,
    TaskDied,
    TaskFailed,
    TaskTimedOut,
)
from tests.integration.executor_desk import WAIT_S, await_file

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]

FUNCTIONS = """
import asyncio, os, time
from executor import handler

def double(value): return 2 * value

async def later(value):
    await asyncio.sleep(0.001)
    return value

def fail(): raise ValueError("broken on purpose")

def die(): os.kill(os.getpid(), 9)

def die_if(number, killer):
    if number == killer: os.kill(os.getpid(), 9)
    return number

def wait_for(path, started):
    open(started, "w").close()
    while not os.path.exists(path): time.sleep(0.002)

class Shop:
    @staticmethod
    def price(): return 7

    def sell(self): return 1

@handler(name="declared", timeout_s=0.1)
def declared(): time.sleep(60)

def outer():
    def inner(): pass
    return inner

anonymous = lambda: 1
moved = outer
def outer(): return "another"
"""

PROGRAM = """
import json
from executor import Executor

def square(value):
    return [value * value, __name__]

if __name__ == "__main__":
    with Executor() as executor:
        futures = [executor.submit(square, value) for value in range(3)]
    print(json.dumps([future.result() for future in futures]))
"""


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "functions_under_test.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("functions_under_test")
    del sys.modules["functions_under_test"]
    from executor.handlers.registry import _registered

    _registered.pop("declared", None)


@pytest.fixture
def executor(functions: ModuleType) -> Iterator[Executor]:
    made = Executor(workers=1)
    yield made
    made.stop(0.0)


def test_functions_of_any_module_run_in_another_process(executor: Executor, functions: ModuleType) -> None:
    assert executor.submit(functions.double, 21).result(WAIT_S) == 42
    assert executor.submit(functions.later, "x").result(WAIT_S) == "x"
    assert executor.submit(functions.Shop.price).result(WAIT_S) == 7
    assert executor.submit(math.factorial, 5).result(WAIT_S) == 120
    assert executor.submit(os.getpid).result(WAIT_S) != os.getpid()
    assert "functions_under_test:double" in {label.handler for label in executor.labels()}


def test_what_went_wrong_is_raised_where_the_result_is_wanted(
    executor: Executor, functions: ModuleType
) -> None:
    with pytest.raises(TaskFailed, match="ValueError: broken on purpose") as failed:
        executor.submit(functions.fail).result(WAIT_S)
    assert "in fail" in (failed.value.traceback or "")
    with pytest.raises(TaskDied, match="SIGKILL"):
        executor.submit(functions.die).result(WAIT_S)
    with pytest.raises(TaskFailed, match="missing a required argument"):
        executor.submit(functions.double).result(WAIT_S)
    with pytest.raises(PayloadError, match="set cannot be sent"):
        executor.submit(functions.double, {1})
    assert executor.submit(functions.double, 1).result(WAIT_S) == 2


def test_options_of_a_declared_function_hold_for_submit_too(
    executor: Executor, functions: ModuleType
) -> None:
    with pytest.raises(TaskTimedOut):
        executor.submit(functions.declared).result(WAIT_S)


@pytest.mark.parametrize(
    ("pick", "sentence"),
    [
        (lambda module: module.anonymous, "only inside another function"),
        (lambda module: module.moved(), "only inside another function"),
        (lambda module: module.moved, "leads to"),
        (lambda module: module.Shop().sell, "leads to"),
        (lambda module: functools.partial(module.double, 1), "no name that a worker process could import"),
        (lambda module: 3, "no name that a worker process could import"),
    ],
)
def test_what_no_other_process_could_import_is_refused_in_words(
    executor: Executor, functions: ModuleType, pick: Callable[[ModuleType], Any], sentence: str
) -> None:
    with pytest.raises(HandlerError, match=sentence):
        executor.submit(pick(functions))


def test_a_function_of_the_script_that_was_started_runs_and_the_script_does_not_run_twice(
    tmp_path: Path,
) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    ran = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    values = json.loads(ran.stdout)
    assert [value for value, _ in values] == [0, 1, 4]
    assert "__main__" not in {name for _, name in values}


def test_a_script_without_the_guard_is_told_so_and_starts_no_processes_without_end(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM.replace('if __name__ == "__main__":', "if True:"))
    ran = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert ran.returncode != 0
    assert 'if __name__ == "__main__"' in ran.stderr


def test_a_script_may_end_without_stopping_its_executor(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    careless = "executor = Executor()\n    futures = [executor.submit(square, 2)]\n    futures[0].result()"
    script.write_text(
        PROGRAM.replace(
            "with Executor() as executor:\n        futures = [executor.submit(square, value) for value in range(3)]",
            careless,
        )
    )
    assert "with" not in script.read_text()
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_module_run_as_a_script_is_found_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "prog.py").write_text(PROGRAM)
    ran = subprocess.run(
        [sys.executable, "-m", "shop.prog"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert {name for _, name in json.loads(ran.stdout)} == {"shop.prog"}


def test_a_future_is_cancelled_while_it_waits_and_while_it_runs(
    executor: Executor, functions: ModuleType, tmp_path: Path
) -> None:
    running = executor.submit(functions.wait_for, str(tmp_path / "never"), str(tmp_path / "started"))
    await_file(tmp_path / "started")
    waiting = executor.submit(functions.wait_for, str(tmp_path / "never"), str(tmp_path / "another"))
    assert waiting.cancel()
    assert running.cancel()
    for future in (waiting, running):
        with pytest.raises(CancelledError):
            future.result(WAIT_S)
        assert future.cancelled()
    assert not (tmp_path / "another").exists()


def test_neighbours_of_a_crash_get_their_results(executor: Executor, functions: ModuleType) -> None:
    """In a batch those before the culprit may have lost their answers, and those behind it never began."""
    for future in [executor.submit(functions.die_if, number, -1) for number in range(1000)]:
        future.result(WAIT_S)
    paused = Limits(paused_handlers=frozenset({"functions_under_test:die_if"}))
    executor.tune(paused)  # so that they travel in whole batches
    futures = {executor.submit(functions.die_if, number, 150): number for number in range(300)}
    executor.tune(Limits())
    died = [futures[future] for future in as_completed(futures, WAIT_S) if future.exception() is not None]
    assert died == [150]


def test_leaving_the_block_waits_for_what_was_submitted(functions: ModuleType, tmp_path: Path) -> None:
    with Executor(workers=1) as executor:
        future = executor.submit(functions.wait_for, str(tmp_path / "go"), str(tmp_path / "started"))
        await_file(tmp_path / "started")
        threading.Thread(target=(tmp_path / "go").touch).start()
    assert future.result(0) is None
    with pytest.raises(ExecutorStopped):
        executor.submit(functions.double, 1)


def test_a_stopped_executor_says_so_to_who_still_waits(functions: ModuleType, tmp_path: Path) -> None:
    executor = Executor(workers=1)
    running = executor.submit(functions.wait_for, str(tmp_path / "never"), str(tmp_path / "started"))
    await_file(tmp_path / "started")
    executor.stop(0.0)
    with pytest.raises((ExecutorStopped, TaskDied)):
        running.result(WAIT_S)


def test_submit_waits_while_the_executor_is_full(executor: Executor) -> None:
    """More than it holds at once; nothing is refused, nothing is lost."""
    futures = [executor.submit(math.factorial, 3) for _ in range(25_000)]
    assert {future.result(WAIT_S) for future in futures} == {6}


def test_an_executor_lives_once(executor: Executor) -> None:
    executor.start()
    with pytest.raises(Exception, match="started before"):
        executor.start()
    executor.stop()
    executor.stop()
