"""Each task that was accepted gets exactly one outcome, whatever runners say and however they end."""

from __future__ import annotations

import pytest

from executor.accounts import Accounts
from executor.checked import answered
from executor.handlers.declaration import Handler
from executor.labels.labels import Labels
from executor.lanes.instructions import Send, Start
from executor.lanes.scheduler import Scheduler
from executor.payload import encode_value
from executor.runners.contract import Killed
from executor.task import Answer, Form, Lane, Outcome, Status, Task

pytestmark = pytest.mark.unit


class Books:
    """One ready runner with `count` tasks in it, and the accounts of them."""

    def __init__(self, count: int) -> None:
        handlers = {"h": Handler(name="h", lane=Lane.CPU_SHORT)}
        self.scheduler = Scheduler(Labels(handlers), handlers=handlers, workers=2, cores=2)
        self.accounts = Accounts(self.scheduler)
        starts = [each for each in self.scheduler.instructions(0.0) if isinstance(each, Start)]
        self.runner = next(each.runner for each in starts if each.form is Form.PROCESS)
        self.scheduler.ready(self.runner, 0.0)
        self.numbers: list[int] = []
        seq = 0
        while len(self.numbers) < count:  # unknown handlers go one by one, until they are known
            seq += 1
            self.scheduler.offer([Task(seq, seq, 1, "h", b"")], 0.0)
            sent = [each for each in self.scheduler.instructions(0.0) if isinstance(each, Send)]
            self.numbers += [number for batch in sent for number, _ in batch.numbered]
            if not sent:
                break

    def statuses(self) -> dict[int, Status]:
        outcomes = self.accounts.outcomes
        assert len({outcome.seq for outcome in outcomes}) == len(outcomes)
        return {outcome.seq: outcome.status for outcome in outcomes}


SAMPLE = [0.001, 0.001, 0.0, 0.0, 0.0, 0, 0.0, True]


def ended(number: int, status: Status) -> list[object]:
    return [number, status.value, b"r", "why", "trace", SAMPLE, "printed", None]


def test_an_answer_that_comes_twice_or_after_the_verdict_counts_once() -> None:
    books = Books(1)
    (number,) = books.numbers
    books.accounts.done(books.runner, [number], [[number, *SAMPLE]], 1.0)
    books.accounts.done(books.runner, [number], [], 1.0)
    books.accounts.ended(books.runner, [ended(number, Status.FAILED)], 1.0)
    books.accounts.settled(books.runner, [(number, Status.DIED)], name="n", how="h", killed=None, now=1.0)
    assert books.statuses() == {1: Status.DONE}
    assert books.accounts.counts[Status.DONE] == 1


def test_what_a_handler_left_behind_goes_with_its_outcome() -> None:
    books = Books(1)
    books.accounts.ended(books.runner, [ended(books.numbers[0], Status.FAILED)], 1.0)
    (outcome,) = books.accounts.outcomes
    assert outcome == (1, 1, Status.FAILED, b"r", "why", "trace", 0.001, 0.001, "printed", None, None)


@pytest.mark.parametrize(
    ("verdict", "killed", "words"),
    [
        (Status.DIED, None, "process 7 ended (SIGKILL) while 'h' ran in it"),
        (Status.LOST, None, "before it could say how 'h' ended in it"),
        (
            Status.TIMED_OUT,
            Killed(number=1, status=Status.TIMED_OUT, why="it slept"),
            "it slept; process 7 was killed",
        ),
    ],
)
def test_a_death_is_told_in_words(verdict: Status, killed: Killed | None, words: str) -> None:
    books = Books(1)
    assert books.numbers == [1]
    books.accounts.settled(
        books.runner, [(1, verdict)], name="process 7", how="SIGKILL", killed=killed, now=1.0
    )
    (outcome,) = books.accounts.outcomes
    assert (outcome.status, words in (outcome.error or "")) == (verdict, True), outcome.error


def test_what_never_began_goes_back_and_is_sent_again() -> None:
    books = Books(1)
    books.accounts.settled(
        books.runner, [(books.numbers[0], Status.RETURNED)], name="n", how="h", killed=None, now=1.0
    )
    assert books.statuses() == {}
    again = [each for each in books.scheduler.instructions(1.0) if isinstance(each, Send)]
    assert [task.seq for batch in again for task in batch.tasks] == [1]


