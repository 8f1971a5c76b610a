"""Tasks from record to completed offset, at-least-once: a pure core.

    Delivered -> Run -> (Done or Ran) -> Store? -> (Stored) -> Mark -> (Marked) -> Complete
    Delivered -> Forward -> (Stored) -> Complete          parked, or written into the right lane
    Delivered -> Mark -> (Marked) -> Complete             purged
    Run -> (Ran: failed) -> Forward -> (Stored) -> Complete    to the delay ladder; it comes again as a retry
    Run -> (Ran: failed) -> StoreDead -> (Stored) -> Mark -> (Marked) -> Complete    no more retries

The order is the promise. A result, a dead record or a forwarded copy is acknowledged by Kafka before anything that relies on it; the mark
is committed by a majority before the offset completes. Whatever is cut off in between is delivered again, and the executed set tells what
had been finished. A second record of a key in flight is never dispatched: it completes with the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby, repeat
from operator import itemgetter
from typing import assert_never

from cluster.envelope import Envelope, decode_envelope
from cluster.flow_events import (
    Complete,
    Delivered,
    Done,
    Drop,
    Ending,
    Event,
    Forward,
    Instruction,
    Mark,
    Marked,
    Place,
    Ran,
    Run,
    StoreCopy,
    Stored,
    StoreDead,
    StoreResults,
    Undecodable,
    Way,
)
from cluster.routing import PRIORITIES
from executor import Level, Task

LEVELS = dict(zip(PRIORITIES, map(int, (Level.HIGH, Level.NORMAL, Level.LOW)), strict=True))


_task = tuple.__new__  # (Task, fields): what Task._make does, at half the price
Entry = tuple[Place, int, bytes]  # where it was read, its offset, its bytes


class TaskFlow:
    """All tasks that this node has read and not completed, by key. Bounded by what the consumers deliver."""

    def __init__(self) -> None:
        self._running: dict[int, Entry] = {}
        self._ended: dict[int, Entry] = {}  # not to run any more: a produce or a mark is on its way
        self._after_store: dict[int, str | None] = {}  # the outcome to mark; None: complete without a mark
        self._doubles: dict[int, list[tuple[Place, int]]] = {}  # further records of keys in flight
        self.held_bytes = 0  # of records

    def __len__(self) -> int:
        return len(self._running) + len(self._ended)

    def is_running(self, key: int) -> bool:
        return key in self._running

    def running(self) -> list[int]:
        """Keys that run or wait to, longest first. Any thread: one atomic copy."""
        return list(self._running)

    def record(self, key: int) -> tuple[Place, bytes, Envelope] | None:
        """Of a task that runs, or waits to."""
        entry = self._running.get(key)
        return None if entry is None else (entry[0], entry[2], decode_envelope(entry[2]))

    def handle(self, event: Event) -> list[Instruction]:
        match event:
            case Delivered():
                return self._delivered(event)
            case Done():
                return self._done(event)
            case Marked():
                return self._complete(event.keys)
            case Ran():
                return self._ran(event)
            case Stored():
                return self._stored(event.keys)
            case Undecodable():
                offset = Complete(place=event.place, offsets=[event.offset])
                return [
                    StoreDead(
                        key=None,
                        raw_key=event.raw_key,
                        value=event.value,
                        reason=event.reason,
                        complete=offset,
                    )
                ]
            case _:
                assert_never(event)

    def _delivered(self, event: Delivered) -> list[Instruction]:
        keys = event.keys
        entries = zip(repeat(event.place), event.offsets, event.values)
        handlers, kinds, arguments, _ = event.columns
        rows = zip(keys, keys, repeat(1), handlers, arguments, kinds, repeat(LEVELS[event.place.priority]))
        if not (event.executed or event.ways or event.afters) and self._are_new(keys):
            self._running.update(zip(keys, entries, strict=True))
            self.held_bytes += sum(map(len, event.values))
            return [Run(tasks=list(map(_task, repeat(Task), rows)))]
        tasks: list[Task] = []
        passed: list[int] = []
        instructions: list[Instruction] = []
        for key, entry, row in zip(keys, entries, rows, strict=True):
            if key in self._running or key in self._ended:
                self._doubles.setdefault(key, []).append(entry[:2])
            elif key in event.executed:
                passed.append(entry[1])
            elif (way := event.ways.get(key)) is not None:
                self.held_bytes += len(entry[2])
                instructions.append(self._send_away(key, entry, way))
            else:
                self.held_bytes += len(entry[2])
                self._running[key] = entry
                after = event.afters.get(key, 0)
                tasks.append(Task._make(row)._replace(attempt=after + 1) if after else Task._make(row))
        if passed:
            instructions.append(Complete(place=event.place, offsets=passed))
        return [*instructions, Run(tasks=tasks)] if tasks else instructions

    def _are_new(self, keys: Sequence[int]) -> bool:
        return (
            self._running.keys().isdisjoint(keys)
            and self._ended.keys().isdisjoint(keys)
            and len(set(keys)) == len(keys)
        )

    def _send_away(self, key: int, entry: Entry, way: Way) -> Instruction:
        self._ended[key] = entry
        match way:
            case Forward():
                self._after_store[key] = None
                return StoreCopy(key=key, topic=way.topic, value=way.value)
            case Drop():
                return Mark(keys=[key], outcome="cancelled")
            case _:
                assert_never(way)

    def _done(self, event: Done) -> list[Instruction]:
        keys, results = event.keys, event.results
        entries = list(map(self._running.pop, keys, repeat(None)))
        if None in entries:  # a second answer for a run that has ended: the first one counts
            known = [place for place, entry in enumerate(entries) if entry is not None]
            keys, results = [keys[place] for place in known], [results[place] for place in known if results]
            entries = [entries[place] for place in known]
            if not keys:
                return []
        self._ended.update(zip(keys, entries, strict=True))  # type: ignore[arg-type]
        if not results:
            return [Mark(keys=keys, outcome="done")]
        self._after_store.update(zip(keys, repeat("done")))
        return [StoreResults(keys=keys, results=results)]

    def _ran(self, event: Ran) -> list[Instruction]:
        key = event.key
        entry = self._running.get(key)
        if entry is None:
            return []
        match event.ending:
            case Ending.FAILED | Ending.DIED:
                if event.way is None:
                    return [self._dead(key, entry, event)]
                del self._running[key]
                return [self._send_away(key, entry, event.way)]
            case Ending.CANCELLED:
                del self._running[key]
                return [self._send_away(key, entry, Drop())]
            case Ending.LOST:
                return [self._again(key, entry)]
            case Ending.RETURNED if event.way is not None:
                del self._running[key]
                return [self._send_away(key, entry, event.way)]
            case Ending.RETURNED:
                return [self._again(key, entry)]
            case _:
                assert_never(event.ending)

    def _again(self, key: int, entry: Entry) -> Run:
        place, _, value = entry
        envelope = decode_envelope(value)
        return Run(
            tasks=[
                Task(
                    seq=key,
                    key=key,
                    attempt=envelope.after + 1,
                    handler=envelope.handler,
                    arguments=envelope.arguments,
                    kind=envelope.kind,
                    level=LEVELS[place.priority],
                )
            ]
        )

    def _dead(self, key: int, entry: Entry, event: Ran) -> StoreDead:
        self._ended[key] = self._running.pop(key)
        self._after_store[key] = "dead"
        return StoreDead(
            key=key,
            raw_key=b"",
            value=entry[2],
            reason=event.error,
            attempts=event.attempts,
            topic=entry[0].topic,
        )

    def _stored(self, keys: Iterable[int]) -> list[Instruction]:
        marks: dict[str, list[int]] = {}
        forwarded: list[int] = []
        for key in keys:
            if key in self._after_store:
                outcome = self._after_store.pop(key)
                (forwarded if outcome is None else marks.setdefault(outcome, [])).append(key)
        instructions: list[Instruction] = [
            Mark(keys=keys, outcome=outcome) for outcome, keys in marks.items()
        ]
        return [*self._complete(forwarded), *instructions]

    def _complete(self, keys: Sequence[int]) -> list[Instruction]:
        entries = [entry for entry in map(self._ended.pop, keys, repeat(None)) if entry is not None]
        self.held_bytes -= sum(len(entry[2]) for entry in entries)
        instructions: list[Instruction] = [
            Complete(place=place, offsets=[entry[1] for entry in group])
            for place, group in groupby(entries, itemgetter(0))
        ]
        if self._doubles:
            for key in keys:
                for place, offset in self._doubles.pop(key, ()):
                    instructions.append(Complete(place=place, offsets=[offset]))
        return instructions
