"""Delayed tasks from rung to rung to the topic of their lane: a pure core.

    read of a rung -> its wait is not over -> Pause until it is; nothing of it is remembered but the hour
                   -> due in 15 s or more  -> Move to the next rung
                   -> due sooner           -> heap
    read of `near` -> heap
    heap -> due -> Move to the topic of its lane
    Move -> (kept) -> its offset completes

An offset completes only when Kafka has acknowledged the record's next place, so whatever is cut off is read again by the next owner; in the
heap, too, a task still stands in Kafka. Doubles have one key and one attempt, so they are told apart where they run. Keys that are executed
by now (cancelled, mostly) go nowhere: their offsets just complete.

Memory is bounded: one hour for each partition of a rung, the heap, and what was sent and is not acknowledged. At any of these bounds, and
at a head that is not to leave yet, a partition *sleeps*: it is paused, and what was read of it beyond is read again when it goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cluster.delay.delayed import Delayed, decode_delayed
from cluster.delay.due_heap import DueHeap
from cluster.delay.ladder import NEAR_S, leaves_ms, rung_s
from cluster.envelope import decode_key
from cluster.errors import RecordError
from cluster.kafka.offsets import OffsetWindow

TOGETHER_MS = 250  # heads that leave so soon leave now: pausing throws away what was read ahead
MOVES_MAX = 10_000  # records sent and not acknowledged
OPEN_OFFSETS_MAX = 200_000  # a partition; the heap may hold all of them
AGAIN_MS = 200  # between two tries to go on
ROOM_AGAIN_MS = 20  # between two looks for room


class Spot(NamedTuple):
    """A partition of the ladder. `assignment` numbers its ownership: only it may complete offsets."""

    topic: str
    partition: int
    assignment: int


class Read(NamedTuple):
    """A record as it was read. `placed_ms`: by the clock of the node that placed it."""

    offset: int
    placed_ms: int
    key: bytes | None
    value: bytes | None


class Step(NamedTuple):
    """A record on its way to its next place."""

    spot: Spot
    offset: int
    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Duty: written to `topic`, acknowledged by all, then `kept`; tried again until then, unless its spot was revoked."""

    topic: str
    steps: Sequence[Step]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Nothing more is wanted of it for now."""

    spot: Spot


@dataclass(frozen=True, slots=True, kw_only=True)
class GoOn:
    """Read it on from `offset`, paused or not."""

    spot: Spot
    offset: int


Instruction = Move | Pause | GoOn


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where tasks go. `lane(task)`: topic of a task that is due; raises `RecordError` if it is no task. `rung(wait_s)`: topic of a
    rung. `dead(reason, value)`: topic and bytes of a record that is none."""

    lane: Callable[[Delayed], str]
    rung: Callable[[int], str]
    dead: Callable[[str, bytes], tuple[str, bytes]]


@dataclass(slots=True)
class _Partition:
    """`wait_s` None: the near topic. `next`: the offset that is expected. `wakes_ms`: while it sleeps."""

    wait_s: int | None
    window: OffsetWindow = field(default_factory=OffsetWindow)
    next: int | None = None
    wakes_ms: int | None = None
    gap: tuple[int, int] | None = None  # the last one: (expected, met)


class _Waiting(NamedTuple):
    step: Step
    delayed: Delayed


