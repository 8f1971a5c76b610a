"""The executor with real worker processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from executor import (
    Executor,
    ExecutorStopped,
    HandlerLoadError,
    Outcome,
    Status,
    Task,
    decode_value,
    encode_arguments,
)

pytestmark = pytest.mark.integration

HANDLERS = """
import asyncio, os, sys, time
from executor import handler

@handler
def add(a, b): return a + b

@handler
async def later(value):
    await asyncio.sleep(0.001)
    return value

@handler
def about(context): return [context.key, context.attempt, context.handler]

@handler
def fail(): raise ValueError("broken on purpose")

@handler
def leave(): sys.exit(3)

@handler
def unsendable(): return {1, 2}

@handler(timeout_s=0.2)
def soft():
    try:
        time.sleep(60)
    except Exception:
        return "swallowed"

@handler(timeout_s=0.2)
async def soft_async(): await asyncio.sleep(60)

@handler(timeout_s=0.2)
def hard():
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            time.sleep(60)
        except BaseException:
            pass

@handler
def brief(seq, killer):
    if seq == killer: os.kill(os.getpid(), 9)

@handler
def wait_for(path, started):
    open(started, "w").close()
    while not os.path.exists(path): time.sleep(0.005)
    return os.getpid()
"""


class Desk:
    """An executor and the outcomes it gave, to wait for by seq."""

    def __init__(self, module: str, workers: int) -> None:
        self.outcomes: dict[int, Outcome] = {}
        self._changed = threading.Condition()
        self.executor = Executor([module], workers=workers, on_outcomes=self._take)
        self.executor.start()

    def _take(self, outcomes: list[Outcome]) -> None:
        with self._changed:
            for outcome in outcomes:
                assert outcome.seq not in self.outcomes
                self.outcomes[outcome.seq] = outcome
            self._changed.notify_all()

    def offer(self, seq: int, handler: str, *args: object, **kwargs: object) -> None:
        arguments = encode_arguments(args, kwargs)
        self.executor.offer([Task(seq=seq, key=seq + 100, attempt=1, handler=handler, arguments=arguments)])

    def outcome(self, seq: int, timeout_s: float = 20.0) -> Outcome:
        with self._changed:
            assert self._changed.wait_for(lambda: seq in self.outcomes, timeout_s), f"no outcome of {seq}"
            return self.outcomes[seq]

    def run(self, handler: str, *args: object, **kwargs: object) -> Outcome:
        seq = len(self.outcomes) + 1
        self.offer(seq, handler, *args, **kwargs)
        return self.outcome(seq)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "handlers_under_test.py").write_text(HANDLERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "handlers_under_test"


@pytest.fixture
def desk(module: str) -> Iterator[Callable[[int], Desk]]:
    desks: list[Desk] = []

    def make(workers: int) -> Desk:
        desks.append(Desk(module, workers))
        return desks[-1]

    yield make
    for each in desks:
        each.executor.stop(0.0)


def wait_for_file(path: Path) -> None:
    end_s = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end_s, f"{path} did not appear"
        threading.Event().wait(0.005)


def test_values_errors_and_wrong_calls(desk: Callable[[int], Desk]) -> None:
    one = desk(2)
    assert one.executor.handlers["later"].is_async
    done = one.run("add", 2, b=3)
    assert (done.status, decode_value(done.result or b"")) == (Status.DONE, 5)
    assert decode_value(one.run("later", "x").result or b"") == "x"
    assert decode_value(one.run("about").result or b"")[1:] == [1, "about"]
    failed = one.run("fail")
    assert (failed.status, failed.error) == (Status.FAILED, "ValueError: broken on purpose")
    assert "in fail" in (failed.traceback or "")
    assert one.run("leave").error == "SystemExit: 3"
    assert "add(a, b): missing a required argument: 'b'" in (one.run("add", 1).error or "")
    assert "a builtins.set cannot be sent" in (one.run("unsendable").error or "")
    assert one.run("nobody").status is Status.UNKNOWN_HANDLER
    assert one.executor.statistics().died == 0


@pytest.mark.parametrize("name", ["soft", "soft_async"])
def test_soft_time_out_keeps_the_worker(desk: Callable[[int], Desk], name: str) -> None:
    one = desk(1)
    before = one.executor.statistics().workers
    assert one.run(name).status is Status.TIMED_OUT
    assert decode_value(one.run("add", 1, 1).result or b"") == 2
    assert one.executor.statistics().workers == before


def test_hard_time_out_kills_and_replaces_the_worker(desk: Callable[[int], Desk]) -> None:
    one = desk(1)
    before = one.executor.statistics().workers
    outcome = one.run("hard")
    assert (outcome.status, "killed" in (outcome.error or "")) == (Status.TIMED_OUT, True)
    assert one.run("add", 1, 1).status is Status.DONE
    assert one.executor.statistics().workers != before


def test_a_killed_worker_costs_its_own_task_only(desk: Callable[[int], Desk], tmp_path: Path) -> None:
    one = desk(1)
    one.offer(1, "wait_for", str(tmp_path / "never"), str(tmp_path / "started"))
    one.offer(2, "add", 1, 2)
    wait_for_file(tmp_path / "started")
    os.kill(one.executor.statistics().workers[0], signal.SIGKILL)
    died = one.outcome(1)
    assert (died.status, "SIGKILL" in (died.error or "")) == (Status.DIED, True)
    assert one.outcome(2).status is Status.DONE


def test_in_a_batch_only_what_began_pays_for_the_death(desk: Callable[[int], Desk]) -> None:
    one = desk(1)
    for _ in range(20):  # measured as brief from here on
        one.run("brief", 0, -1)
    killer = 105
    tasks = [
        Task(seq=seq, key=seq, attempt=1, handler="brief", arguments=encode_arguments([seq, killer], {}))
        for seq in range(100, 120)
    ]
    one.executor.offer(tasks)
    statuses = {seq: one.outcome(seq).status for seq in range(100, 120)}
    assert statuses[killer] is Status.DIED
    assert {statuses[seq] for seq in range(100, killer)} <= {Status.DONE, Status.DIED}
    assert {statuses[seq] for seq in range(killer + 1, 120)} == {Status.RETURNED}


def test_stop_returns_what_was_not_started(desk: Callable[[int], Desk], tmp_path: Path) -> None:
    one = desk(1)
    one.offer(1, "wait_for", str(tmp_path / "go"), str(tmp_path / "started"))
    one.offer(2, "add", 1, 2)
    wait_for_file(tmp_path / "started")
    stopper = threading.Thread(target=one.executor.stop, args=(20.0,))
    stopper.start()
    assert one.outcome(2).status is Status.RETURNED
    (tmp_path / "go").touch()
    stopper.join(20)
    assert one.outcome(1).status is Status.DONE
    with pytest.raises(ExecutorStopped):
        one.offer(3, "add", 1, 2)


def test_many_brief_tasks_end_once_each(desk: Callable[[int], Desk]) -> None:
    one = desk(2)
    for seq in range(1, 2001):
        one.offer(seq, "add", seq, 1)
    for seq in range(1, 2001):
        assert decode_value(one.outcome(seq).result or b"") == seq + 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_module_here", "ModuleNotFoundError"),
        ("import os; os._exit(7)", "exit code 7"),
        ("x = 1", "no handler is declared"),
    ],
)
def test_a_module_that_cannot_be_loaded_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, reason: str
) -> None:
    (tmp_path / "bad_handlers.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    executor = Executor(["bad_handlers"], on_outcomes=print)
    with pytest.raises(HandlerLoadError, match=reason):
        executor.start()
    executor.stop()
