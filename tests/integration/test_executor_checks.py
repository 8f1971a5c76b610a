"""Checks are asked in real workers, in all three forms; whatever goes wrong with one is UNKNOWN, with a reason, and harms nobody else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor import (
    Answer,
    CheckResult,
    CheckTerms,
    Executor,
    Form,
    Guarantee,
    Outcome,
    Status,
    Task,
    encode_arguments,
)
from tests.integration.executor_desk import WAIT_S, await_file

pytestmark = pytest.mark.integration

HANDLERS = '''
import asyncio, ctypes, os, time
from executor import Answer, CheckResult, handler

def where(context):
    """What the check was told, and in which process it was asked."""
    return f"{context.handler} {context.key} {context.attempt} {context.kind} {os.getpid()}"

def told(a, *, b, context): return CheckResult(Answer.DONE, f"{a} {b} {where(context)}")

@handler(guarantee="exactly-once", check=told)
def in_process(a, *, b): pass

@handler(guarantee="exactly-once", check=told, lane="io-short")
def in_thread(a, *, b): pass

async def told_async(a, *, b, context):
    await asyncio.sleep(0.001)
    return CheckResult(Answer.DONE, f"{a} {b} {where(context)}")

@handler(guarantee="exactly-once", check=told_async)
async def in_loop(a, *, b): pass

def yes_or_no(said):
    print("looked")
    return {"yes": True, "no": False}.get(said)

@handler(guarantee="exactly-once", check=yes_or_no)
def plain(said): return said

def broken(how, *rest):
    if how == "raises": raise ValueError("no route to postgres://u:secret@db/shop")
    if how == "leaves": raise SystemExit("secret")
    if how == "dies": os._exit(9)
    if how == "segfaults": ctypes.string_at(0)
    if how == "hangs": time.sleep(60)
    if how == "waits":
        open(rest[0], "w").close()
        time.sleep(60)
    while how == "listens to nobody":
        try: time.sleep(60)
        except BaseException: pass
    return "perhaps"

async def broken_async(how, *rest):
    if how == "hangs": await asyncio.sleep(60)
    return broken(how, *rest)

@handler(check=broken, check_timeout_s=0.3)
def breaks_in_process(how, *rest): pass

@handler(check=broken, check_timeout_s=0.3, lane="io-short")
def breaks_in_thread(how, *rest): pass

@handler(check=broken_async, check_timeout_s=0.3)
async def breaks_in_loop(how, *rest): pass

@handler(check=broken)
def slow(how, *rest): time.sleep(0.001)

@handler(guarantee="at-most-once")
def once(): pass

@handler
def unchecked(): pass
'''


class Desk:
    """An executor and the outcomes it gave, by seq."""

    def __init__(self, module: str) -> None:
        self.outcomes: dict[int, Outcome] = {}
        self._changed = threading.Condition()
        self._seq = 0
        self.executor = Executor([module], workers=1, on_outcomes=self._take)
        self.executor.start()

    def _take(self, outcomes: list[Outcome]) -> None:
        with self._changed:
            self.outcomes |= {outcome.seq: outcome for outcome in outcomes}
            self._changed.notify_all()

    def task(self, handler: str, *args: object, attempt: int = 2, kind: str = "", **kwargs: object) -> Task:
        self._seq += 1
        return Task(self._seq, self._seq + 100, attempt, handler, encode_arguments(args, kwargs), kind)

    def outcome(self, task: Task) -> Outcome:
        with self._changed:
            assert self._changed.wait_for(lambda: task.seq in self.outcomes, WAIT_S), f"no outcome of {task}"
            return self.outcomes.pop(task.seq)

    def ask(self, handler: str, *args: object, attempt: int = 2, kind: str = "", **kwargs: object) -> Outcome:
        task = self.task(handler, *args, attempt=attempt, kind=kind, **kwargs)
        self.executor.check([task])
        return self.outcome(task)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("checked")
    (folder / "checked_handlers.py").write_text(HANDLERS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        desk = Desk("checked_handlers")
        yield desk
        desk.executor.stop(1.0)


def test_the_declaration_travels_and_the_check_stays(desk: Desk) -> None:
    handlers = desk.executor.handlers
    assert handlers["in_loop"].guarantee is Guarantee.EXACTLY_ONCE
    assert handlers["in_loop"].check == CheckTerms(settle_s=60.0, is_async=True)
    assert handlers["once"].guarantee is Guarantee.AT_MOST_ONCE
    assert handlers["unchecked"].guarantee is None
    assert not [name for name in handlers if name.startswith("check of")]


@pytest.mark.parametrize(
    ("handler", "form"), [("in_process", Form.PROCESS), ("in_thread", Form.THREADS), ("in_loop", Form.LOOP)]
)
def test_a_check_is_told_of_its_task_in_every_form(desk: Desk, handler: str, form: Form) -> None:
    outcome = desk.ask(handler, "x", b=[1], attempt=2, kind="k")
    assert outcome.status is Status.DONE
    assert (outcome.result, outcome.error) == (None, None)
    assert outcome.checked is not None
    assert outcome.checked.answer is Answer.DONE
    told, _, pid = outcome.checked.why.rpartition(" ")
    assert told == f"x [1] {handler} {outcome.key} 2 k"
    forms = {runner.pid: runner.form for runner in desk.executor.statistics().runners}
    assert forms[int(pid)] is form


@pytest.mark.parametrize(
    ("said", "answer"), [("yes", Answer.DONE), ("no", Answer.NOT_DONE), ("?", Answer.UNKNOWN)]
)
def test_a_function_answers_by_true_false_and_none(desk: Desk, said: str, answer: Answer) -> None:
    outcome = desk.ask("plain", said)
    assert outcome.checked is not None
    assert outcome.checked.answer is answer
    assert outcome.output == "looked\n"


@pytest.mark.parametrize(
    ("how", "status", "why"),
    [
        ("raises", Status.DONE, "ValueError: no route to postgres://***@db/shop"),
        ("says something odd", Status.DONE, "the check returned a str"),
        ("leaves", Status.FAILED, "failed: SystemExit"),
        ("hangs", Status.TIMED_OUT, "did not answer within 0.3 s"),
        ("dies", Status.DIED, "exit code 9"),
        ("segfaults", Status.DIED, "SIGSEGV"),
    ],
)
@pytest.mark.parametrize("handler", ["breaks_in_process", "breaks_in_thread", "breaks_in_loop"])
def test_whatever_goes_wrong_is_unknown(desk: Desk, handler: str, how: str, status: Status, why: str) -> None:
    outcome = desk.ask(handler, how)
    assert outcome.status is status, outcome
    assert outcome.checked is not None
    assert outcome.checked.answer is Answer.UNKNOWN
    assert why in outcome.checked.why
    assert "secret" not in repr(outcome)
    assert desk.ask("plain", "yes").checked == CheckResult(Answer.DONE)


def test_a_check_that_heeds_no_time_limit_is_killed(desk: Desk) -> None:
    outcome = desk.ask("breaks_in_process", "listens to nobody")
    assert outcome.status is Status.TIMED_OUT
    assert outcome.checked == (
        Answer.UNKNOWN,
        "the check of 'breaks_in_process' did not answer within 0.3 s",
    )


@pytest.mark.parametrize("handler", ["unchecked", "once", "nobody"])
def test_a_handler_without_a_check_is_unknown_at_once(desk: Desk, handler: str) -> None:
    outcome = desk.ask(handler)
    assert outcome.status is Status.UNKNOWN_HANDLER
    assert outcome.checked == (Answer.UNKNOWN, f"there is no check of a handler {handler!r} here")


def test_a_check_cannot_be_submitted_as_a_task(desk: Desk) -> None:
    task = desk.task("check of plain", "yes")
    desk.executor.offer([task])
    outcome = desk.outcome(task)
    assert (outcome.status, outcome.checked) == (Status.UNKNOWN_HANDLER, None)


def test_a_question_is_withdrawn_and_its_task_runs_under_the_same_number(desk: Desk, tmp_path: Path) -> None:
    task = desk.task("slow", "waits", str(tmp_path / "asked"))
    desk.executor.check([task])
    await_file(tmp_path / "asked")
    assert desk.executor.cancel(task.seq)
    asked = desk.outcome(task)
    assert (asked.status, asked.checked) == (
        Status.CANCELLED,
        (Answer.UNKNOWN, "the check of 'slow' was cancelled"),
    )
    desk.executor.offer([task])
    ran = desk.outcome(task)
    assert (ran.status, ran.checked) == (Status.DONE, None)


def test_checks_are_learnt_apart_and_count_as_no_tasks(desk: Desk) -> None:
    before = desk.executor.statistics()
    questions = [desk.task("plain", "yes") for _ in range(200)]
    runs = [desk.task("plain", "yes") for _ in range(100)]
    desk.executor.check(questions)
    desk.executor.offer(runs)
    assert all(desk.outcome(task).checked == (Answer.DONE, "") for task in questions)
    assert all(desk.outcome(task).checked is None for task in runs)
    after = desk.executor.statistics()
    assert after.asked - before.asked == 200
    assert after.done - before.done == 100
    assert after.handlers["plain"].count == 100
    assert after.handlers["check of plain"].count >= 200


def test_questions_that_were_not_asked_come_back_at_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stopped_checked_handlers.py").write_text(HANDLERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    desk = Desk("stopped_checked_handlers")
    tasks = [desk.task("slow", "waits", str(tmp_path / f"{n}")) for n in range(20)]
    desk.executor.check(tasks)
    await_file(tmp_path / "0")
    desk.executor.stop(0.0)
    outcomes = [desk.outcome(task) for task in tasks]
    assert all(
        outcome.checked is not None and outcome.checked.answer is Answer.UNKNOWN for outcome in outcomes
    )
    assert outcomes[-1].status is Status.RETURNED
