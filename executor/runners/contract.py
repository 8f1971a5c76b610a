"""Who pays when a runner ends: the one contract of every form of runner. Pure: numbers in, verdicts out.

What ran when the runner died of itself pays, as nobody can tell which of them did it; in a process that runs one task at a time that is
exactly the culprit. When the node ended the runner because of one task (it ignored its time-out, it held the loop), only that one pays.
What had ended, but whose answer was still in the runner, is LOST and costs nothing; what never began goes back as if it had never left.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from executor.task import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed:
    """The node itself ended the runner. `number`: because of this task, which ends with `status`; None: because of none."""

    number: int | None
    status: Status
    why: str


def settle(
    unanswered: Iterable[int], *, begun: int, running: Collection[int], killed: Killed | None
) -> list[tuple[int, Status]]:
    """A verdict for each number that was sent and not answered, read after all that the runner wrote was read.

    `begun`: the highest number that the runner ever began (they begin in ascending order); `running`: those in its slots at its end.
    """
    verdicts: list[tuple[int, Status]] = []
    for number in unanswered:
        if number in running:
            if killed is None:
                status = Status.DIED
            elif killed.number == number:
                status = killed.status
            else:
                status = Status.LOST
        elif number <= begun:
            status = Status.LOST
        else:
            status = Status.RETURNED
        verdicts.append((number, status))
    return verdicts
