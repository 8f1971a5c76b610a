"""Instructions to the ledger on their way: gathered, sent as few calls, asked again until their answers are known (pure).

Somebody waits for a claim and for a release, so they leave at once, unless so many calls are open that the next answer soon makes room.
For the others only an offset waits: they gather for ten milliseconds, as marks do (`marking.py`).

A call whose outcome is unknown is repeated under its id. Where the ledger has forgotten even that, and after a refusal, it is asked anew:
each of these calls may take effect a second time without harm, and what a second answer says is true when it is given.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, assert_never

from cluster.claims.events import Claimed, DoubtAnswered, Event, Executed, FailAnswered, ReleaseAnswered
from cluster.claims.instructions import Claim, Doubt, Execute, ExecuteUnclaimed, Fail, Pair, Release
from consensus import (
    Claim as Entry,
)
from consensus import (
    ClaimAnswer,
    ClaimKind,
    ClaimState,
    ConsensusError,
    ExecuteAnswer,
    OutcomeUnknown,
)

CALL_KEYS_MAX = 4096  # what one operation of the ledger takes
CALLS_IN_FLIGHT_MAX = 4  # of each sort
GATHER_S = 0.010
AGAIN_S = 0.2  # after a call that got no answer

Asked = Claim | Release | Fail | Execute | ExecuteUnclaimed | Doubt


class Ledger(Protocol):
    """What is needed of `KeyService`."""

    def claim_future(self, pairs: Sequence[Pair]) -> Future[list[ClaimAnswer]]: ...
    def release_future(self, pairs: Sequence[Pair]) -> Future[list[bool]]: ...
    def fail_future(self, pairs: Sequence[Pair]) -> Future[list[bool]]: ...
    def execute_future(
        self, keys: Sequence[int] | Sequence[Pair], *, outcome: str
    ) -> Future[list[ExecuteAnswer]]: ...
    def doubt_future(self, keys: Sequence[int], why: str) -> Future[list[int]]: ...
    def repeat_future(self, call_id: str) -> Future[Any]: ...
    def claim_of(self, key: int) -> Entry | None: ...


class Sort(enum.Enum):
    CLAIM = "claim"
    RELEASE = "release"
    FAIL = "fail"
    EXECUTE = "execute"
    EXECUTE_UNCLAIMED = "execute unclaimed"
    DOUBT = "doubt"


AT_ONCE = (Sort.CLAIM, Sort.RELEASE)
Queue = tuple[Sort, str]  # and the outcome, or why


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    queue: Queue
    pairs: Sequence[Pair]  # (key, after) or (key, attempt)

    def keys(self) -> list[int]:
        return [key for key, _ in self.pairs]


class Asking:
    """`heard()` is called by any thread when an answer has come that somebody waits for. What is gathered is bounded by what is in flight.

    `repeats` counts calls that were asked again."""

    def __init__(self, ledger: Ledger, heard: Callable[[], None]) -> None:
        self._ledger, self._heard = ledger, heard
        self._gathered: dict[Queue, list[Pair]] = {}
        self._open: dict[Queue, int] = {}  # calls in flight
        self._due: dict[Queue, float] = {}
        self._answered: deque[tuple[_Call, Future[Any]]] = deque()  # filled by any thread
        self._again: list[tuple[float, _Call, str]] = []
        self.repeats = 0

    def add(self, instruction: Asked) -> None:
        match instruction:
            case Claim(pairs=pairs):
                self._gather((Sort.CLAIM, ""), pairs)
            case Release(pairs=pairs):
                self._gather((Sort.RELEASE, ""), pairs)
            case Fail(pairs=pairs):
                self._gather((Sort.FAIL, ""), pairs)
            case Execute(pairs=pairs, outcome=outcome):
                self._gather((Sort.EXECUTE, outcome), pairs)
            case ExecuteUnclaimed(keys=keys, outcome=outcome):
                self._gather((Sort.EXECUTE_UNCLAIMED, outcome), [(key, 0) for key in keys])
            case Doubt(key=key, why=why):
                self._gather((Sort.DOUBT, why), [(key, 0)])
            case _:
                assert_never(instruction)

    def wait_s(self, now: float, longest_s: float) -> float:
        """Until `send` has something to do, or answers that wake nobody are looked for."""
        if any(self._open.values()):
            longest_s = min(longest_s, GATHER_S)
        hours = [self._due.get(queue, now) for queue in self._gathered if self._has_room(queue)]
        hours += [at for at, _, _ in self._again]
        return min([longest_s, *(max(0.0, at - now) for at in hours)])

    def send(self, now: float) -> None:
        if self._again:
            due = [entry for entry in self._again if entry[0] <= now]
            self._again = [entry for entry in self._again if entry[0] > now]
            for _, call, call_id in due:
                self._follow(call, self._ledger.repeat_future(call_id))
        self._due = {queue: at for queue, at in self._due.items() if at > now}
        for queue in list(self._gathered):
            if self._due.get(queue, now) <= now:
                self._send(queue, now)

    def events(self, now: float) -> list[Event]:
        """What was answered since the last call. Raises what no caller of the ledger expects."""
        events: list[Event] = []
        while self._answered:
            call, future = self._answered.popleft()
            self._open[call.queue] -= 1
            if not self._open[call.queue]:
                del self._open[call.queue]
            error = future.exception()
            if error is None:
                events.append(self._event(call, future.result()))
            elif isinstance(error, OutcomeUnknown) and error.call_id is not None:
                self.repeats += 1
                self._again.append((now + AGAIN_S, call, error.call_id))
            elif isinstance(error, ConsensusError):
                self.repeats += 1
                self._gather(call.queue, call.pairs)
                self._due[call.queue] = now + AGAIN_S
            else:
                raise error
        return events

    def _gather(self, queue: Queue, pairs: Sequence[Pair]) -> None:
        self._gathered.setdefault(queue, []).extend(pairs)

    def _send(self, queue: Queue, now: float) -> None:
        pairs = self._gathered[queue]
        while pairs and self._has_room(queue):
            call = _Call(queue=queue, pairs=pairs[:CALL_KEYS_MAX])
            del pairs[: len(call.pairs)]
            self._follow(call, self._start(call))
        if not pairs:
            del self._gathered[queue]
        if queue[0] not in AT_ONCE:
            self._due[queue] = now + GATHER_S

    def _has_room(self, queue: Queue) -> bool:
        return self._open.get(queue, 0) < CALLS_IN_FLIGHT_MAX

    def _start(self, call: _Call) -> Future[Any]:
        sort, detail = call.queue
        match sort:
            case Sort.CLAIM:
                return self._ledger.claim_future(call.pairs)
            case Sort.RELEASE:
                return self._ledger.release_future(call.pairs)
            case Sort.FAIL:
                return self._ledger.fail_future(call.pairs)
            case Sort.EXECUTE:
                return self._ledger.execute_future(call.pairs, outcome=detail)
            case Sort.EXECUTE_UNCLAIMED:
                return self._ledger.execute_future(call.keys(), outcome=detail)
            case Sort.DOUBT:
                return self._ledger.doubt_future(call.keys(), detail)
            case _:
                assert_never(sort)

    def _follow(self, call: _Call, future: Future[Any]) -> None:
        self._open[call.queue] = self._open.get(call.queue, 0) + 1
        future.add_done_callback(partial(self._done, call))

    def _done(self, call: _Call, future: Future[Any]) -> None:
        self._answered.append((call, future))
        if call.queue[0] in AT_ONCE:
            self._heard()

    def _event(self, call: _Call, answers: Any) -> Event:
        keys = call.keys()
        sort = call.queue[0]
        match sort:
            case Sort.CLAIM:
                return Claimed(keys=keys, answers=answers, doubted=self._doubted(keys, answers))
            case Sort.RELEASE:
                return ReleaseAnswered(keys=keys, owns=answers)
            case Sort.FAIL:
                return FailAnswered(keys=keys, owns=answers)
            case Sort.EXECUTE | Sort.EXECUTE_UNCLAIMED:
                return Executed(keys=keys, answers=answers)
            case Sort.DOUBT:
                return DoubtAnswered(keys=keys, doubted=set(answers))
            case _:
                assert_never(sort)

    def _doubted(self, keys: Sequence[int], answers: Sequence[ClaimAnswer]) -> set[int]:
        """Few are held. The replica that answered is this node's own, so it shows at least what the answer was made from."""
        held = [key for key, answer in zip(keys, answers, strict=True) if answer.kind is ClaimKind.HELD]
        entries = [entry for entry in map(self._ledger.claim_of, held) if entry is not None]
        return {entry.key for entry in entries if entry.state is ClaimState.IN_DOUBT}
