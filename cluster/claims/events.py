"""What the core of claimed tasks is told. Each says when the shell may say it: that is half of the promise.

Answers of the ledger come with the keys that were asked about, in the same order. An answer that is unknown (`OutcomeUnknown`) is no
answer: the call is repeated under its id until it is known, or asked anew when even the id is forgotten, and nothing of these keys moves
meanwhile (`asking.py`).
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from cluster.claims.values import Ended, Record
from cluster.flow_events import Place
from consensus import ClaimAnswer, ExecuteAnswer
from executor.checks import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """Records to be claimed, as read. `executed`: keys that the local replica shows as executed; it may lag, the claim does not."""

    records: Sequence[Record]
    executed: Set[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """First runs without a claim that this flow is to end: they run now, or wait to. Say it when such a run ended in anything but success
    (before `Endings`, and out of `TaskFlow` with all its doubles), when a record to be claimed arrives for a key that runs without one,
    and, `is_revoked`, of all that still runs of a partition that is revoked."""

    records: Sequence[Record]
    is_revoked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """`doubted`: those of the held keys that the local replica shows as in doubt."""

    keys: Sequence[int]
    answers: Sequence[ClaimAnswer]
    doubted: Set[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """Answers to `Execute` and to `ExecuteUnclaimed`."""

    keys: Sequence[int]
    answers: Sequence[ExecuteAnswer]


@dataclass(frozen=True, slots=True, kw_only=True)
class FailAnswered:
    """`owns`: it was this session's claim, and has ended. False: it was not, whatever the reason."""

    keys: Sequence[int]
    owns: Sequence[bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseAnswered:
    keys: Sequence[int]
    owns: Sequence[bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class DoubtAnswered:
    """`doubted`: those of `keys` that are in doubt now."""

    keys: Sequence[int]
    doubted: Set[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckAnswered:
    """A time-out, an exception, and a check that could not be asked are UNKNOWN."""

    key: int
    answer: Answer
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    """`results`: one for each key, or none at all."""

    keys: Sequence[int]
    results: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Endings:
    """Runs that surely do not run any more. A thread past its time-out is reported only when it has stopped: the next attempt may begin
    at once. RETURNED and CANCELLED are told apart by whether the run had begun."""

    endings: Sequence[Ended]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Kafka has what was to be stored of these keys: a result, or, acknowledged by all replicas, a retry, a dead record or a copy."""

    keys: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """This assignment of a partition is over: its offsets complete no more. Its runs without a claim come as `Adopted`."""

    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOpened:
    """The node's session now: all its former ones are closed in the ledger. Said at the start too."""

    session: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """`is_held` False: the session was not renewed, and its lease ends in as much time as it takes to kill a run surely; True: renewed."""

    is_held: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """The node stops: nothing begins any more; what runs may end, what has not begun is given back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """The hour of `next_due` has come."""


Event = (
    Arrived
    | Adopted
    | Claimed
    | Executed
    | FailAnswered
    | ReleaseAnswered
    | DoubtAnswered
    | CheckAnswered
    | Succeeded
    | Endings
    | Kept
    | Revoked
    | SessionOpened
    | Lease
    | Stopping
    | Tick
)
