"""The client's side of gRPC: one lazily opened channel per address, for threads and for asyncio.

`call` raises `Unavailable` (no answer, or the node says so: ask elsewhere), `Exhausted` (any node would say so: come back later) or
`Refused` (the request is wrong). A call that ended in `Unavailable` may have been carried out: whoever repeats a submit does so under
the same keys.
"""

from __future__ import annotations

import threading
from typing import Any

import grpc
import grpc.aio

from cluster.errors import Exhausted, QuorateError, Refused, Unavailable
from cluster.rpc import quorate_pb2_grpc, wire

OPTIONS = [
    ("grpc.max_receive_message_length", wire.MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", wire.MESSAGE_BYTES_MAX),
    ("grpc.initial_reconnect_backoff_ms", 100),  # a restarted node is found again within a second
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_http_proxy", 0),  # nodes are addressed directly
]

REFUSED_CODES = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.RESOURCE_EXHAUSTED,  # gRPC's own code for a message over the limit
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
}


class Channels:
    """Blocking calls. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, tuple[Any, Any]] = {}

    def call(self, address: str, method: str, request: Any, timeout_s: float) -> Any:
        with self._lock:
            if address not in self._open:
                channel = grpc.insecure_channel(address, options=OPTIONS)
                self._open[address] = (channel, quorate_pb2_grpc.QuorateStub(channel))  # type: ignore[no-untyped-call]
            stub = self._open[address][1]
        try:
            return getattr(stub, method)(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise _ours(address, error) from None
        except ValueError as error:  # the channel was closed by another thread
            raise Unavailable(f"{address}: {error}") from None

    def close(self) -> None:
        with self._lock:
            for channel, _ in self._open.values():
                channel.close()
            self._open.clear()


class AsyncChannels:
    """The same for one asyncio loop."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[Any, Any]] = {}

    async def call(self, address: str, method: str, request: Any, timeout_s: float) -> Any:
        if address not in self._open:
            channel = grpc.aio.insecure_channel(address, options=OPTIONS)
            self._open[address] = (channel, quorate_pb2_grpc.QuorateStub(channel))  # type: ignore[no-untyped-call]
        try:
            return await getattr(self._open[address][1], method)(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise _ours(address, error) from None

    async def close(self) -> None:
        opened, self._open = self._open, {}
        for channel, _ in opened.values():
            await channel.close()


def _ours(address: str, error: Any) -> QuorateError:
    code, details = error.code(), error.details() or "no details"
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and (retry_after_s := _retry_after_s(error)) is not None:
        return Exhausted(details, retry_after_s=retry_after_s)
    if code in REFUSED_CODES:
        return Refused(details)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Unavailable(f"{address} did not answer in time")
    if code is grpc.StatusCode.UNAVAILABLE and "connect" in details:
        return Unavailable(f"{address} does not accept connections")
    return Unavailable(f"{address}: {details}")


def _retry_after_s(error: Any) -> float | None:
    told = dict(error.trailing_metadata() or ())
    try:
        return float(told[wire.RETRY_AFTER])
    except (KeyError, ValueError):
        return None
