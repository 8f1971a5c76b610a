"""The values that go in and out of the executor. Nothing here does anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Lane(StrEnum):
    """What a task mostly uses, and whether others may have to wait for it."""

    CPU_SHORT = "cpu-short"
    CPU_LONG = "cpu-long"
    IO_SHORT = "io-short"
    IO_LONG = "io-long"

    @property
    def is_long(self) -> bool:
        return self.value.endswith("-long")


class Status(StrEnum):
    """How a task ended here. RETURNED and UNKNOWN_HANDLER never started."""

    DONE = "done"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    DIED = "died"
    RETURNED = "returned"
    UNKNOWN_HANDLER = "unknown_handler"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One run of a handler. `seq` is the caller's own number, `arguments` are still encoded."""

    seq: int
    key: int
    attempt: int
    handler: str
    arguments: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one task ended. `result` is encoded; `error` is "Type: message"; times are 0.0 when unknown."""

    seq: int
    key: int
    status: Status
    result: bytes | None = None
    error: str | None = None
    traceback: str | None = None
    wall_s: float = 0.0
    cpu_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Given to handlers that have a parameter named `context`."""

    key: int
    attempt: int
    handler: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneStatistics:
    """`slots` is the number of workers that may take tasks of this lane."""

    queued: int
    running: int
    slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerStatistics:
    """Counts since the start; means are decayed, so that they follow the recent past."""

    count: int
    mean_wall_s: float
    mean_cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorStatistics:
    """A picture of the executor at one moment. `failed` counts FAILED, TIMED_OUT and UNKNOWN_HANDLER."""

    lanes: Mapping[Lane, LaneStatistics]
    handlers: Mapping[str, HandlerStatistics]
    workers: tuple[int, ...]
    done: int
    failed: int
    died: int
