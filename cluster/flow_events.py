"""What happens to tasks between Kafka and the executor, and what is to be done about it: events and instructions of `task_flow.py`.

They carry columns, not single tasks, so that a task costs a few dictionary steps: at 100,000 a second an object for each step of each
task is more than the whole budget. What is rare (failures, deaths, forwarding) goes key by key.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from cluster.dead.record import Attempt
from cluster.envelope import Columns
from executor import Task


class Place(NamedTuple):
    """Where records are read. `assignment` numbers the ownership of the partition: only it may complete their offsets."""

    lane: str
    priority: str
    topic: str
    partition: int
    assignment: int


class Ending(enum.Enum):
    """How a run ended that did not simply succeed, in the words that decide what happens next."""

    FAILED = "failed"  # retried by its way, or dead without one
    CANCELLED = "cancelled"
    DIED = "died"  # its worker died while it ran: as FAILED
    LOST = "lost"  # it may have run, its answer was lost: run again, uncounted
    RETURNED = "returned"  # never started: run again, uncounted, unless operators have spoken meanwhile


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """Not here: `value` is written to `topic` under the same key, then the record completes unmarked."""

    topic: str
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Not at all: marked cancelled, then completed."""


Way = Forward | Drop  # of a record that does not simply run


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """Decoded records of one place, a column for each field. `executed`: keys that stood in the executed set when they were read (behind
    the barrier). `ways`: those that are not to run, by key. `afters`: of retries, the attempt whose failure produced them."""

    place: Place
    keys: Sequence[int]
    offsets: Sequence[int]
    values: Sequence[bytes]
    columns: Columns
    executed: Set[int] = frozenset()
    ways: Mapping[int, Way] = field(default_factory=dict)
    afters: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecodable:
    """A record that is no task. Its bytes go to `.dead`; no key is marked, as nobody knows that the key is its own."""

    raw_key: bytes
    value: bytes
    reason: str
    place: Place
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Runs that succeeded. `results`: one for each key, or none at all."""

    keys: Sequence[int]
    results: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """One run that did not. `way`: of one that failed, where its retry goes; of one that did not start, what operators say now.
    `attempts`: of one that is dead, all of them."""

    key: int
    ending: Ending
    error: str = ""
    way: Way | None = None
    attempts: Sequence[Attempt] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Kafka acknowledged what was to be stored of these keys: results, a dead record, or a forwarded copy."""

    keys: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    keys: Sequence[int]


Event = Delivered | Undecodable | Done | Ran | Stored | Marked


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The number of each task, `seq`, is its key: a key never runs twice at the same time on one node."""

    tasks: Sequence[Task]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreResults:
    """Duty: report `Stored` only after the broker's acknowledgement; try again until then."""

    keys: Sequence[int]
    results: Sequence[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreDead:
    """Duty as `StoreResults`. Without a key there is nothing to mark: `complete` that offset once stored. `topic`: where it stood."""

    key: int | None
    raw_key: bytes
    value: bytes
    reason: str
    complete: Complete | None = None
    attempts: Sequence[Attempt] = ()
    topic: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCopy:
    """Duty as `StoreResults`, acknowledged by all replicas: it stands in for the record."""

    key: int
    topic: str
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Duty: report `Marked` only when the marks are committed by majority; propose again until then."""

    keys: Sequence[int]
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete:
    place: Place
    offsets: Sequence[int]


Instruction = Run | StoreResults | StoreDead | StoreCopy | Mark | Complete
