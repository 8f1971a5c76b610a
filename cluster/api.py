"""What a node offers to applications: plain values and one Protocol.

The gRPC server, the command line and the tests all speak of a node through these types; `cluster.node.Node` implements
`NodeApi`. Keys are positive 64-bit integers. Times are seconds (`_s`), wall-clock times are milliseconds since 1970 (`_ms`).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

UNIQUE_FOR_S = 86_400.0  # a day: an order that comes twice mostly does so within minutes


class TaskState(enum.Enum):
    """Where a task is, as far as the asked node knows."""

    UNKNOWN = "unknown"  # the key was never handed out
    WAITING = "waiting"  # handed out, not executed: stored in Kafka, running somewhere, or never submitted
    RUNNING = "running"  # in the hands of `node`
    DONE = "done"
    DEAD = "dead"  # failed for good; the record is in `<prefix>.dead`
    CANCELLED = "cancelled"  # never to run: cancelled, or purged


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """One task to submit. `arguments` is `executor.encode_arguments(args, kwargs)`; key 0 asks the node to choose one."""

    handler: str
    arguments: bytes
    key: int = 0
    priority: str = "normal"  # "high" | "normal" | "low"
    kind: str = ""  # a part of the handler's work whose cost is learnt apart
    unique: str = ""  # all submits of one value are one task: the later ones get the first one's key
    unique_for_s: float = UNIQUE_FOR_S  # so long, and until it was executed


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """The answer for one task. `error` is None when the broker acknowledged; else one sentence, and the key may be
    submitted again. `code` is one of "", "invalid", "unknown-handler", "too-large", "unavailable", "resource-exhausted": too much waits
    in its lane, come back after `retry_after_s`. `was_bound`: the unique value has a key already, this one, of an earlier submit."""

    key: int
    error: str | None = None
    code: str = ""
    retry_after_s: float = 0.0
    was_bound: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressView:
    """What a running handler said of itself by `context.progress`."""

    done: float
    total: float | None
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStatus:
    """`result` is the encoded value (`executor.decode_value`) or None; `error` is set for dead tasks. `node`: who has it in hand."""

    key: int
    state: TaskState
    result: bytes | None = None
    error: str | None = None
    node: str | None = None
    progress: ProgressView | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneView:
    """One lane of one node. `room`: tasks that it would take now; `backlog_s`: seconds of work queued for all its slots together."""

    lane: str
    queued: int
    running: int
    slots: int
    room: int = 0
    backlog_s: float = 0.0
    mean_s: float = 0.0
    median_wait_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerView:
    """One member as the asked node sees it. `api` is empty when not yet known."""

    name: str
    peer: str
    api: str
    connected: bool
    round_trip_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """What one node says of itself and of the others."""

    name: str
    peer: str
    api: str
    pid: int
    version: str
    ready: bool
    leader: str | None  # the leader's peer address
    is_leader: bool
    term: int
    session: int | None
    executed: int
    high_water: int
    state_hash: str
    kafka: str
    worker_pids: tuple[int, ...] = ()
    handlers: tuple[str, ...] = ()
    lanes: tuple[LaneView, ...] = ()
    peers: tuple[PeerView, ...] = ()
    counters: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberView:
    """One node of the group, as the asked node sees it. `node` is its address for the other members."""

    node: str
    is_leader: bool
    connected: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerView:
    """One runner process of a node. `form`: "process", "threads", "loop"."""

    pid: int
    form: str
    is_long: bool
    slots: int
    running: int
    state: str
    rss_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonView:
    """Why something is as it is: `decision` on `subject`, by a rule with the numbers that it saw."""

    at_ms: int
    subject: str
    decision: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BacklogView:
    """One lane of the whole cluster, or "parked" (paused handlers): tasks stored and not executed, and how many seconds they are."""

    lane: str
    tasks: int
    seconds: float
    paused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LanesView:
    """What one node says of its lanes, its runners and its decisions, and of the cluster's backlog. Newest reason last."""

    node: str
    lanes: tuple[LaneView, ...] = ()
    runners: tuple[RunnerView, ...] = ()
    backlog: tuple[BacklogView, ...] = ()
    reasons: tuple[ReasonView, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelView:
    """What `node` learnt of (handler, kind). `routes`: tasks are stored in this lane. Times in seconds of wall clock."""

    handler: str
    kind: str
    node: str
    lane: str
    why: str
    mean_s: float
    p95_s: float
    cpu_s: float
    samples: int
    routes: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeView:
    """One change of a limit. `verb`: "set", "clear", "pause", "resume", "purge"; `subject`: "handler:NAME", "lane:NAME", "workers" .."""

    number: int
    at_ms: int
    who: str
    verb: str
    subject: str
    value: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsView:
    """What is in force, each with the change that made it so, and the newest changes, the last one last."""

    numbers: tuple[ChangeView, ...] = ()
    paused: tuple[ChangeView, ...] = ()
    purged: tuple[ChangeView, ...] = ()
    history: tuple[ChangeView, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputView:
    """The last part of what a task printed and logged, as `node` captured it."""

    key: int
    node: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadFilter:
    """What all must be true of a dead task. `keys` and `places` ("PARTITION:OFFSET") name some; with both, either counts."""

    keys: tuple[int, ...] = ()
    places: tuple[str, ...] = ()
    handler: str = ""
    since_ms: int = 0  # it died then or later
    error: str = ""  # a part of the text, in any case of letters


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    """One run of a task that failed."""

    attempt: int
    at_ms: int
    node: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadView:
    """A record of the dead topic. Key 0: it is no task that this node can read; only its place names it. `settled`: "" or what was done."""

    key: int
    place: str
    handler: str
    kind: str
    submitted_ms: int
    died_ms: int
    error: str
    retry_of: int = 0
    attempts: tuple[AttemptView, ...] = ()
    arguments: bytes | None = None
    settled: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadPage:
    """`looked` of `total` records were looked at; the next call begins at `cursor`, which is "" at the end."""

    tasks: tuple[DeadView, ...]
    cursor: str
    looked: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledView:
    """What became of one dead task: retried under `new_key` or discarded, or left as it is because of `error`."""

    key: int
    place: str
    new_key: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledPage:
    """As `DeadPage`."""

    tasks: tuple[SettledView, ...]
    cursor: str
    looked: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DoubtView:
    """A key in doubt: the claim that stands, and why its check could not tell. What is known of the task is empty unless it was asked for
    and its record stands in the parked topic."""

    key: int
    why: str
    attempt: int
    after: int
    session: int
    node: str
    session_open: bool
    handler: str = ""
    kind: str = ""
    arguments: bytes | None = None
    submitted_ms: int = 0
    attempts: tuple[AttemptView, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DoubtsPage:
    """By rising keys. `next`: the `after` of the next call, 0 at the end. `total`: all keys in doubt."""

    doubts: tuple[DoubtView, ...]
    total: int
    next: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedView:
    """`error`: why nothing was decided about this key, "" if it was."""

    key: int
    error: str = ""


class NodeApi(Protocol):
    """Thread-safe. `submit` and `reserve` raise `cluster.errors.Unavailable` when the group has no majority or Kafka
    does not answer within `timeout_s`; nothing else escapes. Errors of single tasks are in their `Submitted`."""

    def submit(self, tasks: Sequence[NewTask], *, timeout_s: float) -> list[Submitted]: ...

    def reserve(self, count: int, *, timeout_s: float) -> range: ...

    def status(self, keys: Sequence[int], *, with_result: bool, timeout_s: float) -> list[TaskStatus]: ...

    def wait(self, keys: Sequence[int], *, timeout_s: float) -> list[int]:
        """Blocks until all keys are executed on this replica or `timeout_s` is over; returns those still open."""
        ...

    def view(self) -> NodeView: ...

    def members(self) -> list[MemberView]: ...

    def add_member(self, node: str, *, timeout_s: float) -> list[str]:
        """-> the group afterwards. Raises `Refused` (while another change is under way), `Unavailable`. Safe to repeat."""
        ...

    def remove_member(self, node: str, *, timeout_s: float) -> list[str]: ...

    def lanes(self, *, with_reasons: bool) -> LanesView: ...

    def labels(self) -> list[LabelView]:
        """All rows that the cluster knows, as this node's replica has them."""
        ...

    def limits(self) -> LimitsView: ...

    def change_limit(
        self, verb: str, subject: str, value: int | None, *, who: str, timeout_s: float
    ) -> LimitsView:
        """-> what is in force afterwards. Raises `Refused`, `Unavailable`. Safe to repeat; a repeated purge takes its later moment."""
        ...

    def output(self, key: int) -> OutputView | None:
        """None: nothing is kept of it here."""
        ...

    def dead(
        self, chosen: DeadFilter, *, cursor: str, limit: int, with_arguments: bool, timeout_s: float
    ) -> DeadPage:
        """The next at most `limit` of the chosen dead tasks that nobody has dealt with; those named by key or place in any case."""
        ...

    def settle_dead(
        self, verb: str, chosen: DeadFilter, *, cursor: str, limit: int, who: str, timeout_s: float
    ) -> SettledPage:
        """`verb`: "retry" or "discard". As `dead`; each is dealt with before it is told. Safe to repeat: nothing is retried twice."""
        ...

    def doubts(self, keys: Sequence[int], *, after: int, with_tasks: bool, timeout_s: float) -> DoubtsPage:
        """All keys in doubt above `after`, a page of them, or those of `keys` that are."""
        ...

    def resolve_doubts(
        self, keys: Sequence[int], decision: str, *, who: str, timeout_s: float
    ) -> list[ResolvedView]:
        """`decision`: "executed" or "retry". Raises `Refused`, `Unavailable`. Safe to repeat."""
        ...