def test_while_it_stops_what_never_began_is_returned() -> None:
    books = Books(1)
    books.accounts.is_stopping = True
    books.accounts.recalled(books.runner, books.numbers, 1.0)
    assert books.statuses() == {1: Status.RETURNED}


def test_a_cancelled_task_that_never_began_is_cancelled_and_one_that_was_done_first_is_done() -> None:
    books = Books(1)
    assert books.accounts.cancel(1, 1.0, None) == (books.runner, books.numbers[0])
    books.accounts.recalled(books.runner, books.numbers, 1.0)
    assert books.statuses() == {1: Status.CANCELLED}
    assert books.accounts.cancel(1, 1.0, None) is False

    books = Books(1)
    assert books.accounts.cancel(1, 1.0, 0.5)
    books.accounts.done(books.runner, books.numbers, [], 1.1)
    assert books.statuses() == {1: Status.DONE}
    assert books.accounts.overdue(2.0) == []


def test_a_cancelled_task_that_does_not_heed_it_is_named_once_when_its_time_is_over() -> None:
    books = Books(1)
    books.accounts.cancel(1, 1.0, 0.5)
    assert books.accounts.overdue(1.4) == []
    assert books.accounts.overdue(1.5) == [(books.runner, books.numbers[0])]
    assert books.accounts.overdue(9.9) == []


def test_a_task_that_waits_is_cancelled_at_once() -> None:
    books = Books(0)
    books.scheduler.offer([Task(5, 5, 1, "h", b"")], 0.0)
    assert books.accounts.cancel(5, 0.0, None) is True
    assert books.statuses() == {5: Status.CANCELLED}
    assert books.accounts.cancel(6, 0.0, None) is False


def test_a_question_ends_in_an_answer_and_counts_as_no_task() -> None:
    books = Books(2)
    books.accounts.ask(1, "pay", None)
    books.accounts.end(Task(2, 2, 1, "h", b""), Status.RETURNED)
    said = [books.numbers[0], "done", encode_value(["not done", "no row 1"]), None, None, SAMPLE, None, None]
    books.accounts.ended(books.runner, [said], 1.0)
    other, asked = books.accounts.take()
    assert other.checked is None
    assert asked.checked == (Answer.NOT_DONE, "no row 1")
    assert asked.result is None
    assert (books.accounts.counts[Status.DONE], books.accounts.asked) == (0, 1)
    books.accounts.end(Task(1, 1, 1, "h", b""), Status.DONE)
    assert books.accounts.take()[0].checked is None  # its number is free again


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        (Outcome(1, 1, Status.DONE), "the check of 'pay' gave no answer that can be read"),
        (
            Outcome(1, 1, Status.DONE, encode_value(["perhaps", ""])),
            "the check of 'pay' gave no answer that can be read",
        ),
        (Outcome(1, 1, Status.FAILED, None, "Odd: dsn://u:secret@h"), "the check of 'pay' failed: Odd"),
        (Outcome(1, 1, Status.TIMED_OUT, None, "text"), "the check of 'pay' did not answer within 7 s"),
        (Outcome(1, 1, Status.CANCELLED), "the check of 'pay' was cancelled"),
        (Outcome(1, 1, Status.RETURNED), "the check of 'pay' was not asked: the executor gave it back"),
        (Outcome(1, 1, Status.UNKNOWN_HANDLER), "there is no check of a handler 'pay' here"),
        (
            Outcome(
                1,
                1,
                Status.DIED,
                None,
                "the worker process 7 ended (exit code 1) while 'check of pay' ran in it",
            ),
            "the worker process 7 ended (exit code 1) while the check of 'pay' ran in it",
        ),
        (Outcome(1, 1, Status.LOST), "the process of the check of 'pay' ended"),
    ],
)
def test_whatever_happens_to_a_question_is_unknown_with_a_reason(outcome: Outcome, why: str) -> None:
    asked = answered(outcome, "pay", Handler(name="check of pay", timeout_s=7.0))
    assert asked.checked == (Answer.UNKNOWN, why)
    assert (asked.status, asked.result, asked.error, asked.fault) == (outcome.status, None, None, None)
