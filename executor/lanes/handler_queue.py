"""What waits of one handler and kind: four levels, each oldest first, and a level that sinks with age.

Tasks are kept as they came, in chunks of one moment: taking a batch is a slice, so the cost is per batch and not per task. Only the heads
of the four levels are ever compared, because within a level the oldest is in front.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from operator import itemgetter

from executor.task import Form, Lane, Level, Task

BATCH_BYTES_MAX = 1_000_000  # of arguments: a frame stays far below its limit, a runner's buffer small
CHUNK_TASKS_MAX = 4_096  # taking from a chunk leaves a hole in front of it: bounds what that holds on to
SAME_MOMENT_S = 0.001  # tasks offered one by one share a chunk, so their age is right to this

UNLIMITED = 1 << 30

_ARGUMENTS = itemgetter(Task._fields.index("arguments"))


class Chunk:
    """Tasks queued at one moment; those before `at` are taken."""

    __slots__ = ("at", "queued_s", "tasks")

    def __init__(self, tasks: list[Task], queued_s: float) -> None:
        self.tasks = tasks
        self.queued_s = queued_s
        self.at = 0


class HandlerQueue:
    """`alone`: for tasks that run in a process of their own, whatever the handler's form. The lane queue keeps `stamp` and the flags.

    `running` counts its tasks in threads and event loops, `limit` is the measured bound of that; `batches` counts what is in any runner.
    """

    __slots__ = (
        "alone",
        "batches",
        "form",
        "handler",
        "is_blocked",
        "is_unknown",
        "kind",
        "lane",
        "levels",
        "limit",
        "queued",
        "running",
        "stamp",
        "used_s",
    )

    def __init__(self, handler: str, kind: str, *, alone: bool, form: Form, lane: Lane) -> None:
        self.handler = handler
        self.kind = kind
        self.alone = alone
        self.form = form
        self.lane = lane
        self.is_unknown = False
        self.is_blocked = False
        self.levels: tuple[deque[Chunk], ...] = tuple(deque() for _ in Level)
        self.queued = 0
        self.stamp = 0
        self.running = 0
        self.batches = 0
        self.limit = UNLIMITED
        self.used_s = 0.0

    def add(self, tasks: list[Task], level: int, now: float) -> None:
        chunks = self.levels[level]
        self.queued += len(tasks)
        if chunks:
            last = chunks[-1]
            if now - last.queued_s < SAME_MOMENT_S and len(last.tasks) < CHUNK_TASKS_MAX:
                last.tasks += tasks
                return
        chunks.append(Chunk(tasks, now))

    def put_back(self, tasks: list[Task], level: int, queued_s: float) -> None:
        """Where they came from: behind what is older, before what came at the same moment."""
        chunks = self.levels[level]
        self.queued += len(tasks)
        at = 0
        while at < len(chunks) and chunks[at].queued_s < queued_s:
            at += 1
        chunks.insert(at, Chunk(tasks, queued_s))

    def head(self, now: float, age_s: float) -> tuple[int, float, int]:
        """(level now, since when it waits, its own level) of the task that goes first. There must be one."""
        best: tuple[int, float, int] | None = None
        for level, chunks in enumerate(self.levels):
            if chunks:
                queued_s = chunks[0].queued_s
                key = (max(0, level - int((now - queued_s) / age_s)), queued_s, level)
                if best is None or key < best:
                    best = key
        assert best is not None, "head of an empty queue"
        return best

    def take(self, level: int, tasks_max: int) -> tuple[list[Task], float]:
        """Up to so many of this level, oldest first, and since when the oldest waits; bounded in bytes too."""
        chunks = self.levels[level]
        first = chunks[0]
        queued_s = first.queued_s
        batch = self._cut(chunks, tasks_max)
        while len(batch) < tasks_max and chunks:
            batch += self._cut(chunks, tasks_max - len(batch))
        self.queued -= len(batch)
        if len(batch) > 1 and sum(map(len, map(_ARGUMENTS, batch))) > BATCH_BYTES_MAX:
            kept = _within(batch, BATCH_BYTES_MAX)
            self.put_back(batch[kept:], level, queued_s)
            batch = batch[:kept]
        return batch, queued_s

    @staticmethod
    def _cut(chunks: deque[Chunk], tasks_max: int) -> list[Task]:
        chunk = chunks[0]
        end = chunk.at + tasks_max
        if end >= len(chunk.tasks):
            chunks.popleft()
            return chunk.tasks[chunk.at :] if chunk.at else chunk.tasks
        batch = chunk.tasks[chunk.at : end]
        chunk.at = end
        return batch

    def remove(self, seq: int) -> Task | None:
        """Takes out the task with the caller's number, if it waits here."""
        for chunks in self.levels:
            for position, chunk in enumerate(chunks):
                for at in range(chunk.at, len(chunk.tasks)):
                    if chunk.tasks[at].seq == seq:
                        task = chunk.tasks[at]
                        chunk.tasks = chunk.tasks[chunk.at : at] + chunk.tasks[at + 1 :]
                        chunk.at = 0
                        self.queued -= 1
                        if not chunk.tasks:
                            del chunks[position]
                        return task
        return None

    def clear(self) -> list[tuple[float, Task]]:
        """Takes out everything: (queued at, task)."""
        found = [
            (chunk.queued_s, task)
            for chunks in self.levels
            for chunk in chunks
            for task in chunk.tasks[chunk.at :]
        ]
        for chunks in self.levels:
            chunks.clear()
        self.queued = 0
        return found

    def waiting(self) -> Iterator[tuple[float, Task]]:
        """(queued at, task) of everything here."""
        for chunks in self.levels:
            for chunk in chunks:
                for task in chunk.tasks[chunk.at :]:
                    yield chunk.queued_s, task


def _within(batch: list[Task], bytes_max: int) -> int:
    """How many of the first tasks fit; at least one."""
    total_bytes = 0
    for count, task in enumerate(batch):
        total_bytes += len(task.arguments)
        if total_bytes > bytes_max:
            return max(1, count)
    return len(batch)
