"""How much of one handler runs on this node, and how much may: the operator's limit, the declared one, the measured one.

In processes one place counts once, however many brief tasks wait their turn in it: only one of them runs. In threads and event loops
each task counts. The measured limit guards a foreign server and so does not hold for what runs alone in a process.
"""

from __future__ import annotations

from executor.lanes.handler_queue import UNLIMITED, HandlerQueue
from executor.task import Form


class HandlerUse:
    """`limit`: by the operator or declared. `holds`: a queue of it is blocked."""

    __slots__ = ("holds", "is_paused", "limit", "name", "queues", "running")

    def __init__(self, name: str) -> None:
        self.name = name
        self.limit = UNLIMITED
        self.running = 0
        self.is_paused = False
        self.holds = False
        self.queues: list[HandlerQueue] = []  # in the order they came: a run must be repeatable

    def free(self, queue: HandlerQueue) -> int:
        """How many more of this queue may start now."""
        if self.is_paused:
            return 0
        if queue.form is Form.PROCESS:
            return self.limit - self.running
        return min(self.limit - self.running, queue.limit - queue.running)

    def began(self, queue: HandlerQueue, form: Form, tasks: int) -> None:
        queue.batches += 1
        if form is Form.PROCESS:
            self.running += 1
        else:
            self.running += tasks
            queue.running += tasks

    def ended(self, queue: HandlerQueue, form: Form, tasks: int, *, is_whole: bool) -> None:
        """`is_whole`: with these the batch is over."""
        queue.batches -= is_whole
        if form is not Form.PROCESS:
            self.running -= tasks
            queue.running -= tasks
        elif is_whole:
            self.running -= 1
