"""Single submits of many callers as few calls: while one call is on the wire, whoever comes meanwhile joins the next (shell).

A call costs both ends about a millisecond of threads waking one another, a task within it a few microseconds. So a thousand single submits
a second would fill a node, and a hundred calls of ten do not. Nobody waits for company: a lone caller's call leaves at once.
Callers bring their own thread or task: one of those that wait carries the call for all, then the next in line does.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence

from cluster.api import NewTask, Submitted
from cluster.errors import QuorateError, Refused

GATHERED_TASKS_MAX = 1000  # one message


class _Caller:
    __slots__ = ("answer", "baton", "task")

    def __init__(self, task: NewTask) -> None:
        self.task = task
        self.answer: Submitted | None = None
        self.baton = (
            threading.Lock()
        )  # released when there is an answer, or when it is this caller's turn to carry
        self.baton.acquire()


class Gathering:
    """For threads. `call` is given tasks and answers each; what it raises is told to all who were in it."""

    def __init__(self, call: Callable[[Sequence[NewTask]], list[Submitted]]) -> None:
        self._call = call
        self._lock = threading.Lock()
        self._waiting: list[_Caller] = []
        self._on_the_wire = False

    def submit(self, task: NewTask) -> Submitted:
        mine = _Caller(task)
        with self._lock:
            self._waiting.append(mine)
            carries = not self._on_the_wire
            self._on_the_wire = True
        if not carries:
            mine.baton.acquire()
        if mine.answer is None:
            self._carry(mine)
        assert mine.answer is not None
        return mine.answer

    def _carry(self, mine: _Caller) -> None:
        with self._lock:  # `mine` is the first that waits: it came to an empty line, or was appointed
            batch, self._waiting = self._waiting[:GATHERED_TASKS_MAX], self._waiting[GATHERED_TASKS_MAX:]
        cut_short = Submitted(
            key=0, error="the call that carried this task was cut short: submit again", code="unavailable"
        )
        answers: Sequence[Submitted] = [cut_short] * len(batch)
        try:
            answers = self._call([caller.task for caller in batch])
        except QuorateError as error:
            answers = [_as_answer(error)] * len(batch)
        finally:
            for caller, answer in zip(batch, answers, strict=True):
                caller.answer = answer
            with self._lock:
                appointed = self._waiting[0] if self._waiting else None
                self._on_the_wire = appointed is not None
            for caller in batch:
                if caller is not mine:
                    caller.baton.release()
            if appointed is not None:
                appointed.baton.release()


class AsyncGathering:
    """The same for one asyncio loop; a task of its own carries while somebody waits."""

    def __init__(self, call: Callable[[Sequence[NewTask]], Awaitable[list[Submitted]]]) -> None:
        self._call = call
        self._waiting: list[tuple[NewTask, asyncio.Future[Submitted]]] = []
        self._carrier: asyncio.Task[None] | None = None

    async def submit(self, task: NewTask) -> Submitted:
        answer: asyncio.Future[Submitted] = asyncio.get_running_loop().create_future()
        self._waiting.append((task, answer))
        if self._carrier is None:
            self._carrier = asyncio.create_task(self._carry(), name="gathered-submits")
        return await answer

    async def close(self) -> None:
        """Whoever still waits is told that its call was cut short."""
        if self._carrier is not None:
            self._carrier.cancel()
            await asyncio.gather(self._carrier, return_exceptions=True)

    async def _carry(self) -> None:
        batch: list[tuple[NewTask, asyncio.Future[Submitted]]] = []
        try:
            while self._waiting:
                batch, self._waiting = (
                    self._waiting[:GATHERED_TASKS_MAX],
                    self._waiting[GATHERED_TASKS_MAX:],
                )
                try:
                    answers: Sequence[Submitted] = await self._call([task for task, _ in batch])
                except QuorateError as error:
                    answers = [_as_answer(error)] * len(batch)
                for (_, future), answer in zip(batch, answers, strict=True):
                    if not future.done():  # its caller may have been cancelled
                        future.set_result(answer)
        finally:
            self._carrier = None
            for _, future in (*batch, *self._waiting):
                if not future.done():
                    future.cancel()
            self._waiting = []


def _as_answer(error: QuorateError) -> Submitted:
    """`submit_tasks` tells of full lanes in its answers, so what it raises is one of two."""
    return Submitted(key=0, error=str(error), code="invalid" if isinstance(error, Refused) else "unavailable")