class DelayFlow:
    """`executed(keys)`: which of them stand in the executed set."""

    def __init__(
        self,
        places: Places,
        *,
        executed: Callable[[Sequence[int]], list[bool]],
        heap: DueHeap[_Waiting] | None = None,
    ) -> None:
        self._places, self._executed = places, executed
        self._heap: DueHeap[_Waiting] = DueHeap() if heap is None else heap
        self._partitions: dict[Spot, _Partition] = {}
        self._moving = 0
        self.counters = dict.fromkeys(("fired", "climbed", "dropped", "undecodable"), 0)

    @property
    def near(self) -> int:
        """How many wait for their last stretch here."""
        return len(self._heap)

    @property
    def moving(self) -> int:
        return self._moving

    def spots(self) -> list[Spot]:
        return list(self._partitions)

    def next_ms(self) -> int | None:
        """When `tick` is next of use."""
        hours = [each.wakes_ms for each in self._partitions.values() if each.wakes_ms is not None]
        if self._heap.next_ms is not None:
            hours.append(self._heap.next_ms)
        return min(hours, default=None)

    def assigned(self, spot: Spot, wait_s: int | None) -> None:
        self._partitions[spot] = _Partition(wait_s)

    def revoked(self, spot: Spot) -> None:
        """What it held is the next owner's, who reads it again."""
        if self._partitions.pop(spot, None) is not None:
            self._heap.drop(lambda waiting: waiting.step.spot == spot)

    def is_asleep(self, spot: Spot) -> bool:
        partition = self._partitions.get(spot)
        return partition is not None and partition.wakes_ms is not None

    def read(self, spot: Spot, records: Sequence[Read], now_ms: int) -> list[Instruction]:
        """Records of one partition, in order."""
        partition = self._partitions.get(spot)
        if partition is None or partition.wakes_ms is not None:
            return []  # what was on its way when it fell asleep is read again
        steps: list[tuple[Step, Delayed]] = []
        out: list[Instruction] = []
        for record in records:
            expected = partition.next
            if expected is not None and record.offset < expected:
                continue
            if (
                expected is not None
                and record.offset > expected
                and partition.gap != (expected, record.offset)
            ):
                # What was read before a seek took effect must not make others be passed over; the same gap again is a hole.
                partition.gap = expected, record.offset
                out.append(GoOn(spot=spot, offset=expected))
                break
            step = Step(spot, record.offset, record.key or b"", record.value or b"")
            delayed = self._decoded(step)
            wakes_ms = self._wakes_ms(partition, record, delayed, len(steps), now_ms)
            if wakes_ms is not None:
                partition.next, partition.wakes_ms = record.offset, wakes_ms
                out.append(Pause(spot=spot))
                break
            partition.window.deliver([record.offset])
            partition.next = record.offset + 1
            if isinstance(delayed, RecordError):
                out.append(self._dead(step, delayed))
            elif delayed.due_ms - now_ms < NEAR_S * 1000:
                self._heap.push(delayed.due_ms, _Waiting(step, delayed), len(step.value))
            else:
                steps.append((step, delayed))
        return [*out, *self._climb(steps, now_ms)]

    def tick(self, now_ms: int) -> list[Instruction]:
        """Fires what is due, wakes who sleeps."""
        due = self._heap.pop(now_ms, max(0, MOVES_MAX - self._moving))
        open_steps = self._without_executed([(waiting.step, waiting.delayed) for waiting in due])
        self.counters["fired"] += len(open_steps)
        moves = self._moves(
            (self._places.lane(delayed), step._replace(value=delayed.value)) for step, delayed in open_steps
        )
        out: list[Instruction] = [*moves]
        for spot, partition in self._partitions.items():
            if partition.wakes_ms is not None and partition.wakes_ms <= now_ms:
                if self._has_room(partition, 0):
                    partition.wakes_ms = None
                    assert partition.next is not None
                    out.append(GoOn(spot=spot, offset=partition.next))
                else:
                    partition.wakes_ms = now_ms + ROOM_AGAIN_MS
        return out

    def put_off(self, spot: Spot, now_ms: int) -> None:
        """It could not go on: asked again soon."""
        partition = self._partitions.get(spot)
        if partition is not None:
            partition.wakes_ms = now_ms + AGAIN_MS

    def kept(self, steps: Iterable[Step]) -> None:
        """Kafka has them in their next place."""
        for step in steps:
            self._moving -= 1
            self._complete(step)

    def is_wanted(self, step: Step) -> bool:
        """False: its spot was revoked; what was not acknowledged is left to the next owner. Then it counts as moving no more."""
        if step.spot in self._partitions:
            return True
        self._moving -= 1
        return False

    def to_commit(self) -> list[tuple[Spot, int]]:
        """Offsets that have moved since the last `committed`."""
        found = [(spot, partition.window.to_commit()) for spot, partition in self._partitions.items()]
        return [(spot, offset) for spot, offset in found if offset is not None]

    def committed(self, spot: Spot, offset: int | None) -> None:
        """None: it was not, it is to be committed again."""
        partition = self._partitions.get(spot)
        if partition is not None:
            partition.window.committed = offset

    def _decoded(self, step: Step) -> Delayed | RecordError:
        try:
            decode_key(step.key)
            delayed = decode_delayed(step.value)
            self._places.lane(delayed)
        except RecordError as error:
            return error
        return delayed

    def _wakes_ms(
        self, partition: _Partition, record: Read, delayed: Delayed | RecordError, more: int, now_ms: int
    ) -> int | None:
        """When to look at it again; None: now is the time. Clocks differ: a head that is due waits for nothing."""
        if partition.wait_s is not None and not isinstance(delayed, RecordError):
            leaves = min(leaves_ms(partition.wait_s, record.placed_ms), delayed.due_ms)
            if leaves > now_ms + TOGETHER_MS:
                return leaves
        return None if self._has_room(partition, more) else now_ms + ROOM_AGAIN_MS

    def _has_room(self, partition: _Partition, more: int) -> bool:
        return (
            not self._heap.is_full
            and self._moving + more < MOVES_MAX
            and len(partition.window) < OPEN_OFFSETS_MAX
        )

    def _climb(self, steps: Sequence[tuple[Step, Delayed]], now_ms: int) -> list[Move]:
        open_steps = self._without_executed(steps)
        self.counters["climbed"] += len(open_steps)
        return self._moves(
            (self._places.rung(rung_s(delayed.due_ms - now_ms) or NEAR_S), step)
            for step, delayed in open_steps
        )

    def _without_executed(self, steps: Sequence[tuple[Step, Delayed]]) -> list[tuple[Step, Delayed]]:
        """The others' offsets complete."""
        if not steps:
            return []
        executed = self._executed([decode_key(step.key) for step, _ in steps])
        for (step, _), is_executed in zip(steps, executed, strict=True):
            if is_executed:
                self.counters["dropped"] += 1
                self._complete(step)
        return [each for each, is_executed in zip(steps, executed, strict=True) if not is_executed]

    def _moves(self, steps: Iterable[tuple[str, Step]]) -> list[Move]:
        by_topic: dict[str, list[Step]] = {}
        for topic, step in steps:
            self._moving += 1
            by_topic.setdefault(topic, []).append(step)
        return [Move(topic=topic, steps=group) for topic, group in by_topic.items()]

    def _dead(self, step: Step, error: RecordError) -> Move:
        self.counters["undecodable"] += 1
        topic, value = self._places.dead(str(error), step.value)
        self._moving += 1
        return Move(topic=topic, steps=[step._replace(value=value)])

    def _complete(self, step: Step) -> None:
        partition = self._partitions.get(step.spot)
        if partition is not None:
            partition.window.complete([step.offset])
