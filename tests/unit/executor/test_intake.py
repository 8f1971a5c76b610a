"""What other threads hand to the executor: in order, bounded, and never more room than was meant."""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator

import pytest

from executor.errors import ExecutorFull, ExecutorStopped
from executor.intake import HELD_TASKS_MAX, ORDERS_MAX, Intake
from executor.task import Lane, Task

pytestmark = pytest.mark.unit


def tasks(count: int) -> list[Task]:
    return [Task(seq, seq, 1, "h", b"") for seq in range(count)]


@pytest.fixture
def intake() -> Iterator[Intake]:
    made = Intake()
    made.open(threading.Thread())
    yield made
    made.close()
    made.release()


def is_awake(intake: Intake) -> bool:
    return bool(select.select([intake.fd], [], [], 0)[0])


def test_tasks_and_orders_come_out_in_the_order_in_which_they_came_in(intake: Intake) -> None:
    said: list[str] = []
    intake.order(lambda: said.append("first"))
    intake.offer(tasks(2))
    intake.order(lambda: said.append("second"))
    assert is_awake(intake)
    first, offered, second = intake.take()
    assert offered == tasks(2)
    assert callable(first)
    assert callable(second)
    first()
    second()
    assert said == ["first", "second"]
    assert not is_awake(intake)
    assert intake.take() == []


def test_room_is_what_the_owner_said_less_what_came_in_since(intake: Intake) -> None:
    intake.account({Lane.CPU_SHORT: 10, Lane.IO_LONG: 3}, accepted=0, ended=0)
    intake.offer(tasks(4))
    assert intake.rooms() == {Lane.CPU_SHORT: 6, Lane.CPU_LONG: 0, Lane.IO_SHORT: 0, Lane.IO_LONG: 0}
    intake.take()
    assert intake.room(Lane.CPU_SHORT) == 6  # taken, but not yet part of what the owner counts
    intake.account({Lane.CPU_SHORT: 6}, accepted=4, ended=0)
    assert intake.room(Lane.CPU_SHORT) == 6


def test_above_its_bound_it_takes_none_of_an_offer(intake: Intake) -> None:
    intake.offer(tasks(HELD_TASKS_MAX - 1))
    with pytest.raises(ExecutorFull, match="ask room"):
        intake.offer(tasks(2))
    intake.offer(tasks(1))
    intake.account({}, accepted=HELD_TASKS_MAX, ended=5)
    intake.offer(tasks(5))


def test_who_may_wait_waits_until_enough_has_ended(intake: Intake) -> None:
    intake.offer(tasks(HELD_TASKS_MAX))
    waiter = threading.Thread(target=intake.offer, args=(tasks(3),), kwargs={"wait": True})
    waiter.start()
    intake.account({}, accepted=0, ended=2)
    intake.account({}, accepted=0, ended=1)
    waiter.join(20)
    assert not waiter.is_alive()
    assert intake.held == HELD_TASKS_MAX


def test_who_waits_is_told_when_it_closes(intake: Intake) -> None:
    intake.offer(tasks(HELD_TASKS_MAX))
    refused = threading.Event()

    def offer() -> None:
        with pytest.raises(ExecutorStopped):
            intake.offer(tasks(1), wait=True)
        refused.set()

    waiter = threading.Thread(target=offer)
    waiter.start()
    intake.close()
    assert refused.wait(20)
    waiter.join(20)


def test_orders_are_bounded(intake: Intake) -> None:
    for _ in range(ORDERS_MAX):
        intake.order(tuple)
    with pytest.raises(ExecutorFull):
        intake.order(tuple)


def test_a_question_asked_by_the_owner_itself_is_answered_at_once() -> None:
    intake = Intake()
    intake.open(threading.current_thread())
    assert intake.ask(lambda: 42) == 42
    intake.close()
    intake.release()


def test_what_goes_wrong_in_an_answer_is_raised_where_it_was_asked(intake: Intake) -> None:
    def ask() -> None:
        with pytest.raises(ZeroDivisionError):
            intake.ask(lambda: 1 // 0)

    asker = threading.Thread(target=ask)
    asker.start()
    select.select([intake.fd], [], [], 20)
    for item in intake.take():
        assert callable(item)
        item()
    asker.join(20)
    assert not asker.is_alive()
