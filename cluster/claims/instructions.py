"""What the core of claimed tasks wants done. The duties stand on the types: they are the other half of the promise.

Each instruction is answered by one event, named in its text, for each of its keys. Until that event the core does nothing with the key,
so a duty that is never fulfilled costs progress, never a promise. Instructions may be gathered over many events and sent together, as long
as those of one key keep their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cluster.flow_events import Place
from executor import Task

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """(key, after) -> `Claimed`. Duty: `claim_future`, repeated by its id until the answer is known; refused because the session was
    closed: asked again in the next one. When the id is forgotten, a new call finds the claim of the first *held* by its own session: it
    never began, and is released."""

    pairs: Sequence[Pair]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """-> `Succeeded` or `Endings`. Duty: no runner begins one after the lease of `session` may have ended, then it is RETURNED: the batch
    carries the hour, and the runner looks at its clock last of all. When the node has another session by now, that hour is long past,
    whatever the lease of the new one. The runner of one ends itself at that hour when it hears nothing from its node. Outcomes leave the
    runner one by one, at once: what was written outlives the writer."""

    tasks: Sequence[Task]
    session: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """-> `CheckAnswered`. Duty: asked in a runner, with a time limit; whatever goes wrong with it is UNKNOWN. The attempt is the
    claim's own: those before it are in question."""

    tasks: Sequence[Task]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Runs of claims that are lost, or may be at any moment. Duty: taken back if not begun, else cancelled and soon killed; surely ended
    before the lease of their session. Ends in `Succeeded` or `Endings` as any run: a success that was faster is a late answer."""

    keys: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreResults:
    """-> `Kept`, after Kafka's acknowledgement; tried again until then."""

    keys: Sequence[int]
    results: Sequence[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRetry:
    """-> `Kept`, after **all** replicas acknowledged it; tried again until then. Duty: a copy of the record with `after` = `attempt`,
    due in `after_s`, the attempt added to its history, and to its `uncounted` unless `is_counted`. Only then the ledger hears `fail`:
    the other way round a death in between loses the task."""

    key: int
    attempt: int
    after_s: float
    is_counted: bool
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreDead:
    """-> `Kept`, after all replicas acknowledged it. Duty: the record with its whole history, this attempt included, to `.dead`."""

    key: int
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCopy:
    """-> `Kept`, after all replicas acknowledged it: it stands in for the record. Duty: to `.parked`, with `why`; its envelope marks it, so
    that it is claimed wherever it comes up again (`needs_claim`, `is_marked`)."""

    key: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Execute:
    """(key, attempt) -> `Executed`. Duty: proposed again until it is committed by majority, also under a later session of this node: the
    attempt names the claim."""

    pairs: Sequence[Pair]
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecuteUnclaimed:
    """Keys of runs without a claim -> `Executed`. Duty as `Execute`."""

    keys: Sequence[int]
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """(key, attempt) -> `FailAnswered`. Duty: repeated by its id until the answer is known, or asked anew: what has been done is answered
    False then, and the claim that follows tells so. Refused because the session was closed: asked in the next one."""

    pairs: Sequence[Pair]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """(key, attempt), never begun -> `ReleaseAnswered`. Duty as `Fail`."""

    pairs: Sequence[Pair]


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """-> `DoubtAnswered`. Duty as `Fail`. `why`: what its check said last, for the operator."""

    key: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete:
    """Nothing depends on these records any more. Duty: only the assignment that delivered them completes them; after a revocation, and
    under any other assignment of the partition, nothing is done: Kafka would let this node commit offsets that are another's."""

    place: Place
    offsets: Sequence[int]


Instruction = (
    Claim
    | Run
    | Check
    | Stop
    | StoreResults
    | StoreRetry
    | StoreDead
    | StoreCopy
    | Execute
    | ExecuteUnclaimed
    | Fail
    | Release
    | Doubt
    | Complete
)


class Gathered:
    """Instructions of one event, many keys in each. The order among them does not matter: no key stands in two."""

    __slots__ = (
        "checks",
        "claims",
        "completed",
        "executes",
        "fails",
        "marks",
        "releases",
        "results",
        "runs",
        "single",
        "stops",
    )

    def __init__(self) -> None:
        self.claims: list[Pair] = []
        self.runs: list[Task] = []
        self.checks: list[Task] = []
        self.stops: list[int] = []
        self.results: list[tuple[int, bytes]] = []
        self.executes: dict[str, list[Pair]] = {}
        self.marks: dict[str, list[int]] = {}
        self.fails: list[Pair] = []
        self.releases: list[Pair] = []
        self.completed: dict[Place, list[int]] = {}
        self.single: list[StoreRetry | StoreDead | StoreCopy | Doubt] = []

    def instructions(self, session: int) -> list[Instruction]:
        """`session`: the present one. Only under it tasks are run."""
        out: list[Instruction] = list(self.single)
        if self.stops:
            out.append(Stop(keys=self.stops))
        if self.releases:
            out.append(Release(pairs=self.releases))
        if self.results:
            keys, results = zip(*self.results, strict=True)
            out.append(StoreResults(keys=keys, results=results))
        out += (Execute(pairs=pairs, outcome=outcome) for outcome, pairs in self.executes.items())
        out += (ExecuteUnclaimed(keys=keys, outcome=outcome) for outcome, keys in self.marks.items())
        if self.fails:
            out.append(Fail(pairs=self.fails))
        out += (Complete(place=place, offsets=offsets) for place, offsets in self.completed.items())
        if self.claims:
            out.append(Claim(pairs=self.claims))
        if self.checks:
            out.append(Check(tasks=self.checks))
        if self.runs:
            out.append(Run(tasks=self.runs, session=session))
        return out
