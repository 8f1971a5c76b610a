"""What a claimed task is made of: the record that it was read from, the terms of its handler, and where it stands.

A record is *claimed* when its run is settled with the ledger before it begins. `needs_claim` says which are; all others, the undisturbed
first runs of at-least-once handlers, go the short way of `task_flow.py` and meet no consensus before they run.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NamedTuple

from cluster.flow_events import Ending, Place
from executor import Task

WINDOW_RECORDS_MAX = 500  # claimed of a partition just taken over: what its former owner may have had running


class Guarantee(enum.Enum):
    AT_LEAST_ONCE = "at-least-once"
    EXACTLY_ONCE = "exactly-once"
    AT_MOST_ONCE = "at-most-once"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is promised of a record: its handler's word, or what the submit said instead. One object serves all records that share it.

    `is_always_checked`: also before the first run (`check_when="always"`). `settle_s`: of a check that only observes, how long the effect
    of an attempt that has ended may still be on its way. `attempts_max`: a run beyond it is not begun when nobody could say how the
    attempt before ended; where somebody could, the policy of retries has decided already.
    """

    guarantee: Guarantee
    is_always_checked: bool = False
    settle_s: float = 0.0
    attempts_max: int = 10


class Record(NamedTuple):
    """A record as it was read. `task`: what a run of it is made of, its attempt still open. `after`: the attempt whose failure produced it,
    0 at first. `uncounted`: how many attempts before it were nobody's fault. `value`: its bytes, for copies of it."""

    task: Task
    after: int
    place: Place
    offset: int
    terms: Terms
    value: bytes = b""
    uncounted: int = 0


def needs_claim(terms: Terms, *, after: int, position: int, is_marked: bool = False) -> bool:
    """`position`: which record it is of those read since the partition was taken over, from 0. `is_marked`: its envelope says that it was
    claimed before, as that of a held record that was parked does."""
    return (
        terms.guarantee is not Guarantee.AT_LEAST_ONCE
        or after > 0
        or is_marked
        or position < WINDOW_RECORDS_MAX
    )


class State(enum.Enum):
    """What a task waits for. In each there is exactly one thing under way, so that a word which fits no state is an old one."""

    CLAIMING = "claiming"
    HELD = "held"  # another has it: the hour at which it is asked again
    SETTLING = "settling"  # before a check: the hour at which it is asked
    CHECKING = "checking"
    RUNNING = "running"
    STORING_RESULT = "storing its result"
    STORING_RETRY = "storing its retry"
    STORING_DEAD = "storing it as dead"
    STORING_COPY = "storing a copy"
    EXECUTING = "being marked"
    FAILING = "failing"
    RELEASING = "releasing"
    DOUBTING = "becoming doubted"


class Ended(NamedTuple):
    """How a run ended that did not succeed. `retry_after_s`: the policy of retries, asked about a FAILED or DIED one; None: no more."""

    key: int
    ending: Ending
    error: str = ""
    retry_after_s: float | None = None


@dataclass(slots=True, kw_only=True)
class ClaimedTask:
    """`attempt` and `session` name the claim that it holds or held last; attempt 0: it runs without one."""

    record: Record
    state: State = State.CLAIMING
    attempt: int = 0
    session: int = 0
    outcome: str = ""  # of the mark that is under way
    asked: int = 0  # how often, in the present wait
    asked_since: float = 0.0
    due: float = 0.0  # while HELD or SETTLING
    error: str = ""
    is_recovered: bool = False  # the attempt before this one ended unseen
    is_gone: bool = False  # its partition was revoked: the next owner reads the record too
    is_stopped: bool = False  # while RUNNING: it was told to end
    is_claiming: bool = False  # while RUNNING: the claim of a run that began without one is under way
    is_superseded: bool = False  # of a run without a claim: another has the key by now
    pending: Ended | bytes | None = None  # the run ended before that claim was answered: how; bytes: a result
    doubles: list[Record] = field(default_factory=list)  # further records of the key

    @property
    def key(self) -> int:
        return self.record.task.key
