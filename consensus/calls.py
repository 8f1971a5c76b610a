"""From an operation to a future that ends: sent in parts, joined again, repeated under its id when its outcome is unknown (shell).

A call of more keys than fit an entry travels as several. Parts may end differently; the whole is *refused* only if every part was, and
*unknown* if some took effect or may have. Its id then repeats what is open: unknown parts under their own ids, refused ones anew.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, Protocol, TypeVar

from consensus.errors import ConsensusError, OutcomeUnknown, Refused
from consensus.group_commit import Call
from consensus.operations import Operation
from consensus.waiting import Batons, Waiter

Answer = TypeVar("Answer")
Item = TypeVar("Item")
STALLED_AFTER_S = 1.0
STALLED = "the Raft thread of this node is stalled: it may or may not take effect"
UNKNOWN_CALLS_MAX = 1024  # kept to be repeated; group commit keeps fewer entries than that

Send = Callable[[Call, str | None], None]  # `RaftThread.call`


class _Repeatable(Protocol):
    def repeat(self, call_id: str, timeout_s: float) -> Future[Any]: ...


class Calls:
    """Thread-safe. `send` ends every call it is given, once, by its deadline."""

    def __init__(self, send: Send, batons: Batons) -> None:
        self._send, self._batons = send, batons
        self._lock = threading.Lock()
        self._unknown: OrderedDict[str, _Repeatable] = OrderedDict()
        self._joined_ids = itertools.count(1)

    def ask(self, operation: Operation[Answer], timeout_s: float) -> Answer:
        """`start` and wait, for a tenth of the cost: no future, and the answer is read on the caller's thread."""
        waiter = Waiter()

        def end(raw: Any, error: ConsensusError | None) -> None:
            waiter.answer, waiter.error = raw, error
            self._batons.ended(waiter)

        self._send(self._call(operation, end, timeout_s), None)
        if not waiter.wait(timeout_s + STALLED_AFTER_S):
            raise OutcomeUnknown(STALLED)
        error = waiter.error
        if error is None:
            return operation.read(waiter.answer)
        if isinstance(error, OutcomeUnknown) and error.call_id is not None:
            self._remember(error.call_id, _Single(self, operation))
        raise error

    def ask_all(self, operations: Sequence[Operation[list[Item]]], timeout_s: float) -> list[Item]:
        """Their answers one after the other."""
        if len(operations) == 1:
            return self.ask(operations[0], timeout_s)
        return result(self.start_all(operations, timeout_s), timeout_s)

    def start(
        self, operation: Operation[Answer], timeout_s: float, call_id: str | None = None
    ) -> Future[Answer]:
        """`call_id`: of the same operation, whose outcome is unknown."""
        future: Future[Answer] = Future()

        def end(raw: Any, error: ConsensusError | None) -> None:
            if not future.set_running_or_notify_cancel():
                return
            if isinstance(error, OutcomeUnknown) and error.call_id is not None:
                self._remember(error.call_id, _Single(self, operation))
            if error is not None:
                future.set_exception(error)
                return
            try:
                answer = operation.read(raw)
            except Exception as fault:  # our fault, but not one to end the ledger's thread with
                future.set_exception(fault)
            else:
                future.set_result(answer)

        self._send(self._call(operation, end, timeout_s), call_id)
        return future

    @staticmethod
    def _call(
        operation: Operation[Any], end: Callable[[Any, ConsensusError | None], None], timeout_s: float
    ) -> Call:
        return Call(
            command=operation.command,
            end=end,
            deadline=time.monotonic() + timeout_s,
            size_bytes=operation.size_bytes,
            needs_session=operation.needs_session,
            alone=operation.alone,
            per_key=operation.per_key,
        )

    def start_all(self, operations: Sequence[Operation[list[Item]]], timeout_s: float) -> Future[list[Item]]:
        """Their answers one after the other."""
        if len(operations) == 1:
            return self.start(operations[0], timeout_s)
        return self.join(operations, [self.start(operation, timeout_s) for operation in operations])

    def join(
        self, operations: Sequence[Operation[list[Item]]], parts: Sequence[Future[list[Item]]]
    ) -> Future[list[Item]]:
        joined: Future[list[Item]] = Future()
        open_parts = itertools.count(len(parts) - 1, -1)  # `next` is atomic

        def part_done(_: Future[list[Item]]) -> None:
            if next(open_parts) > 0 or not joined.set_running_or_notify_cancel():
                return
            error = self._verdict(operations, parts)
            if error is not None:
                joined.set_exception(error)
            else:
                joined.set_result([answer for part in parts for answer in part.result()])

        if not parts:
            joined.set_result([])
        for part in parts:
            part.add_done_callback(part_done)
        return joined

    def repeat(self, call_id: str, timeout_s: float) -> Future[Any]:
        with self._lock:
            repeatable = self._unknown.get(call_id)
        if repeatable is None:
            future: Future[Any] = Future()
            future.set_exception(
                Refused(f"call {call_id} is not known any more in this process: ask for the state instead")
            )
            return future
        return repeatable.repeat(call_id, timeout_s)

    def _verdict(
        self, operations: Sequence[Operation[list[Item]]], parts: Sequence[Future[list[Item]]]
    ) -> BaseException | None:
        errors = [part.exception() for part in parts]
        failed = [error for error in errors if error is not None]
        if not failed:
            return None
        odd = next((error for error in failed if not isinstance(error, (Refused, OutcomeUnknown))), None)
        if odd is not None:
            return odd
        if len(failed) == len(parts) and all(isinstance(error, Refused) for error in failed):
            return failed[0]
        call_id = None
        if all(isinstance(error, Refused) or getattr(error, "call_id", None) for error in failed):
            call_id = f"joined-{next(self._joined_ids)}"
            self._remember(call_id, _Joined(self, operations, parts))
        return OutcomeUnknown(
            f"{len(failed)} of {len(parts)} parts of this call did not end well, the first: {failed[0]}",
            call_id,
        )

    def _remember(self, call_id: str, repeatable: _Repeatable) -> None:
        with self._lock:
            self._unknown[call_id] = repeatable
            self._unknown.move_to_end(call_id)
            if len(self._unknown) > UNKNOWN_CALLS_MAX:
                self._unknown.popitem(last=False)


