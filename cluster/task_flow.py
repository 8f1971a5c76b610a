"""One task from record to completed offset, at-least-once: a pure core.

    Delivered -> Run -> (Ran) -> Store?  -> (Stored) -> Mark -> (Marked) -> Complete

The order is the promise. A result or a dead record is acknowledged by Kafka before the key is marked; the mark is
committed by a majority before the offset completes. Whatever is cut off in between is delivered again, and the executed
set tells what had been finished. A second record of a key in flight is never dispatched: it completes with the first.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, assert_never

DEATHS_MAX = 3  # a task whose worker died this often on this node is taken for poison and goes to `.dead`


class Position(NamedTuple):
    """Where a record was read. `assignment` numbers the ownership of the partition: only it may complete the offset."""

    lane: str
    topic: str
    partition: int
    offset: int
    assignment: int


class Ending(enum.Enum):
    """How a run ended, in the words that decide what happens next."""

    DONE = "done"
    FAILED = "failed"
    DIED = "died"  # its worker died: run again, up to DEATHS_MAX
    RETURNED = "returned"  # never started: run again, uncounted


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """A decoded record. `executed`: the key stood in the executed set when it was read (behind the barrier)."""

    key: int
    handler: str
    arguments: bytes
    value: bytes
    position: Position
    executed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecodable:
    """A record that is no task. Its bytes go to `.dead`; no key is marked, as nobody knows that the key is its own."""

    raw_key: bytes
    value: bytes
    reason: str
    position: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    key: int
    ending: Ending
    result: bytes | None = None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Kafka acknowledged the result or the dead record of `key`."""

    key: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    keys: Sequence[int]


Event = Delivered | Undecodable | Ran | Stored | Marked


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    key: int
    attempt: int
    handler: str
    arguments: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreResult:
    """Duty: report `Stored` only after the broker's acknowledgement; try again until then."""

    key: int
    result: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreDead:
    """Duty as `StoreResult`. With `complete` set there is no key to mark: complete that position once stored."""

    key: int | None
    raw_key: bytes
    value: bytes
    reason: str
    complete: Position | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Duty: report `Marked` only when the mark is committed by majority; propose again until then."""

    key: int
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete:
    position: Position


Instruction = Run | StoreResult | StoreDead | Mark | Complete


@dataclass(slots=True, kw_only=True)
class _InFlight:
    handler: str
    arguments: bytes
    value: bytes
    positions: list[Position]
    attempt: int = 1
    deaths: int = 0
    ended: Ending | None = None


@dataclass(slots=True)
class TaskFlow:
    """All tasks that this node has read and not completed, by key. Bounded by what the consumers deliver."""

    in_flight: dict[int, _InFlight] = field(default_factory=dict)

    def handle(self, event: Event) -> list[Instruction]:
        match event:
            case Delivered():
                return self._delivered(event)
            case Undecodable():
                return [
                    StoreDead(
                        key=None,
                        raw_key=event.raw_key,
                        value=event.value,
                        reason=event.reason,
                        complete=event.position,
                    )
                ]
            case Ran():
                return self._ran(event)
            case Stored():
                return self._stored(event.key)
            case Marked():
                return [
                    Complete(position=position)
                    for key in event.keys
                    if (task := self.in_flight.pop(key, None)) is not None
                    for position in task.positions
                ]
            case _:
                assert_never(event)

    def _delivered(self, event: Delivered) -> list[Instruction]:
        known = self.in_flight.get(event.key)
        if known is not None:
            known.positions.append(event.position)
            return []
        if event.executed:
            return [Complete(position=event.position)]
        self.in_flight[event.key] = _InFlight(
            handler=event.handler, arguments=event.arguments, value=event.value, positions=[event.position]
        )
        return [Run(key=event.key, attempt=1, handler=event.handler, arguments=event.arguments)]

    def _ran(self, event: Ran) -> list[Instruction]:
        task = self.in_flight.get(event.key)
        if task is None or task.ended is not None:
            return []  # a second answer for a run that has ended: the first one counts
        match event.ending:
            case Ending.DONE:
                task.ended = Ending.DONE
                if event.result is not None:
                    return [StoreResult(key=event.key, result=event.result)]
                return [Mark(key=event.key, outcome="done")]
            case Ending.FAILED:
                return [self._dead(event.key, task, event.error)]
            case Ending.DIED:
                task.deaths += 1
                if task.deaths >= DEATHS_MAX:
                    return [
                        self._dead(event.key, task, f"its worker died {task.deaths} times: {event.error}")
                    ]
                task.attempt += 1
                return [self._again(event.key, task)]
            case Ending.RETURNED:
                return [self._again(event.key, task)]
            case _:
                assert_never(event.ending)

    def _again(self, key: int, task: _InFlight) -> Run:
        return Run(key=key, attempt=task.attempt, handler=task.handler, arguments=task.arguments)

    def _dead(self, key: int, task: _InFlight, reason: str) -> StoreDead:
        task.ended = Ending.FAILED
        return StoreDead(key=key, raw_key=b"", value=task.value, reason=reason)

    def _stored(self, key: int) -> list[Instruction]:
        task = self.in_flight.get(key)
        if task is None or task.ended is None:
            return []
        return [Mark(key=key, outcome="done" if task.ended is Ending.DONE else "dead")]
