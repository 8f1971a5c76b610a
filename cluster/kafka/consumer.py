"""One lane's records: a consumer of its three topics in a polling thread of its own (shell).

The thread never runs a handler and never stops polling. It delivers only what there is room for; while a partition that was
just assigned awaits its barrier (so that every mark of the former owner is visible here) its records are stashed. Completed
offsets come back through a queue and are committed up to the low watermark, by the assignment that delivered them.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from cluster.kafka.confluent import read_place
from cluster.kafka.offsets import OffsetWindow
from cluster.task_flow import Position

FETCH_RECORDS_MAX = 500
OPEN_OFFSETS_MAX = 10_000  # a partition; EXECUTOR.md's bound
COMMIT_EVERY_S = 0.2
STASH_RECORDS_MAX = 2_000
DRAIN_POLL_S = 0.005
REVOKE_DRAIN_S = 1.0  # twice the work that the executor holds; what is open after it may run again elsewhere


class RawRecord(NamedTuple):
    key: bytes
    value: bytes | None
    position: Position


class _Assignment:
    __slots__ = ("number", "window")

    def __init__(self, number: int) -> None:
        self.number = number
        self.window = OffsetWindow()


class LaneConsumer:
    """`room()` says how many records may be delivered now; `deliver` takes them (it must only queue);
    `barrier(timeout_s)` is False while the local replica may lag; `failed(error)` hears of this thread's death."""

    def __init__(
        self,
        consumer: Consumer,
        lane: str,
        topics: Sequence[str],
        *,
        room: Callable[[], int],
        deliver: Callable[[list[RawRecord]], None],
        barrier: Callable[[float], bool],
        failed: Callable[[BaseException], None],
    ) -> None:
        self.lane = lane
        self._consumer = consumer
        self._topics = list(topics)
        self._room, self._deliver, self._barrier, self._failed = room, deliver, barrier, failed
        self._completed: queue.SimpleQueue[Position] = queue.SimpleQueue()
        self._assignments: dict[tuple[str, int], _Assignment] = {}
        self._numbers = 0
        self._needs_barrier = False
        self._stash: list[Message] = []
        self._stopping = threading.Event()
        self._next_commit = 0.0
        self._thread = threading.Thread(target=self._run, name=f"consumer-{lane}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def complete(self, position: Position) -> None:
        """Any thread. Takes effect only while the assignment that delivered the record still stands."""
        self._completed.put(position)

    def stop_fetching(self) -> None:
        """No further record is delivered; completions are still committed until `stop`."""
        self._room = lambda: 0

    def stop(self, timeout_s: float = 10.0) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            self._consumer.subscribe(
                self._topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
            )
            while not self._stopping.is_set():
                self._step()
            self._commit(final=True)
        except BaseException as error:
            self._failed(error)
        finally:
            self._consumer.close()

    def _step(self) -> None:
        room = 0 if self._needs_barrier or self._window_full() else self._room()
        if self._needs_barrier and self._barrier(0.5):
            self._needs_barrier = False
        if room > 0 and self._stash:
            ready, self._stash = self._stash[:room], self._stash[room:]
            self._hand_over(ready)
        elif room > 0:
            first = self._consumer.poll(0.05)
            if first is not None:
                more = self._consumer.consume(min(room, FETCH_RECORDS_MAX) - 1, 0) if room > 1 else []
                self._hand_over([first, *more])
        elif len(self._stash) < STASH_RECORDS_MAX:
            # poll() serves rebalances; what it returns without room waits in the stash, one record a step
            message = self._consumer.poll(0.005)
            if message is not None:
                self._stash.append(message)
        else:
            time.sleep(0.005)
        self._take_completions()
        if time.monotonic() >= self._next_commit:
            self._commit(final=False)

    def _window_full(self) -> bool:
        return any(len(a.window) >= OPEN_OFFSETS_MAX for a in self._assignments.values())

    def _hand_over(self, messages: Sequence[Message]) -> None:
        if self._needs_barrier:  # assigned within this very poll
            self._stash.extend(messages)
            return
        records: list[RawRecord] = []
        for message in messages:
            if message.error() is not None:
                continue  # the library reports and retries by itself; nothing was read
            topic, partition, offset = read_place(message)
            assignment = self._assignments.get((topic, partition))
            if assignment is None:
                continue  # revoked while stashed: its next owner reads it
            try:
                assignment.window.deliver(offset)
            except (
                ValueError
            ):  # the broker lost our place, the library went back: a new assignment, nothing skipped
                self._numbers += 1
                assignment = self._assignments[topic, partition] = _Assignment(self._numbers)
                assignment.window.deliver(offset)
            position = Position(self.lane, topic, partition, offset, assignment.number)
            records.append(RawRecord(message.key() or b"", message.value(), position))
        if records:
            self._deliver(records)

    def _take_completions(self) -> None:
        while True:
            try:
                position = self._completed.get_nowait()
            except queue.Empty:
                return
            assignment = self._assignments.get((position.topic, position.partition))
            if assignment is not None and assignment.number == position.assignment:
                assignment.window.complete(position.offset)

    def _commit(self, *, final: bool) -> None:
        self._next_commit = time.monotonic() + COMMIT_EVERY_S
        self._take_completions()
        self._commit_places(list(self._assignments), wait=final)

    def _commit_places(self, places: Sequence[tuple[str, int]], *, wait: bool) -> None:
        offsets = []
        for place in places:
            window = self._assignments[place].window
            if (offset := window.to_commit()) is not None:
                offsets.append(TopicPartition(*place, offset))
                window.mark_committed(offset)
        if not offsets:
            return
        try:
            if wait:
                self._consumer.commit(offsets=offsets, asynchronous=False)
            else:
                self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException:
            # not committed: sent again next time; should we die first, the executed set absorbs the re-delivery
            for place in places:
                self._assignments[place].window.committed = None

    def _assigned(self, _consumer: Consumer, parts: list[TopicPartition]) -> None:
        for part in parts:
            self._numbers += 1
            self._assignments[part.topic, part.partition] = _Assignment(self._numbers)
        if parts:
            self._needs_barrier = True

    def _revoked(self, _consumer: Consumer, parts: list[TopicPartition]) -> None:
        owned = [(p.topic, p.partition) for p in parts if (p.topic, p.partition) in self._assignments]
        deadline = time.monotonic() + REVOKE_DRAIN_S
        self._take_completions()
        while any(len(self._assignments[place].window) for place in owned) and time.monotonic() < deadline:
            time.sleep(DRAIN_POLL_S)
            self._take_completions()
        self._commit_places(owned, wait=True)
        self._forget(parts)

    def _lost(self, _consumer: Consumer, parts: list[TopicPartition]) -> None:
        self._forget(parts)

    def _forget(self, parts: list[TopicPartition]) -> None:
        gone = {(part.topic, part.partition) for part in parts}
        for place in gone:
            self._assignments.pop(place, None)
        self._stash = [m for m in self._stash if (m.topic(), m.partition()) not in gone]