class _Single(Generic[Answer]):
    def __init__(self, calls: Calls, operation: Operation[Answer]) -> None:
        self._calls, self._operation = calls, operation

    def repeat(self, call_id: str, timeout_s: float) -> Future[Answer]:
        return self._calls.start(self._operation, timeout_s, call_id)


class _Joined(Generic[Item]):
    def __init__(
        self,
        calls: Calls,
        operations: Sequence[Operation[list[Item]]],
        parts: Sequence[Future[list[Item]]],
    ) -> None:
        self._calls, self._operations, self._parts = calls, operations, parts

    def repeat(self, call_id: str, timeout_s: float) -> Future[list[Item]]:
        parts = [
            self._again(operation, part, timeout_s)
            for operation, part in zip(self._operations, self._parts, strict=True)
        ]
        return self._calls.join(self._operations, parts)

    def _again(
        self, operation: Operation[list[Item]], part: Future[list[Item]], timeout_s: float
    ) -> Future[list[Item]]:
        match part.exception():
            case None:
                return part
            case OutcomeUnknown(call_id=str(part_id)):
                return self._calls.start(operation, timeout_s, part_id)
            case _:
                return self._calls.start(operation, timeout_s)  # refused: it took no effect


def result(future: Future[Answer], timeout_s: float) -> Answer:
    """The Raft thread ends each call by its deadline; a second later it is taken for stalled, say by a slow disk."""
    try:
        return future.result(timeout_s + STALLED_AFTER_S)
    except TimeoutError as error:
        raise OutcomeUnknown(STALLED) from error


async def aresult(future: Future[Answer], timeout_s: float) -> Answer:
    try:
        return await asyncio.wait_for(asyncio.wrap_future(future), timeout_s + STALLED_AFTER_S)
    except TimeoutError as error:
        raise OutcomeUnknown(STALLED) from error
