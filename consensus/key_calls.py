"""The calls of the key service, each in three forms: `claim` waits, `aclaim` is awaited, `claim_future` does neither.

All end by their deadline: with an answer, `Refused` (it took no effect and will not), or `OutcomeUnknown` (it may have; `repeat` its id).
What each means is said once, at its future form and in `operations.py`. Answers stand in the order of the keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from consensus import operations
from consensus.calls import Calls, aresult, result
from consensus.ledger.claims import Decision
from consensus.ledger.executed import Outcome
from consensus.operations import (
    OPERATION_KEYS_MAX,
    BindAnswer,
    CancelAnswer,
    ClaimAnswer,
    ExecuteAnswer,
    Operation,
    Pair,
)

Item = TypeVar("Item")
Key = TypeVar("Key", int, Pair)
TIMEOUT_S = 5.0


class KeyCalls:
    """`_calls` comes from the service that starts and stops."""

    _calls: Calls

    def reserve_future(self, count: int, *, timeout_s: float = TIMEOUT_S) -> Future[range]:
        """`count` keys that nobody else ever gets. After `OutcomeUnknown` some keys may be lost, never doubled."""
        return self._calls.start(operations.reserve(count), timeout_s)

    def reserve(self, count: int, *, timeout_s: float = TIMEOUT_S) -> range:
        return self._calls.ask(operations.reserve(count), timeout_s)

    async def areserve(self, count: int, *, timeout_s: float = TIMEOUT_S) -> range:
        return await aresult(self.reserve_future(count, timeout_s=timeout_s), timeout_s)

    def claim_future(
        self, pairs: Sequence[Pair], *, timeout_s: float = TIMEOUT_S
    ) -> Future[list[ClaimAnswer]]:
        """(key, after): the right to run it. `after`: the attempt whose failure produced the record, 0 for its first."""
        return self._all(operations.claim, pairs, timeout_s)

    def claim(self, pairs: Sequence[Pair], *, timeout_s: float = TIMEOUT_S) -> list[ClaimAnswer]:
        return self._ask_all(operations.claim, pairs, timeout_s)

    async def aclaim(self, pairs: Sequence[Pair], *, timeout_s: float = TIMEOUT_S) -> list[ClaimAnswer]:
        return await aresult(self.claim_future(pairs, timeout_s=timeout_s), timeout_s)

    def execute_future(
        self,
        keys: Sequence[int] | Sequence[Pair],
        *,
        outcome: Outcome | str = Outcome.DONE,
        timeout_s: float = TIMEOUT_S,
    ) -> Future[list[ExecuteAnswer]]:
        """Keys, or (key, attempt) of claimed ones, executed by majority: final. Safe to repeat."""
        return self._calls.start_all(_execute_parts(keys, outcome), timeout_s)

    def execute(
        self,
        keys: Sequence[int] | Sequence[Pair],
        *,
        outcome: Outcome | str = Outcome.DONE,
        timeout_s: float = TIMEOUT_S,
    ) -> list[ExecuteAnswer]:
        return self._calls.ask_all(_execute_parts(keys, outcome), timeout_s)

    async def aexecute(
        self,
        keys: Sequence[int] | Sequence[Pair],
        *,
        outcome: Outcome | str = Outcome.DONE,
        timeout_s: float = TIMEOUT_S,
    ) -> list[ExecuteAnswer]:
        return await aresult(self.execute_future(keys, outcome=outcome, timeout_s=timeout_s), timeout_s)

    def release_future(self, pairs: Sequence[Pair], *, timeout_s: float = TIMEOUT_S) -> Future[list[bool]]:
        """(key, attempt) that was not run is free again. False: it was not this session's claim."""
        return self._all(operations.release, pairs, timeout_s)

    def release(self, pairs: Sequence[Pair], *, timeout_s: float = TIMEOUT_S) -> list[bool]:
        return self._ask_all(operations.release, pairs, timeout_s)

    async def arelease(self, pairs: Sequence[Pair], *, timeout_s: float = TIMEOUT_S) -> list[bool]:
        return await aresult(self.release_future(pairs, timeout_s=timeout_s), timeout_s)

    def fail_future(self, pairs: Sequence[Pair], *, timeout_s: float = TIMEOUT_S) -> Future[list[bool]]:
        """(key, attempt) ended in failure. Call it only when the retry record (after = attempt) is acknowledged."""
        return self._all(operations.fail, pairs, timeout_s)

    def fail(self, pairs: Sequence[Pair], *, timeout_s: float = TIMEOUT_S) -> list[bool]:
        return self._ask_all(operations.fail, pairs, timeout_s)

    async def afail(self, pairs: Sequence[Pair], *, timeout_s: float = TIMEOUT_S) -> list[bool]:
        return await aresult(self.fail_future(pairs, timeout_s=timeout_s), timeout_s)

    def doubt_future(
        self, keys: Sequence[int], why: str, *, timeout_s: float = TIMEOUT_S
    ) -> Future[list[int]]:
        """Claims of this session whose check cannot tell wait for an operator -> those that were this session's."""
        return self._all(lambda part: operations.doubt(part, why), keys, timeout_s)

    def doubt(self, keys: Sequence[int], why: str, *, timeout_s: float = TIMEOUT_S) -> list[int]:
        return self._ask_all(lambda part: operations.doubt(part, why), keys, timeout_s)

    async def adoubt(self, keys: Sequence[int], why: str, *, timeout_s: float = TIMEOUT_S) -> list[int]:
        return await aresult(self.doubt_future(keys, why, timeout_s=timeout_s), timeout_s)

    def resolve_future(
        self, keys: Sequence[int], decision: Decision, *, timeout_s: float = TIMEOUT_S
    ) -> Future[list[int]]:
        """The operator's word on keys in doubt -> those that were in doubt."""
        return self._all(lambda part: operations.resolve(part, decision), keys, timeout_s)

    def resolve(self, keys: Sequence[int], decision: Decision, *, timeout_s: float = TIMEOUT_S) -> list[int]:
        return self._ask_all(lambda part: operations.resolve(part, decision), keys, timeout_s)

    async def aresolve(
        self, keys: Sequence[int], decision: Decision, *, timeout_s: float = TIMEOUT_S
    ) -> list[int]:
        return await aresult(self.resolve_future(keys, decision, timeout_s=timeout_s), timeout_s)

    def bind_future(
        self, value: str, key: int, until_ms: int, *, timeout_s: float = TIMEOUT_S
    ) -> Future[BindAnswer]:
        """The first key to claim `value` wins it until `until_ms` (since 1970) and until it is executed."""
        return self._calls.start(operations.bind(value, key, until_ms), timeout_s)

    def bind(self, value: str, key: int, until_ms: int, *, timeout_s: float = TIMEOUT_S) -> BindAnswer:
        return self._calls.ask(operations.bind(value, key, until_ms), timeout_s)

    async def abind(self, value: str, key: int, until_ms: int, *, timeout_s: float = TIMEOUT_S) -> BindAnswer:
        return await aresult(self.bind_future(value, key, until_ms, timeout_s=timeout_s), timeout_s)

    def confirm_future(self, value: str, key: int, *, timeout_s: float = TIMEOUT_S) -> Future[bool]:
        """The broker has acknowledged the record of `key`. False: `value` is not bound to it any more."""
        return self._calls.start(operations.confirm(value, key), timeout_s)

    def confirm(self, value: str, key: int, *, timeout_s: float = TIMEOUT_S) -> bool:
        return self._calls.ask(operations.confirm(value, key), timeout_s)

    async def aconfirm(self, value: str, key: int, *, timeout_s: float = TIMEOUT_S) -> bool:
        return await aresult(self.confirm_future(value, key, timeout_s=timeout_s), timeout_s)

    def cancel_future(
        self, keys: Sequence[int], *, timeout_s: float = TIMEOUT_S
    ) -> Future[list[CancelAnswer]]:
        """Keys that nobody has claimed become executed, with outcome cancelled."""
        return self._all(operations.cancel, keys, timeout_s)

    def cancel(self, keys: Sequence[int], *, timeout_s: float = TIMEOUT_S) -> list[CancelAnswer]:
        return self._ask_all(operations.cancel, keys, timeout_s)

    async def acancel(self, keys: Sequence[int], *, timeout_s: float = TIMEOUT_S) -> list[CancelAnswer]:
        return await aresult(self.cancel_future(keys, timeout_s=timeout_s), timeout_s)

    def command_future(self, fields: Sequence[Any], *, timeout_s: float = TIMEOUT_S) -> Future[Any]:
        """A command of one of the service's `tables`, `[opcode, ...]` -> its answer. After `OutcomeUnknown` it may be applied later."""
        return self._calls.start(operations.command(fields), timeout_s)

    def command(self, fields: Sequence[Any], *, timeout_s: float = TIMEOUT_S) -> Any:
        return self._calls.ask(operations.command(fields), timeout_s)

    async def acommand(self, fields: Sequence[Any], *, timeout_s: float = TIMEOUT_S) -> Any:
        return await aresult(self.command_future(fields, timeout_s=timeout_s), timeout_s)

    def barrier_future(self, *, timeout_s: float = TIMEOUT_S) -> Future[None]:
        """Afterwards the local replica shows all that was committed before the call."""
        return self._calls.start(operations.barrier(), timeout_s)

    def barrier(self, *, timeout_s: float = TIMEOUT_S) -> None:
        self._calls.ask(operations.barrier(), timeout_s)

    async def abarrier(self, *, timeout_s: float = TIMEOUT_S) -> None:
        await aresult(self.barrier_future(timeout_s=timeout_s), timeout_s)

    def repeat_future(self, call_id: str, *, timeout_s: float = TIMEOUT_S) -> Future[Any]:
        """The very call that ended in `OutcomeUnknown` with this id, and its answer: it takes effect once, however often."""
        return self._calls.repeat(call_id, timeout_s)

    def repeat(self, call_id: str, *, timeout_s: float = TIMEOUT_S) -> Any:
        return result(self.repeat_future(call_id, timeout_s=timeout_s), timeout_s)

    async def arepeat(self, call_id: str, *, timeout_s: float = TIMEOUT_S) -> Any:
        return await aresult(self.repeat_future(call_id, timeout_s=timeout_s), timeout_s)

    def _ask_all(
        self,
        operation: Callable[[Sequence[Key]], Operation[list[Item]]],
        keys: Sequence[Key],
        timeout_s: float,
    ) -> list[Item]:
        return self._calls.ask_all([operation(part) for part in _cut(keys)], timeout_s)

    def _all(
        self,
        operation: Callable[[Sequence[Key]], Operation[list[Item]]],
        keys: Sequence[Key],
        timeout_s: float,
    ) -> Future[list[Item]]:
        return self._calls.start_all([operation(part) for part in _cut(keys)], timeout_s)


def _execute_parts(
    keys: Sequence[int] | Sequence[Pair], outcome: Outcome | str
) -> list[Operation[list[ExecuteAnswer]]]:
    cut: list[Any] = _cut(keys)  # a slice of either kind is of that kind
    return [operations.execute(part, outcome) for part in cut]


def _cut(keys: Sequence[Key]) -> list[Sequence[Key]]:
    return [keys[start : start + OPERATION_KEYS_MAX] for start in range(0, len(keys), OPERATION_KEYS_MAX)]
