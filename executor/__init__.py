"""Runs handlers in worker processes. Knows neither Kafka nor Raft."""

from executor.errors import (
    ExecutorError,
    ExecutorFull,
    ExecutorStopped,
    HandlerError,
    HandlerLoadError,
    PayloadError,
)
from executor.executor import Executor
from executor.handlers.declaration import Handler
from executor.handlers.registry import handler
from executor.payload import (
    PAYLOAD_BYTES_MAX,
    decode_arguments,
    decode_value,
    encode_arguments,
    encode_value,
)
from executor.task import (
    Context,
    ExecutorStatistics,
    HandlerStatistics,
    Lane,
    LaneStatistics,
    Outcome,
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
    "Handler",
    "HandlerError",
    "HandlerLoadError",
    "HandlerStatistics",
    "Lane",
    "LaneStatistics",
    "Outcome",
    "PayloadError",
    "Status",
    "Task",
    "decode_arguments",
    "decode_value",
    "encode_arguments",
    "encode_value",
    "handler",
]
