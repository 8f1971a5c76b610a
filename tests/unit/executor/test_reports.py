"""Progress on its way out: bounded in rate, and the newest is never lost."""

from __future__ import annotations

import pytest

from executor import Context
from executor.runners.inside.reports import REPORT_EVERY_S, Reports

pytestmark = pytest.mark.unit


class Board:
    """Reports with a clock to set and a count of wakes."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.wakes = 0
        self.reports = Reports(self._wake, lambda: self.now_s)

    def _wake(self) -> None:
        self.wakes += 1

    def add(self, number: int, done: float) -> None:
        self.reports.add(number, done, None, "")


def test_the_first_report_of_a_task_leaves_at_once() -> None:
    board = Board()
    board.add(1, 0.5)
    assert board.wakes == 1
    assert board.reports.take() == [["progress", 1, 0.5, None, ""]]


def test_of_many_reports_the_newest_leaves_when_its_time_has_come() -> None:
    board = Board()
    board.add(1, 1)
    board.reports.take()
    for done in range(2, 1000):
        board.add(1, done)
    assert board.wakes == 1
    assert board.reports.take() == []
    board.now_s += REPORT_EVERY_S
    assert board.reports.take() == [["progress", 1, 999, None, ""]]
    assert board.reports.take() == []


def test_tasks_do_not_share_a_rate() -> None:
    board = Board()
    board.add(1, 1)
    board.reports.take()
    board.add(2, 1)
    assert [message[1] for message in board.reports.take()] == [2]


def test_nothing_is_said_of_a_task_that_ended() -> None:
    board = Board()
    board.add(1, 1)
    board.reports.forget(1)
    assert board.reports.take() == []


@pytest.mark.parametrize("value", [True, "1", None, float("nan"), float("inf")])
def test_a_report_that_is_no_number_is_refused(value: object) -> None:
    with pytest.raises((TypeError, ValueError), match="progress: done is"):
        Context(key=1, attempt=1, handler="h").progress(value)  # type: ignore[arg-type]


def test_a_note_is_cut_and_can_be_sent() -> None:
    notes: list[str] = []
    context = Context(key=1, attempt=1, handler="h", report=lambda done, total, note: notes.append(note))
    context.progress(1, 2, "x\ud800" * 500)
    assert notes[0].encode()
    assert len(notes[0]) == 200
