"""The values that go in and out of the executor. Nothing here does anything.

Tasks, samples and outcomes are named tuples: hundreds of thousands a second are made of them, and a frozen dataclass costs five times
as much. All else is a frozen dataclass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum
from typing import NamedTuple


class Resource(StrEnum):
    """What a task mostly uses: a core, or the patience of somebody else's machine."""

    CPU = "cpu"
    IO = "io"


class Lane(StrEnum):
    """What a task mostly uses, and whether others may have to wait for it."""

    CPU_SHORT = "cpu-short"
    CPU_LONG = "cpu-long"
    IO_SHORT = "io-short"
    IO_LONG = "io-long"

    @property
    def is_long(self) -> bool:
        return self in (Lane.CPU_LONG, Lane.IO_LONG)

    @property
    def resource(self) -> Resource:
        return Resource.CPU if self in (Lane.CPU_SHORT, Lane.CPU_LONG) else Resource.IO


class Form(StrEnum):
    """In what kind of runner a task runs."""

    PROCESS = "process"  # one task at a time in the main thread: exact clocks, a sure kill
    THREADS = "threads"  # many threads of one process: blocking I/O
    LOOP = "loop"  # an event loop: `async def`


class Level(IntEnum):
    """Lower goes first. A waiting task rises with age."""

    DUE = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3


class Status(StrEnum):
    """How a task ended here. RETURNED and UNKNOWN_HANDLER never started."""

    DONE = "done"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    DIED = "died"  # its runner ended while it ran: costs an attempt
    LOST = "lost"  # it ended in a runner that died before it could say how: costs none
    RETURNED = "returned"
    UNKNOWN_HANDLER = "unknown_handler"


class Task(NamedTuple):
    """One run of a handler. `seq` is the caller's own number, `arguments` are still encoded. `kind`: a part of the handler's work that is
    learnt apart."""

    seq: int
    key: int
    attempt: int
    handler: str
    arguments: bytes
    kind: str = ""
    level: int = Level.NORMAL


class Sample(NamedTuple):
    """What one run cost, in seconds and bytes. `blocked_s`: neither computing nor waiting for a core: I/O, locks, sleep. `io_s`: the parts
    named by `context.io`. `step_s`: longest step of a coroutine between two awaits. `exact`: no neighbour in the process disturbed it."""

    wall_s: float
    cpu_s: float
    blocked_s: float = 0.0
    run_queue_s: float = 0.0
    io_s: float = 0.0
    memory_bytes: int = 0
    step_s: float = 0.0
    exact: bool = True


class Fault(NamedTuple):
    """What was raised, for those who decide whether to run it again. `classes`: names of the error's classes, most special first.
    `after_s`: the handler asked to be run again after so long. `is_final`: running it again cannot help."""

    classes: Sequence[str] = ()
    after_s: float | None = None
    is_final: bool = False


class Answer(Enum):
    """What a check says of a task: did it happen?"""

    DONE = "done"
    NOT_DONE = "not done"
    UNKNOWN = "unknown"


class CheckResult(NamedTuple):
    """An answer and, for people, where it comes from."""

    answer: Answer
    why: str = ""


class Outcome(NamedTuple):
    """How one task ended. `result` is encoded; `error` is "Type: message"; times are 0.0 when unknown or not sampled. `output`: what it
    printed and logged, its last part. `fault`: of one that FAILED in a runner. `checked`: not the task was run but its check was asked, and
    this is the answer, however that ended."""

    seq: int
    key: int
    status: Status
    result: bytes | None = None
    error: str | None = None
    traceback: str | None = None
    wall_s: float = 0.0
    cpu_s: float = 0.0
    output: str | None = None
    fault: Fault | None = None
    checked: CheckResult | None = None


class Progress(NamedTuple):
    """What a running handler said of itself through `context.progress`."""

    seq: int
    key: int
    done: float
    total: float | None
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why something is as it is: a rule in words, with the numbers it saw. `at_s` is monotonic, of the process that decided."""

    at_s: float
    subject: str  # "handler thumb", "pool process", "lane io-short"
    decision: str  # "to cpu-long", "threads 16 -> 18"
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """The lane learnt for (handler, kind), and from what. Times in seconds of wall clock."""

    handler: str
    kind: str
    lane: Lane
    why: str
    mean_s: float
    p95_s: float
    cpu_s: float  # mean
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneStatistics:
    """`slots`: how many tasks of this lane may run at once now. `backlog_s`: seconds of work queued, for all its slots together."""

    queued: int
    running: int
    slots: int
    room: int = 0
    backlog_s: float = 0.0
    mean_s: float = 0.0
    median_wait_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerStatistics:
    """Counts since the start; means are decayed, so that they follow the recent past."""

    count: int
    mean_wall_s: float
    mean_cpu_s: float
    mean_blocked_s: float = 0.0
    mean_run_queue_s: float = 0.0
    mean_io_s: float = 0.0
    mean_memory_bytes: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerStatistics:
    """One runner process."""

    pid: int
    form: Form
    is_long: bool
    slots: int
    running: int
    state: str
    rss_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorStatistics:
    """A picture of the executor at one moment. `failed` counts FAILED, TIMED_OUT and UNKNOWN_HANDLER; `asked` checks, which count nowhere
    else."""

    lanes: Mapping[Lane, LaneStatistics]
    handlers: Mapping[str, HandlerStatistics]
    workers: tuple[int, ...]
    done: int
    failed: int
    died: int
    runners: tuple[RunnerStatistics, ...] = ()
    asked: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an operator may change while it runs; None and absent names mean: as measured.

    `workers`: processes that may run long tasks at once (the reserve comes on top). `io_threads_max`, `loop_tasks_max`: bounds of the
    other two forms. `handlers`: how many tasks of a handler run at once on this node; `lanes`: the same for a lane. Of what is paused
    nothing is started.
    """

    workers: int | None = None
    io_threads_max: int | None = None
    loop_tasks_max: int | None = None
    handlers: Mapping[str, int] | None = None
    lanes: Mapping[Lane, int] | None = None
    paused_handlers: frozenset[str] = frozenset()
    paused_lanes: frozenset[Lane] = frozenset()
