"""What the scheduler wants done. The executor's shell does it in this order and decides nothing.

Runners are numbers chosen here; tasks in a runner are numbered too, ascending in the order sent.
"""

from __future__ import annotations

from dataclasses import dataclass

from executor.task import Form, Status, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A new runner. `is_long`: nice 10 from birth."""

    runner: int
    form: Form
    is_long: bool
    slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """A batch for a runner that is ready: `tasks` have the numbers `first`, `first` + 1 and so on."""

    runner: int
    first: int
    tasks: list[Task]

    @property
    def numbered(self) -> list[tuple[int, Task]]:
        return list(enumerate(self.tasks, self.first))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """Take back those of these that have not begun; `returned` tells which."""

    runner: int
    numbers: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """End the process at once. `number`: the task to blame, with this status; None: nobody is to blame."""

    runner: int
    number: int | None
    status: Status
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """Let it finish what it has and end; nothing more will be sent to it."""

    runner: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize:
    """From now on so many tasks at once."""

    runner: int
    slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Renice:
    """To nice 10: it runs, or is about to run, long work. There is no way back."""

    runner: int


Instruction = Start | Send | Recall | Kill | Drain | Resize | Renice
