"""What other threads hand to the executor's own thread: tasks, and orders to carry out there (shell).

Everything waits in here, in the order in which it came, until the owner takes it; an eventfd wakes it. What is held, here and further on,
is bounded. The rooms are the owner's last picture, less what has come in since: never more than was meant.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TypeVar

from executor.errors import ExecutorError, ExecutorFull, ExecutorStopped
from executor.task import Lane, Task

HELD_TASKS_MAX = 20_000
ORDERS_MAX = 10_000
ANSWER_S = 10.0  # the owner's turns take milliseconds

Answer = TypeVar("Answer")
Item = Sequence[Task] | Callable[[], None]


class Questions(tuple[Task, ...]):
    """Tasks whose checks are to be asked, in the place of tasks that are to be run."""


class Intake:
    """`held`: tasks that were taken and have not been reported as ended yet."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._close_fd = weakref.finalize(self, os.close, self.fd)
        self.held = 0
        self._changed = threading.Condition()
        self._inbox: list[Item] = []
        self._orders = 0  # of the inbox
        self._rooms: Mapping[Lane, int] = {}
        self._unaccounted = 0  # offered after the rooms were counted
        self.is_open = False
        self._is_awake = False
        self._owner: threading.Thread | None = None

    def open(self, owner: threading.Thread) -> None:
        with self._changed:
            self._owner, self.is_open = owner, True

    # Other threads.

    def offer(self, tasks: Sequence[Task], *, wait: bool = False) -> None:
        """Takes all or none. `wait`: until there is room, on any thread but the owner's."""
        with self._changed:
            if wait and self._owner is not threading.current_thread():
                self._changed.wait_for(lambda: not self.is_open or self.held + len(tasks) <= HELD_TASKS_MAX)
            if not self.is_open:
                raise ExecutorStopped(
                    "tasks were offered to an executor that is not running; start one first"
                )
            if self.held + len(tasks) > HELD_TASKS_MAX:
                raise ExecutorFull(
                    f"{len(tasks)} tasks offered with {self.held} held, the limit is {HELD_TASKS_MAX}; ask room()"
                )
            self._put(tasks)

    def offer_again(self, tasks: Sequence[Task]) -> None:
        """From the owner itself: tasks that it has just reported as ended, and that are to run once more."""
        if tasks:
            with self._changed:
                self._put(tasks)

    def _put(self, tasks: Sequence[Task]) -> None:
        self.held += len(tasks)
        self._unaccounted += len(tasks)
        self._inbox.append(tasks)
        self._wake()

    def room(self, lane: Lane) -> int:
        """How many more tasks of this lane are wanted now."""
        with self._changed:
            return max(0, self._rooms.get(lane, 0) - self._unaccounted) if self.is_open else 0

    def rooms(self) -> dict[Lane, int]:
        return {lane: self.room(lane) for lane in Lane}

    def order(self, what: Callable[[], None]) -> None:
        """`what` runs on the owner's thread, soon; here, as long as it was never started. Raises ExecutorStopped when it has ended."""
        if self._owner is None:
            what()
            return
        with self._changed:
            if not self.is_open:
                raise ExecutorStopped("this executor has stopped; make a new one")
            if self._orders >= ORDERS_MAX:
                raise ExecutorFull(f"{ORDERS_MAX} orders wait for the executor; ask less often")
            self._orders += 1
            self._inbox.append(what)
            self._wake()

    def ask(self, question: Callable[[], Answer]) -> Answer:
        """The answer, found on the owner's thread; here, while it is not running."""
        if self._owner is None or self._owner is threading.current_thread():
            return question()
        answer: Future[Answer] = Future()

        def find() -> None:
            try:
                answer.set_result(question())
            except Exception as error:
                answer.set_exception(error)

        try:
            self.order(find)
        except ExecutorStopped:
            self._owner.join(ANSWER_S)
            return question()
        try:
            return answer.result(ANSWER_S)
        except TimeoutError:
            raise ExecutorError(
                f"the executor's thread did not answer within {ANSWER_S:g} s; does a callback of it wait for something?"
            ) from None

    def _wake(self) -> None:
        if not self._is_awake:
            self._is_awake = True
            os.eventfd_write(self.fd, 1)

    # The owner.

    def take(self) -> list[Item]:
        """All that has come in. Who is woken calls this, so that no wake is lost."""
        with self._changed:
            if self._is_awake:
                self._is_awake = False
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self.fd)
            inbox, self._inbox, self._orders = self._inbox, [], 0
            return inbox

    def account(self, rooms: Mapping[Lane, int], *, accepted: int, ended: int) -> None:
        """`accepted` tasks are part of these rooms now; `ended` ones are held no longer."""
        with self._changed:
            self._rooms = rooms
            self._unaccounted -= accepted
            self.held -= ended
            if ended:
                self._changed.notify_all()

    def close(self) -> list[Item]:
        """Nothing is taken any more; what had come in is handed back a last time."""
        with self._changed:
            self.is_open = False
            self._changed.notify_all()
        return self.take()

    def release(self) -> None:
        """After `close`, when nobody waits for the descriptor any more."""
        self._close_fd()

    def wait_until_empty(self, timeout_s: float | None) -> bool:
        """False at the deadline, or when it closed before."""
        end_s = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            return self._changed.wait_for(
                lambda: not self.is_open or not self.held,
                None if end_s is None else end_s - time.monotonic(),
            )
