"""The executor with real runners: values, errors, time-outs, stop, and modules that cannot be loaded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from executor import (
    Executor,
    ExecutorError,
    ExecutorStopped,
    HandlerLoadError,
    Lane,
    Limits,
    Status,
    Task,
    encode_arguments,
)
from executor.owner import HOOKS_S
from tests.integration.executor_desk import Desk, await_file

pytestmark = pytest.mark.integration

Make = Callable[..., Desk]
ADD_PAUSED = Limits(paused_handlers=frozenset({"add"}))


def test_values_errors_and_wrong_calls(desk: Make) -> None:
    one = desk()
    assert one.executor.handlers["later"].is_async
    assert one.value("add", 2, b=3) == 5
    assert one.value("nothing") is None
    assert one.value("later", "x") == "x"
    assert one.value("about")[1:] == [1, "about", ""]
    failed = one.run("fail")
    assert (failed.status, failed.error) == (Status.FAILED, "ValueError: broken on purpose")
    assert "in fail" in (failed.traceback or "")
    assert one.run("leave").error == "SystemExit: 3"
    assert "add(a, b): missing a required argument: 'b'" in (one.run("add", 1).error or "")
    assert "a builtins.set cannot be sent" in (one.run("unsendable").error or "")
    assert one.run("nobody").status is Status.UNKNOWN_HANDLER
    assert one.executor.statistics().died == 0


def test_before_the_start_it_can_be_asked_and_tuned_but_takes_nothing(module: str) -> None:
    executor = Executor([module])
    executor.tune(ADD_PAUSED)
    assert executor.limits == ADD_PAUSED
    assert executor.statistics().runners == ()
    assert executor.labels() == []
    assert executor.rooms() == dict.fromkeys(Lane, 0)
    with pytest.raises(ExecutorStopped, match="start one first"):
        executor.offer([])
    executor.stop()
    with pytest.raises(ExecutorError, match="make a new one"):
        executor.start()


@pytest.mark.parametrize("name", ["soft", "soft_async"])
def test_soft_time_out_keeps_the_worker(desk: Make, name: str) -> None:
    one = desk()
    one.value("later", 1)  # so that the event loop's process is there
    before = one.pids()
    assert one.run(name).status is Status.TIMED_OUT
    assert one.value("add", 1, 1) == 2
    assert before <= one.pids()


@pytest.mark.parametrize("name", ["hard", "hard_in_c"])
def test_hard_time_out_kills_the_worker_and_nothing_else(desk: Make, name: str) -> None:
    one = desk()
    before = one.pids()
    outcome = one.run(name)
    assert (outcome.status, "killed" in (outcome.error or "")) == (Status.TIMED_OUT, True)
    assert one.value("add", 1, 1) == 2
    assert len(before - one.pids()) == 1


def test_many_brief_tasks_end_once_each(desk: Make) -> None:
    one = desk(2)
    seqs = one.offer_many("add", [(number, 1) for number in range(2000)])
    assert [one.outcome(seq).status for seq in seqs] == [Status.DONE] * 2000


def test_what_waits_and_what_runs_can_be_cancelled(desk: Make, tmp_path: Path) -> None:
    one = desk(2, limits=ADD_PAUSED)
    two = [one.offer("wait_for", str(tmp_path / "never"), str(tmp_path / f"started{n}")) for n in range(2)]
    for n in range(2):
        await_file(tmp_path / f"started{n}")
    waiting = one.offer("add", 1, 2)
    # When
    assert one.executor.cancel(waiting)
    assert one.executor.cancel(two[0])
    # Then
    assert one.outcome(waiting).status is Status.CANCELLED
    assert one.outcome(two[0]).status is Status.CANCELLED
    assert not one.executor.cancel(two[0])
    assert two[1] not in one.outcomes
    one.executor.tune(Limits())
    assert one.value("add", 1, 1) == 2


@pytest.mark.parametrize("name", ["wait_in_thread", "wait_in_loop"])
def test_threads_and_coroutines_are_cancelled_one_by_one(desk: Make, tmp_path: Path, name: str) -> None:
    one = desk()
    two = [one.offer(name, str(tmp_path / "go"), str(tmp_path / f"started{n}")) for n in range(2)]
    for n in range(2):
        await_file(tmp_path / f"started{n}")
    before = one.pids()
    assert one.executor.cancel(two[0])
    assert one.outcome(two[0]).status is Status.CANCELLED
    (tmp_path / "go").touch()
    assert one.outcome(two[1]).status is Status.DONE
    assert one.pids() == before


def test_who_does_not_heed_a_cancellation_is_killed_if_that_was_asked_for(desk: Make, tmp_path: Path) -> None:
    one = desk()
    seq = one.offer("deaf", str(tmp_path / "started"), str(tmp_path / "never"))
    await_file(tmp_path / "started")
    assert one.executor.cancel(seq, kill_after_s=0.1)
    outcome = one.outcome(seq)
    assert (outcome.status, "cancellation" in (outcome.error or "")) == (Status.CANCELLED, True)


def test_stop_returns_what_was_not_started(desk: Make, tmp_path: Path) -> None:
    one = desk(2, limits=ADD_PAUSED)
    running = [one.offer("wait_for", str(tmp_path / "go"), str(tmp_path / f"started{n}")) for n in range(2)]
    for n in range(2):
        await_file(tmp_path / f"started{n}")
    waiting = one.offer("add", 1, 2)
    stopper = threading.Thread(target=one.executor.stop, args=(20.0,))
    stopper.start()
    assert one.outcome(waiting).status is Status.RETURNED
    (tmp_path / "go").touch()
    stopper.join(20)
    assert [one.outcome(seq).status for seq in running] == [Status.DONE] * 2
    with pytest.raises(ExecutorStopped):
        one.offer("add", 1, 2)
    one.executor.stop()
    assert one.executor.statistics().done == 2
    assert one.executor.statistics().runners == ()
    assert one.executor.room(Lane.CPU_SHORT) == 0
    assert not one.executor.cancel(waiting)
    assert one.executor.reasons() is not None


def test_stop_waits_for_the_stop_hooks_of_idle_workers_but_not_for_tasks_beyond_the_grace(
    desk: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAREWELL", str(tmp_path))
    idle, busy = desk(), desk()
    idle.value("add", 1, 1)
    pids = {runner.pid for runner in idle.executor.statistics().runners if runner.state == "ready"}
    running = busy.offer("deaf", str(tmp_path / "started"), str(tmp_path / "never"))
    await_file(tmp_path / "started")
    # When
    idle.executor.stop(0.0)
    began_s = time.monotonic()
    busy.executor.stop(0.0)
    # Then
    assert time.monotonic() - began_s < HOOKS_S
    assert busy.outcomes[running].status is Status.LOST
    assert {int(path.name.split()[1]) for path in tmp_path.glob("farewell *")} >= pids


def test_stop_under_load_gives_each_task_one_outcome(desk: Make) -> None:
    one = desk(2)
    one.value("add", 1, 1)
    offered = one.offer_many("add", [(number, 1) for number in range(3000)])
    one.executor.stop(0.5)
    assert {one.outcomes[seq].status for seq in offered} <= {Status.DONE, Status.RETURNED}


def test_progress_and_output_come_with_the_task(desk: Make, tmp_path: Path) -> None:
    one = desk()
    seq = one.offer("tell", path=str(tmp_path / "go"))
    one.until(lambda: bool(one.progress), "no progress")
    assert (one.progress[0].seq, one.progress[0].done, one.progress[0].total) == (seq, 1, 3)
    assert one.progress[0].note == "one of three"
    (tmp_path / "go").touch()
    assert one.outcome(seq).status is Status.DONE
    output = one.run("speak").output or ""
    assert "said aloud" in output
    assert "ERROR shop: logged" in output


def test_limits_change_while_it_runs(desk: Make, tmp_path: Path) -> None:
    one = desk(limits=ADD_PAUSED)
    paused = one.offer("add", 1, 2)
    assert one.value("about")
    assert paused not in one.outcomes
    one.executor.give_back(handlers=["add"])
    assert one.outcome(paused).status is Status.RETURNED
    again = one.offer("add", 1, 2)
    one.executor.tune(Limits())
    assert one.outcome(again).status is Status.DONE
    assert one.executor.limits == Limits()


def test_a_paused_lane_has_no_room(desk: Make) -> None:
    one = desk(limits=Limits(paused_lanes=frozenset({Lane.CPU_SHORT})))
    assert one.executor.statistics().lanes[Lane.CPU_SHORT].room == 0
    assert one.executor.room(Lane.CPU_SHORT) == 0
    assert one.executor.room(Lane.CPU_LONG) > 0


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


def test_more_than_it_holds_is_refused_whole(desk: Make) -> None:
    one = desk()
    tasks = [Task(seq, seq, 1, "nothing", encode_arguments((), {})) for seq in range(20_001)]
    with pytest.raises(Exception, match="the limit is 20000"):
        one.executor.offer(tasks)
    assert one.executor.statistics().lanes[Lane.CPU_SHORT].queued == 0
