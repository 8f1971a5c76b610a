"""How many more tasks a lane wants: work counted in seconds, so that 800 tasks of 5 ms and 8 of a minute are the same promise.

Room = Q - queued, Q = clamp(W x T_buf / mean, W, QUEUE_TASKS_MAX): enough to bridge the gap until more can be fetched, no more, because
what waits here can neither be moved to another node nor overtaken by what was not fetched.
"""

from __future__ import annotations

BUFFER_S = 0.5
QUEUE_TASKS_MAX = 2_000
MEAN_UNKNOWN_S = 0.001  # before anything is measured: what is fetched can be given back, what is not fetched cannot overtake


def queue_tasks(*, slots: int, mean_s: float) -> int:
    """Q: how many tasks a lane wants to hold."""
    wanted = slots * BUFFER_S / (mean_s or MEAN_UNKNOWN_S)
    return int(min(max(wanted, slots, 1), QUEUE_TASKS_MAX))


def room(*, slots: int, mean_s: float, queued: int, blocked: int) -> int:
    """How many more tasks are wanted. Tasks that wait for a limit of their own count for the hard bound only: they stop nobody else."""
    free = min(queue_tasks(slots=slots, mean_s=mean_s) - (queued - blocked), QUEUE_TASKS_MAX - queued)
    return max(0, free)


class LaneMean:
    """The mean of what was offered lately, half of the weight on the last 200 tasks; 0.0 before anything is known."""

    __slots__ = ("_weight", "_work_s")

    HALF_LIFE_TASKS = 200.0

    def __init__(self) -> None:
        self._weight = 0.0
        self._work_s = 0.0

    def add(self, tasks: int, mean_s: float) -> None:
        keep = 0.5 ** (tasks / self.HALF_LIFE_TASKS)
        self._weight = self._weight * keep + tasks
        self._work_s = self._work_s * keep + tasks * mean_s

    @property
    def mean_s(self) -> float:
        return self._work_s / self._weight if self._weight else 0.0
