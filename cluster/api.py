"""What a node offers to applications: plain values and one Protocol.

The gRPC server, the command line and the tests all speak of a node through these types; `cluster.node.Node` implements
`NodeApi`. Keys are positive 64-bit integers. Times are seconds (`_s`), wall-clock times are milliseconds since 1970 (`_ms`).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


class TaskState(enum.Enum):
    """Where a task is, as far as the asked node knows."""

    UNKNOWN = "unknown"  # the key was never handed out
    WAITING = "waiting"  # handed out, not executed: stored in Kafka, running somewhere, or never submitted
    RUNNING = "running"  # runs on the asked node
    DONE = "done"
    DEAD = "dead"  # failed for good; the record is in `<prefix>.dead`


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """One task to submit. `arguments` is `executor.encode_arguments(args, kwargs)`; key 0 asks the node to choose one."""

    handler: str
    arguments: bytes
    key: int = 0
    priority: str = "normal"  # "high" | "normal" | "low"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """The answer for one task. `error` is None when the broker acknowledged; else one sentence, and the key may be
    submitted again. `code` is one of "", "invalid", "unknown-handler", "too-large", "unavailable"."""

    key: int
    error: str | None = None
    code: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStatus:
    """`result` is the encoded value (`executor.decode_value`) or None; `error` is set for dead tasks."""

    key: int
    state: TaskState
    result: bytes | None = None
    error: str | None = None
    node: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneView:
    lane: str
    queued: int
    running: int
    slots: int


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
