"""What handlers can do to their process, and who pays: only the task that did it; neighbours that had not begun go on as if nothing was."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from executor import Executor, Form, Lane, Reason, Status, Task, encode_arguments
from tests.integration.executor_desk import WAIT_S, Desk, await_file, await_that, is_alive, kill

pytestmark = pytest.mark.integration

Make = Callable[..., Desk]


def settle_as_brief(one: Desk, handler: str, *args: object) -> None:
    """Enough runs that tasks of it travel in batches."""
    for seq in one.offer_many(handler, [args] * 1000):
        assert one.outcome(seq).status is Status.DONE


@pytest.mark.parametrize(
    ("handler", "how"),
    [("segfault", "SIGSEGV"), ("leave_at_once", "exit code 7"), ("close_everything", "ended")],
)
def test_a_crash_costs_its_own_task_and_says_how(desk: Make, handler: str, how: str) -> None:
    one = desk()
    died = one.run(handler)
    assert (died.status, how in (died.error or "")) == (Status.DIED, True), died
    assert handler in (died.error or "")
    assert one.value("add", 1, 2) == 3
    assert one.executor.statistics().died == 1


def test_in_a_batch_only_the_culprit_pays_and_what_had_not_begun_is_run(desk: Make) -> None:
    one = desk()
    settle_as_brief(one, "brief", 0, -1)
    # When
    seqs = one.offer_many("brief", [(number, 30) for number in range(64)])
    # Then
    statuses = [one.outcome(seq).status for seq in seqs]
    assert statuses[30] is Status.DIED
    assert set(statuses[:30]) <= {Status.DONE, Status.LOST}
    assert set(statuses[31:]) == {Status.DONE}


def test_a_kill_from_outside_costs_what_ran_there_only(desk: Make, tmp_path: Path) -> None:
    one = desk(2)
    runs = [one.offer("wait_for", str(tmp_path / "go"), str(tmp_path / f"started{n}")) for n in range(2)]
    for n in range(2):
        await_file(tmp_path / f"started{n}")
    busy = [runner.pid for runner in one.executor.statistics().runners if runner.running]
    kill(busy[0])
    one.until(lambda: len(one.outcomes) == 1, "nothing died")
    (tmp_path / "go").touch()
    statuses = sorted(one.outcome(seq).status for seq in runs)
    assert statuses == [Status.DIED, Status.DONE]


def test_a_copy_that_a_handler_forks_answers_nothing_and_ends_with_the_handler(desk: Make) -> None:
    one = desk()
    assert one.value("fork_and_leave", "") == "original"
    assert one.value("add", 1, 2) == 3


def test_a_copy_that_outlives_its_runner_does_not_hide_the_death(desk: Make, tmp_path: Path) -> None:
    one = desk()
    died = one.run("fork_and_stay", str(tmp_path / "go"))
    (tmp_path / "go").touch()
    assert (died.status, "SIGKILL" in (died.error or "")) == (Status.DIED, True)
    assert one.value("add", 1, 2) == 3


def test_a_crash_in_a_process_of_threads_charges_all_that_ran_there(desk: Make, tmp_path: Path) -> None:
    """Nobody can tell which of them did it."""
    one = desk()
    neighbour = one.offer("wait_in_thread", str(tmp_path / "go"), str(tmp_path / "started"))
    await_file(tmp_path / "started")
    assert one.run("crash_in_thread").status is Status.DIED
    assert one.outcome(neighbour).status is Status.DIED


def test_who_died_twice_in_company_runs_alone(desk: Make) -> None:
    one = desk()
    one.run("crash_in_thread")
    alone = one.offer("crash_in_thread", attempt=3)
    assert "crash_in_thread" in (one.outcome(alone).error or "")
    reasons = [reason.subject for reason in one.executor.reasons() if "process)" in reason.subject]
    assert reasons, one.executor.reasons()


def test_a_deaf_thread_is_given_up_and_its_process_goes_on(desk: Make, tmp_path: Path) -> None:
    one = desk()
    first = one.offer("wait_in_thread", str(tmp_path / "go"), str(tmp_path / "started"))
    await_file(tmp_path / "started")
    assert one.run("deaf_thread", str(tmp_path / "go")).status is Status.TIMED_OUT
    assert first not in one.outcomes
    (tmp_path / "go").touch()
    assert one.outcome(first).status is Status.DONE


def test_a_process_with_too_many_deaf_threads_is_replaced_and_what_runs_there_may_finish(
    desk: Make, tmp_path: Path
) -> None:
    one = desk()
    first = one.offer("wait_in_thread", str(tmp_path / "go"), str(tmp_path / "started"))
    await_file(tmp_path / "started")
    (runner,) = [each for each in one.executor.statistics().runners if each.running]
    for seq in one.offer_many("deaf_thread", [(str(tmp_path / "go"),)] * 8):
        assert one.outcome(seq).status is Status.TIMED_OUT
    await_that(
        lambda: any("thread" in reason.why and "8" in reason.why for reason in one.executor.reasons()),
        "eight threads were given up and nobody says so",
    )
    (tmp_path / "go").touch()
    assert one.outcome(first).status is Status.DONE
    await_that(lambda: not is_alive(runner.pid), "its process was kept")


def test_who_holds_the_event_loop_pays_and_its_neighbours_do_not(desk: Make, tmp_path: Path) -> None:
    one = desk()
    neighbour = one.offer("wait_in_loop", str(tmp_path / "never"), str(tmp_path / "started"))
    await_file(tmp_path / "started")
    stuck = one.run("hold_the_loop", str(tmp_path / "never"))
    assert (stuck.status, "5 s" in (stuck.error or "")) == (Status.TIMED_OUT, True), stuck
    assert one.outcome(neighbour).status is Status.LOST


def test_a_runner_is_replaced_when_it_has_run_as_many_tasks_as_its_handler_allows(desk: Make) -> None:
    one = desk()
    pids = [one.value("worn") for _ in range(25)]
    assert len(set(pids)) >= 3
    assert one.executor.statistics().died == 0


def test_a_runner_that_grows_is_replaced_without_losing_a_task(desk: Make) -> None:
    one = desk()
    pids: list[int] = []

    def is_replaced() -> bool:
        pids.append(one.value("rich", 60))
        return len(set(pids)) > 4 and not is_alive(pids[0])

    await_that(is_replaced, "a process that grows without bound was kept")
    assert one.executor.statistics().died == 0
    assert any("MB" in reason.why for reason in one.executor.reasons()), one.executor.reasons()


def test_a_module_that_breaks_later_is_tried_again_more_and_more_rarely_and_says_why(
    desk: Make, tmp_path: Path, module: str
) -> None:
    one = desk()
    assert one.value("add", 1, 2) == 3
    (tmp_path / f"{module}.py").write_text("raise RuntimeError('broken by a deployment')")

    def reasons() -> list[Reason]:
        return [reason for reason in one.executor.reasons() if "broken by a deployment" in reason.why]

    for pid in one.pids():
        kill(pid)
    await_that(lambda: len(reasons()) >= 3, "the reason is not shown")
    assert any(" s" in reason.decision for reason in reasons()), reasons()  # "is replaced in 0.4 s"
    (tmp_path / f"{module}.py").write_text(
        "from executor import handler\n@handler\ndef add(a, b): return a + b\n"
    )
    assert one.outcome(one.offer("add", 2, 3)).status is Status.DONE


def test_the_zygote_may_die_and_runners_are_still_replaced(desk: Make) -> None:
    one = desk()
    before = one.pids()
    for _ in range(3):
        zygote = one.executor.zygote_pid
        assert zygote is not None
        kill(zygote)
        for pid in one.pids():
            kill(pid)
        assert one.value("add", 1, 2) == 3
    assert not before & one.pids()


def test_a_warm_spare_takes_over_at_once(desk: Make, tmp_path: Path, module: str) -> None:
    """Its module takes for ever to load from now on, so who answers after the kill was there before."""
    one = desk()
    assert one.value("add", 1, 2) == 3

    def ready() -> int:
        runners = one.executor.statistics().runners
        return sum(runner.form is Form.PROCESS and runner.state == "ready" for runner in runners)

    await_that(lambda: ready() == 3, "two workers and a warm spare were expected")
    source = tmp_path / f"{module}.py"
    source.write_text("import time\ntime.sleep(1000)\n" + source.read_text())
    kill(one.value("pid"))
    for _ in range(2):
        assert one.value("add", 1, 2) == 3
    assert ready() == 2


def test_when_the_program_is_killed_nothing_of_it_stays(tmp_path: Path, module: str) -> None:
    """Also not a runner that hangs in C code or ignores everything, nor the zygote."""
    program = os.fork()
    if program == 0:
        try:
            one = Desk([module], workers=2)
            one.offer("deaf", str(tmp_path / "started"), str(tmp_path / "never"))
            one.offer("keep_the_interpreter", str(tmp_path / "started too"))
            await_file(tmp_path / "started")
            await_file(tmp_path / "started too")
            pids = [*one.pids(), one.executor.zygote_pid]
            (tmp_path / "pids.new").write_text(" ".join(str(pid) for pid in pids))
            (tmp_path / "pids.new").rename(tmp_path / "pids")
            signal.pause()
        finally:
            os._exit(1)
    await_file(tmp_path / "pids")
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert all(is_alive(pid) for pid in pids)
    os.kill(program, signal.SIGKILL)
    os.waitpid(program, 0)
    for pid in pids:
        await_that(lambda pid=pid: not is_alive(pid), f"process {pid} is still there")


def test_a_handler_that_turns_long_does_not_keep_short_ones_waiting(desk: Make, tmp_path: Path) -> None:
    """Each of them blocks a worker for as long as the test likes; others run all the same, and the label says why."""
    one = desk(2)
    stuck = [one.offer("wait_for", str(tmp_path / "go"), str(tmp_path / f"started{n}")) for n in range(6)]
    await_file(tmp_path / "started0")
    for _ in range(20):
        assert one.value("add", 1, 2) == 3
    one.until(lambda: any(label.handler == "wait_for" for label in one.labels), "no label was learnt")
    assert {label.lane for label in one.labels if label.handler == "wait_for"} == {Lane.CPU_LONG}
    (tmp_path / "go").touch()
    assert {one.outcome(seq).status for seq in stuck} == {Status.DONE}


def test_a_callback_that_raises_does_not_stop_the_executor(module: str) -> None:
    told = threading.Event()

    def raise_once(outcomes: object) -> None:
        if not told.is_set():
            told.set()
            raise RuntimeError("a careless callback")
        again.set()

    again = threading.Event()
    executor = Executor([module], workers=1, on_outcomes=raise_once)
    executor.start()
    try:
        for seq in range(2):
            executor.offer([Task(seq, seq, 1, "add", encode_arguments((1, 2), {}))])
            assert (told, again)[seq].wait(WAIT_S)
    finally:
        executor.stop(0.0)
