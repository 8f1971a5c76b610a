"""The node's side of one runner: its sockets, its slots, its process (shell).

Used by the executor's own thread only; nothing here waits. The pidfd is the only truth about its end: a socket may be closed by a
handler, or held open by a copy that a handler forked. Until the zygote has told its pid, it can be ended only by closing its sockets.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import socket
from collections.abc import Iterable, Sequence

from executor.runners.birth import LONG_NICE, fork_request
from executor.runners.channel import Channel
from executor.runners.contract import Killed, settle
from executor.runners.frames import Message
from executor.runners.nursery import Forked, Nursery
from executor.runners.slot import TABLE_BYTES, SlotTable
from executor.task import Form, Status, Task

CONTROL_BYTES_MAX = 262_144  # unsent; a runner that reads nothing of this is stuck


class RunnerProcess:
    """`pid` 0: not forked yet. `is_ready`: it has said hello. `killed`: the node ended it, and why."""

    def __init__(
        self, number: int, form: Form, *, slots: int, is_long: bool, modules: tuple[str, ...]
    ) -> None:
        self.number, self.form, self.slots, self.is_long = number, form, slots, is_long
        self.pid = 0
        self.pidfd = -1
        self.is_ready = False
        self.draining_s: float | None = None
        self.refusal: str | None = None
        self.rss_bytes = 0
        self.loaded: set[str] = set()  # functions it was told of
        self.killed: Killed | None = None
        self.code: int | None = None
        self.closed_s: float | None = None  # since when one of its sockets is known to be closed
        self.gone_s: float | None = None  # since when the process is known to have ended
        self._modules = modules
        self._kept: list[socket.socket] = []
        self._slots_fd = os.memfd_create("quorate-slots", os.MFD_CLOEXEC)
        try:
            os.ftruncate(self._slots_fd, TABLE_BYTES)
            self.table = SlotTable(mmap.mmap(self._slots_fd, TABLE_BYTES))
            ends = [socket.socketpair() for _ in range(2)]
        except BaseException:
            os.close(self._slots_fd)
            raise
        self.data, self.control = (Channel(ours) for ours, _ in ends)
        self._kept = [theirs for _, theirs in ends]

    def ask(self, nursery: Nursery) -> None:
        """Asks the zygote to fork it; raises OSError. May be asked again, of another zygote, while `pid` is 0."""
        request = fork_request(
            self.number, self.form, is_long=self.is_long, slots=self.slots, modules=self._modules
        )
        nursery.ask(request, [*(end.fileno() for end in self._kept), self._slots_fd])

    def born(self, news: Forked) -> None:
        self.pid, self.pidfd = news.pid, news.pidfd
        self._let_go_of_its_ends()
        if self.killed is not None:
            self._signal(signal.SIGKILL)

    def send(self, first: int, tasks: Sequence[Task]) -> None:
        """One batch, numbered from `first` on. The core bounds what may be under way."""
        self.data.put(["run", first, tasks])

    def load(self, functions: Sequence[tuple[str, str, str | None]]) -> None:
        """Name, module and file of functions that a later batch needs."""
        self.data.put(["load", functions])
        self.loaded.update(name for name, _, _ in functions)

    def cancel(self, number: int) -> None:
        self._tell(["cancel", number])

    def recall(self, numbers: Sequence[int]) -> None:
        """Those not begun come back in "recalled"."""
        self._tell(["recall", numbers])

    def drain(self, now: float) -> None:
        """It runs what it has received, and leaves. Nothing may be sent to it any more."""
        if self.draining_s is None:
            self.draining_s = now
            self._tell(["drain"])

    def resize(self, slots: int) -> None:
        self.slots = slots
        self._tell(["resize", slots])

    def _tell(self, message: Message) -> None:
        self.control.put(message)
        if self.control.unsent_bytes > CONTROL_BYTES_MAX:
            self.kill(Killed(number=None, status=Status.LOST, why="it does not read what it is told"))

    def running(self) -> list[tuple[int, float]]:
        """Number and start (monotonic seconds) of each task that runs in it now."""
        return self.table.running(1 if self.form is Form.PROCESS else self._rows)

    @property
    def _rows(self) -> int:
        return len(self.table.numbers)

    def renice(self) -> None:
        """It becomes long; there is no way back without privilege. Niceness belongs to threads, so each is told."""
        self.is_long = True
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{self.pid}/task"):
                os.setpriority(os.PRIO_PROCESS, int(thread), LONG_NICE)

    def kill(self, why: Killed) -> None:
        """Its end shows itself later, through the pidfd. The first reason counts."""
        if self.killed is None:
            self.killed = why
            self.end()

    def end(self) -> None:
        """The same without a reason: what runs in it is to blame."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)

    def settle(self, unanswered: Iterable[int]) -> list[tuple[int, Status]]:
        """After its end, and after all that it wrote was read."""
        running = {number for number, _ in self.running()}
        return settle(unanswered, begun=self.table.begun, running=running, killed=self.killed)

    @property
    def how_it_ended(self) -> str:
        if self.code is None:
            return "how is not known"
        if self.code >= 0:
            return f"exit code {self.code}"
        try:
            return f"signal {signal.Signals(-self.code).name}"
        except ValueError:
            return f"signal {-self.code}"

    def _let_go_of_its_ends(self) -> None:
        for end in self._kept:
            end.close()
        self._kept = []
        if self._slots_fd >= 0:
            os.close(self._slots_fd)
            self._slots_fd = -1

    def close(self) -> None:
        """Frees everything. A process that still lives hears the end of its sockets and ends itself."""
        self._let_go_of_its_ends()
        self.data.close()
        self.control.close()
        self.table.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
