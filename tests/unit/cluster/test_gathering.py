"""Single submits share calls: nobody waits for company, each gets its own answer, and a call that fails ends for all who were in it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from cluster import gathering
from cluster.api import NewTask, Submitted
from cluster.errors import Refused, Unavailable
from cluster.gathering import AsyncGathering, Gathering

pytestmark = pytest.mark.unit
WITHIN_S = 10.0


def task(number: int) -> NewTask:
    return NewTask(handler="h", arguments=b"", key=number)


class Wire:
    """Answers a call when the test lets it; knows who was in each."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.has_begun = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)
        self.error: BaseException | None = None

    def call(self, tasks: Sequence[NewTask]) -> list[Submitted]:
        self.calls.append([one.key for one in tasks])
        self.has_begun.release()
        assert self.may_end.acquire(timeout=WITHIN_S)
        error, self.error = self.error, None
        if error is not None:
            raise error
        return [Submitted(key=one.key) for one in tasks]


class Callers:
    """Threads that submit one task each; `until_waiting` knows when they stand in line."""

    def __init__(self, gathered: Gathering) -> None:
        self.gathered = gathered
        self.answers: dict[int, Submitted | BaseException] = {}
        self.threads: list[threading.Thread] = []

    def submit(self, number: int) -> None:
        def run() -> None:
            try:
                self.answers[number] = self.gathered.submit(task(number))
            except BaseException as error:
                self.answers[number] = error

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()

    def until_waiting(self, count: int) -> None:
        tick = threading.Event()
        for _ in range(int(WITHIN_S / 0.001)):
            if len(self.gathered._waiting) == count:
                return
            tick.wait(0.001)
        pytest.fail("the callers do not stand in line")

    def join(self) -> None:
        for thread in self.threads:
            thread.join(WITHIN_S)
            assert not thread.is_alive()


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def callers(wire: Wire) -> Callers:
    return Callers(Gathering(wire.call))


def test_a_lone_caller_is_sent_at_once_and_the_others_go_together(wire: Wire, callers: Callers) -> None:
    # Given
    callers.submit(1)
    assert wire.has_begun.acquire(timeout=WITHIN_S)
    for number in (2, 3, 4):
        callers.submit(number)
    callers.until_waiting(3)
    # When
    wire.may_end.release(2)
    callers.join()
    # Then
    assert wire.calls[0] == [1]
    assert sorted(wire.calls[1]) == [2, 3, 4]
    assert callers.answers == {number: Submitted(key=number) for number in (1, 2, 3, 4)}


def test_whoever_comes_while_a_gathered_call_is_on_the_wire_waits_for_the_next(
    wire: Wire, callers: Callers
) -> None:
    callers.submit(1)
    assert wire.has_begun.acquire(timeout=WITHIN_S)
    callers.submit(2)
    callers.until_waiting(1)
    wire.may_end.release()
    assert wire.has_begun.acquire(timeout=WITHIN_S)  # the call of 2
    callers.submit(3)
    callers.until_waiting(1)
    wire.may_end.release(2)
    callers.join()
    assert wire.calls == [[1], [2], [3]]


def test_a_call_carries_no_more_than_a_message_does(
    wire: Wire, callers: Callers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "GATHERED_TASKS_MAX", 2)
    callers.submit(1)
    assert wire.has_begun.acquire(timeout=WITHIN_S)
    for number in (2, 3, 4):
        callers.submit(number)
    callers.until_waiting(3)
    wire.may_end.release(3)
    callers.join()
    assert sorted(map(len, wire.calls)) == [1, 1, 2]


@pytest.mark.parametrize(
    ("error", "code"), [(Unavailable("nobody"), "unavailable"), (Refused("no"), "invalid")]
)
def test_a_failed_call_ends_for_all_in_it_and_the_next_goes_on(
    wire: Wire, callers: Callers, error: Exception, code: str
) -> None:
    callers.submit(1)
    assert wire.has_begun.acquire(timeout=WITHIN_S)
    callers.submit(2)
    callers.until_waiting(1)
    wire.error = error
    wire.may_end.release(2)
    callers.join()
    assert callers.answers[1] == Submitted(key=0, error=str(error), code=code)
    assert callers.answers[2] == Submitted(key=2)


def test_a_carrier_that_is_interrupted_leaves_nobody_waiting(wire: Wire, callers: Callers) -> None:
    callers.submit(1)
    assert wire.has_begun.acquire(timeout=WITHIN_S)
    for number in (2, 3):
        callers.submit(number)
    callers.until_waiting(2)
    wire.may_end.release()
    assert wire.has_begun.acquire(timeout=WITHIN_S)
    wire.error = KeyboardInterrupt()
    wire.may_end.release()
    callers.join()
    told = [callers.answers[2], callers.answers[3]]
    assert sum(isinstance(one, KeyboardInterrupt) for one in told) == 1
    [other] = [one for one in told if isinstance(one, Submitted)]
    assert other.code == "unavailable"
    callers.submit(5)
    wire.may_end.release()
    callers.join()
    assert callers.answers[5] == Submitted(key=5)


def test_the_asyncio_form_gathers_too_and_survives_a_cancelled_caller() -> None:
    async def session() -> tuple[list[list[int]], list[Submitted]]:
        calls: list[list[int]] = []
        gate = asyncio.Event()

        async def call(tasks: Sequence[NewTask]) -> list[Submitted]:
            calls.append([one.key for one in tasks])
            await gate.wait()
            return [Submitted(key=one.key) for one in tasks]

        gathered = AsyncGathering(call)
        first = asyncio.create_task(gathered.submit(task(1)))
        while not calls:
            await asyncio.sleep(0)
        others = [asyncio.create_task(gathered.submit(task(number))) for number in (2, 3, 4)]
        await asyncio.sleep(0)
        others[1].cancel()
        gate.set()
        answers = await asyncio.gather(first, others[0], others[2])
        await gathered.close()
        return calls, answers

    calls, answers = asyncio.run(session())
    assert calls == [[1], [2, 3, 4]]
    assert answers == [Submitted(key=number) for number in (1, 2, 4)]


def test_a_closed_asyncio_form_leaves_nobody_waiting() -> None:
    async def session() -> None:
        has_begun = asyncio.Event()

        async def call(tasks: Sequence[NewTask]) -> list[Submitted]:
            has_begun.set()
            await asyncio.Event().wait()
            return []

        gathered = AsyncGathering(call)
        callers = [asyncio.create_task(gathered.submit(task(number))) for number in (1, 2)]
        await has_begun.wait()
        await gathered.close()
        for caller in callers:
            with pytest.raises(asyncio.CancelledError):
                await caller

    asyncio.run(session())
