"""How much of one handler runs on this node, and how much may: the operator's limit, the declared one, the measured one.

In processes one place counts once, however many brief tasks wait their turn in it: only one of them runs. In threads and event loops
each task counts. The measured limit guards a foreign server and so does not hold for what runs alone in a process.
"""

from __future__ import annotations

from executor.lanes.handler_queue import HandlerQueue
from executor.task import Form

UNBOUNDED = 1 << 30


class HandlerUse:
    """`limit`: by the operator or declared. `limit_io`: measured. `holds`: a queue of it is blocked."""

    __slots__ = ("holds", "is_paused", "limit", "limit_io", "name", "queues", "running", "running_io")

    def __init__(self, name: str) -> None:
        self.name = name
        self.limit = UNBOUNDED
        self.limit_io = UNBOUNDED
        self.running = 0
        self.running_io = 0
        self.is_paused = False
        self.holds = False
        self.queues: set[HandlerQueue] = set()

    def free(self, form: Form) -> int:
        """How many more may start now in runners of this form."""
        if self.is_paused:
            return 0
        if form is Form.PROCESS:
            return self.limit - self.running
        return min(self.limit - self.running, self.limit_io - self.running_io)

    def began(self, form: Form, tasks: int) -> None:
        if form is Form.PROCESS:
            self.running += 1
        else:
            self.running += tasks
            self.running_io += tasks

    def ended(self, form: Form, tasks: int, *, is_whole: bool) -> None:
        """`is_whole`: with these the batch is over."""
        if form is not Form.PROCESS:
            self.running -= tasks
            self.running_io -= tasks
        elif is_whole:
            self.running -= 1
