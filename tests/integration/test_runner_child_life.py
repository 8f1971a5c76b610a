"""How a runner is born and how it ends: modules, hooks, and functions that nobody declared."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from executor import Form, decode_value
from executor.runners.frames import encode_frame
from tests.integration.runner_driver import Runner

pytestmark = pytest.mark.integration

HOOKS = """
import asyncio
from executor import handler, on_worker_start, on_worker_stop

said = []

def say(text):
    said.append(text)
    with open({path!r}, "a") as file:
        file.write(text + " ")

@on_worker_start
def first(): say("start")

@on_worker_start
async def second():
    await asyncio.sleep(0)
    say("started")

@on_worker_stop
def last(): say("stopped")

@on_worker_stop
async def before():
    await asyncio.sleep(0)
    say("stop")

@on_worker_stop
def broken(): raise ValueError("broken on purpose")

@handler
def heard(): return said

@handler
async def async_heard(): return said
"""


def write(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.py").write_text(text)
    importlib.invalidate_caches()


@pytest.mark.parametrize("form", Form)
def test_hooks_run_once_before_the_first_and_after_the_last_task(
    start_runner: Callable[..., Runner], tmp_path: Path, form: Form
) -> None:
    write(tmp_path, "with_hooks", HOOKS.format(path=str(tmp_path / "said")))
    runner = start_runner(form, "with_hooks", folder=tmp_path)
    runner.await_message("hello")
    assert (tmp_path / "said").read_text() == "start started "
    name = "async_heard" if form is Form.LOOP else "heard"
    for _ in range(2):
        assert decode_value(runner.outcome(runner.run(name))[1]) == ["start", "started"]
    runner.tell("drain")
    assert runner.await_end() == 0
    assert (tmp_path / "said").read_text() == "start started stop stopped "
    assert "stop hook with_hooks.broken failed" in runner.close()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import nowhere_to_be_found", "handler module 'unlucky' cannot be loaded: ModuleNotFoundError"),
        ("import sys; sys.exit(4)", "SystemExit: 4 (at "),
        ("nothing = 1", "no handler is declared in unlucky"),
        (
            "from executor import handler, on_worker_start\n@handler\ndef f(): pass\n"
            "@on_worker_start\ndef connect(): raise OSError('no database')\n",
            "start hook unlucky.connect failed: OSError: no database (at ",
        ),
    ],
)
def test_a_runner_that_cannot_serve_says_why_and_ends(
    start_runner: Callable[..., Runner], tmp_path: Path, text: str, reason: str
) -> None:
    write(tmp_path, "unlucky", text)
    runner = start_runner(Form.PROCESS, "unlucky", folder=tmp_path)
    assert reason in runner.await_message("refused")[1]
    assert runner.await_end() == 1


SCRIPT = """
import asyncio

class Room:
    @staticmethod
    def double(number): return 2 * number

async def later(number):
    await asyncio.sleep(0)
    return number + 1

def with_context(number, context): return [number, context if isinstance(context, int) else context.handler]

if __name__ == "__main__":
    raise SystemExit("the script ran as a program")
"""


def announce(runner: Runner, *places: tuple[str, str, str | None]) -> None:
    runner.data.sendall(encode_frame(["load", [list(place) for place in places]]))


@pytest.mark.parametrize("form", Form)
def test_functions_that_were_not_declared_are_found_by_name(
    start_runner: Callable[..., Runner], tmp_path: Path, form: Form
) -> None:
    file = tmp_path / "a script.py"
    file.write_text(SCRIPT)
    write(tmp_path, "importable", SCRIPT)
    runner = start_runner(form, folder=tmp_path)
    runner.await_message("hello")
    for module, path in (("importable", None), ("__main__", str(file))):
        announce(runner, (f"{module}:Room.double", module, path), (f"{module}:later", module, path))
        assert decode_value(runner.outcome(runner.run(f"{module}:later", 4))[1]) == 5
        if form is not Form.LOOP:
            assert decode_value(runner.outcome(runner.run(f"{module}:Room.double", 4))[1]) == 8
    if form is not Form.LOOP:
        announce(runner, ("math:factorial", "math", None), ("importable:with_context", "importable", None))
        assert decode_value(runner.outcome(runner.run("math:factorial", 5))[1]) == 120
        name = "importable:with_context"
        assert decode_value(runner.outcome(runner.run(name, 1))[1]) == [1, name]
        assert decode_value(runner.outcome(runner.run(name, 1, context=3))[1]) == [1, 3]
        assert decode_value(runner.outcome(runner.run(name, 1, 3))[1]) == [1, 3]


def test_a_function_that_cannot_be_imported_fails_its_tasks_and_nothing_else(
    start_runner: Callable[..., Runner], tmp_path: Path
) -> None:
    write(tmp_path, "unlucky", "raise OSError('no licence')")
    runner = start_runner(Form.PROCESS, folder=tmp_path)
    announce(
        runner, ("unlucky:f", "unlucky", None), ("math:nothing", "math", None), ("math:pi", "math", None)
    )
    for name, reason in (
        (
            "unlucky:f",
            "HandlerLoadError: function 'unlucky:f' cannot be imported from unlucky: OSError: no licence",
        ),
        ("math:nothing", "AttributeError: module 'math' has no attribute 'nothing'"),
        ("math:pi", "'math:pi' is a float and cannot be called"),
        ("math:tau", "no handler is named 'math:tau' in this worker"),
    ):
        status, _, error, trace, *_ = runner.outcome(runner.run(name))
        assert status == ("unknown_handler" if name == "math:tau" else "failed")
        assert reason in error
        assert trace is None
    assert runner.process.poll() is None


def test_an_import_does_not_count_as_running_but_a_death_in_it_is_paid_for(
    start_runner: Callable[..., Runner], tmp_path: Path
) -> None:
    write(tmp_path, "deadly", "import os; os._exit(6)")
    runner = start_runner(Form.PROCESS, folder=tmp_path)
    runner.await_message("hello")
    announce(runner, ("deadly:f", "deadly", None))
    number = runner.run("deadly:f")
    assert runner.await_end() == 6
    ((at, started_s),) = runner.table.running(1)
    assert at == number
    assert started_s > time.monotonic() + 30
