"""What a runner holds: batches of tasks, numbered in the order sent.

A batch counts as one occupied place, however many tasks it has: they are brief, and go one after the other (PROCESS) or in no time.
Numbers that end in order, as they mostly do, cost a slice and not a search.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from enum import StrEnum

from executor.lanes.handler_queue import HandlerQueue
from executor.task import Form, Task


class RunnerState(StrEnum):
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    DOOMED = "doomed"  # told to be killed


class Batch:
    """Tasks of one handler and kind sent together. A task that has ended is None. `left` counts the others."""

    __slots__ = (
        "began_s",
        "estimate_s",
        "first",
        "form",
        "is_brief",
        "is_long",
        "is_recalled",
        "is_unknown",
        "lane",
        "left",
        "queue",
        "queued_s",
        "sent_s",
        "tasks",
    )

    def __init__(
        self,
        first: int,
        tasks: list[Task],
        queue: HandlerQueue,
        *,
        queued_s: float,
        sent_s: float,
        estimate_s: float,
        is_long: bool,
        is_unknown: bool,
        is_brief: bool,
    ) -> None:
        self.first = first
        self.tasks: list[Task | None] = list(tasks)
        self.left = len(tasks)
        self.queue = queue
        self.form = queue.form  # the queue may move to another
        self.lane = queue.lane
        self.queued_s = queued_s
        self.sent_s = sent_s
        self.began_s = sent_s
        self.estimate_s = estimate_s
        self.is_long = is_long
        self.is_unknown = is_unknown
        self.is_brief = is_brief
        self.is_recalled = False

    def open_numbers(self) -> list[int]:
        return [number for number, task in enumerate(self.tasks, self.first) if task is not None]


class Runner:
    """One process, as the scheduler sees it. `slots`: places for batches that run; as many again may be ahead, if all are brief."""

    __slots__ = (
        "batches",
        "done",
        "firsts",
        "form",
        "is_long",
        "last_ended",
        "not_brief",
        "number",
        "rss_bytes",
        "rss_start_bytes",
        "slots",
        "started_s",
        "state",
    )

    def __init__(self, number: int, form: Form, *, slots: int, is_long: bool, started_s: float) -> None:
        self.number = number
        self.form = form
        self.slots = slots
        self.is_long = is_long
        self.state = RunnerState.STARTING
        self.started_s = started_s
        self.batches: list[Batch] = []
        self.firsts: list[int] = []
        self.not_brief = 0
        self.last_ended: Batch | None = None
        self.rss_bytes = 0
        self.rss_start_bytes = 0
        self.done: dict[str, int] = {}  # of handlers that wear their runner out

    @property
    def is_alive(self) -> bool:
        return self.state is RunnerState.READY or self.state is RunnerState.STARTING

    @property
    def busy(self) -> int:
        return min(len(self.batches), self.slots)

    def add(self, batch: Batch) -> None:
        self.batches.append(batch)
        self.firsts.append(batch.first)
        if not batch.is_brief:
            self.not_brief += 1

    def remove(self, batch: Batch) -> None:
        at = self.batches.index(batch)
        del self.batches[at], self.firsts[at]
        if not batch.is_brief:
            self.not_brief -= 1

    def slow(self, batch: Batch) -> None:
        """It takes longer than was thought: nothing may be sent behind it."""
        if batch.is_brief:
            batch.is_brief = False
            self.not_brief += 1

    def find(self, number: int) -> Batch | None:
        """The batch with this number, if that number is open."""
        at = bisect_right(self.firsts, number) - 1
        if at < 0:
            return None
        batch = self.batches[at]
        offset = number - batch.first
        return batch if offset < len(batch.tasks) and batch.tasks[offset] is not None else None

    def close(self, numbers: Sequence[int]) -> list[tuple[Batch | None, list[Task | None], bool]]:
        """Takes these numbers out: runs of tasks in the order of `numbers`, each with its batch, and whether the batch is over with it.
        (None, [None], False) for an unknown one. Threads end in any order, so that a batch may come in several runs."""
        runs: list[tuple[Batch | None, list[Task | None], bool]] = []
        at, count = 0, len(numbers)
        while at < count:
            number = numbers[at]
            batch = self.find(number)
            if batch is None:
                runs.append((None, [None], False))
                at += 1
                continue
            offset = number - batch.first
            length = min(len(batch.tasks) - offset, count - at)
            if length > 1 and list(numbers[at : at + length]) != list(range(number, number + length)):
                length = 1
            part = batch.tasks[offset : offset + length]
            if length == len(batch.tasks) == batch.left:
                batch.left = 0
            else:
                batch.tasks[offset : offset + length] = [None] * length
                batch.left -= length - part.count(None)
            runs.append((batch, part, batch.left == 0))
            at += length
        return runs
