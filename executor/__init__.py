"""Runs handlers in worker processes. Knows neither Kafka nor Raft."""

from executor.context import Context
from executor.errors import (
    ExecutorError,
    ExecutorFull,
    ExecutorStopped,
    HandlerError,
    HandlerLoadError,
    PayloadError,
    TaskCancelled,
    TaskDied,
    TaskFailed,
    TaskTimedOut,
    TimeLimitExceeded,
)
from executor.executor import Executor
from executor.handlers.declaration import Handler
from executor.handlers.hooks import on_worker_start, on_worker_stop
from executor.handlers.registry import handler
from executor.payload import (
    PAYLOAD_BYTES_MAX,
    decode_arguments,
    decode_value,
    encode_arguments,
    encode_value,
)
from executor.submission import TaskFuture
from executor.task import (
    ExecutorStatistics,
    Form,
    HandlerStatistics,
    Label,
    Lane,
    LaneStatistics,
    Level,
    Limits,
    Outcome,
    Progress,
    Reason,
    Resource,
    RunnerStatistics,
    Sample,
    Status,
    Task,
)

__all__ = [
    "PAYLOAD_BYTES_MAX",
    "Context",
    "Executor",
    "ExecutorError",
    "ExecutorFull",
    "ExecutorStatistics",
    "ExecutorStopped",
    "Form",
    "Handler",
    "HandlerError",
    "HandlerLoadError",
    "HandlerStatistics",
    "Label",
    "Lane",
    "LaneStatistics",
    "Level",
    "Limits",
    "Outcome",
    "PayloadError",
    "Progress",
    "Reason",
    "Resource",
    "RunnerStatistics",
    "Sample",
    "Status",
    "Task",
    "TaskCancelled",
    "TaskDied",
    "TaskFailed",
    "TaskFuture",
    "TaskTimedOut",
    "TimeLimitExceeded",
    "decode_arguments",
    "decode_value",
    "encode_arguments",
    "encode_value",
    "handler",
    "on_worker_start",
    "on_worker_stop",
]
