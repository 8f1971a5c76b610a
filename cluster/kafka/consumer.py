"""The records of one lane and one priority: a consumer of its topic in a polling thread of its own (shell).

The thread never runs a handler and never stops polling. It reads ahead one record; the rest it reads when there is credit. While a
partition that was just assigned awaits its barrier (so that every mark of the former owner is visible here) its records are stashed.
Without credit for longer than a few seconds the partitions are paused: that throws away what the client library has read ahead, so it is
done seldom. Completed offsets come back through a queue and are committed up to the low watermark, by the assignment that delivered them.

One consumer for each priority, because a consumer hands out what it has read ahead in the order of reading: with one for the lane a
record of high priority waited behind all low ones that were read ahead (docs/decisions/0010-a-consumer-per-priority.md).
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple, Protocol

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from cluster.flow_events import Place
from cluster.kafka.offsets import OffsetWindow

FETCH_RECORDS_MAX = 500
OPEN_OFFSETS_MAX = 10_000  # a partition; EXECUTOR.md's bound
COMMIT_EVERY_S = 0.2
POLL_S = 0.1
STASH_RECORDS_MAX = 50
STASH_EVERY_S = 0.1  # without credit: poll() serves rebalances, but hands out a record too
WAIT_S = (0.001, 0.05)  # between two looks for credit: first, and at most
PAUSE_AFTER_S = 5.0  # without credit; and the least time between two changes
DRAIN_POLL_S = 0.005
REVOKE_DRAIN_S = 1.0  # twice the work that the executor holds; what is open after it may run again elsewhere


class RawRecords(NamedTuple):
    """Of one place, a column for each field."""

    place: Place
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    offsets: Sequence[int]


class Inlet(Protocol):
    """Where records go. `take` says how many may be delivered now; what is not delivered is given back. None of it waits."""

    def take(self, lane: str, priority: str, wanted: int) -> int: ...

    def give_back(self, lane: str, priority: str, count: int) -> None: ...

    def deliver(self, records: RawRecords) -> None: ...


class _Assignment:
    __slots__ = ("place", "window")

    def __init__(self, place: Place) -> None:
        self.place = place
        self.window = OffsetWindow()


class LaneConsumer:
    """`barrier(timeout_s)` is False while the local replica may lag; `failed(error)` hears of this thread's death.

    `pauses` counts how often partitions were paused: each throws away what was read ahead."""

    def __init__(
        self,
        consumer: Consumer,
        lane: str,
        priority: str,
        topic: str,
        *,
        inlet: Inlet,
        barrier: Callable[[float], bool],
        failed: Callable[[BaseException], None],
        pause_after_s: float = PAUSE_AFTER_S,
    ) -> None:
        self._pause_after_s = pause_after_s
        self.lane, self.priority, self.topic = lane, priority, topic
        self.pauses = 0
        self._consumer = consumer
        self._inlet, self._barrier, self._failed = inlet, barrier, failed
        self._completed: queue.SimpleQueue[tuple[Place, Sequence[int]]] = queue.SimpleQueue()
        self._assignments: dict[int, _Assignment] = {}
        self._numbers = 0
        self._needs_barrier = False
        self._stash: list[Message] = []
        self._fetching = True
        self._stopping = threading.Event()
        self._next_commit = 0.0
        self._starved_at: float | None = None
        self._wait_s = WAIT_S[0]
        self._next_stash = 0.0
        self._paused = False
        self._changed_at = 0.0
        self._thread = threading.Thread(target=self._run, name=f"consumer-{lane}-{priority}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def complete(self, place: Place, offsets: Sequence[int]) -> None:
        """Any thread. Takes effect only while the assignment that delivered the records still stands."""
        self._completed.put((place, offsets))

    def stop_fetching(self) -> None:
        """No further record is delivered; completions are still committed until `stop`."""
        self._fetching = False

    def stop(self, timeout_s: float = 10.0) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            self._consumer.subscribe(
                [self.topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
            )
            while not self._stopping.is_set():
                self._step()
            self._commit()
        except BaseException as error:
            self._failed(error)
        finally:
            self._consumer.close()

    def _step(self) -> None:
        if not self._stash and not self._paused:
            self._read(POLL_S)
        if self._stash or self._paused:
            granted = self._credit()
            if granted:
                self._fetch(granted)
            else:
                self._starve()
        self._take_completions()
        if time.monotonic() >= self._next_commit:
            self._next_commit = time.monotonic() + COMMIT_EVERY_S
            self._commit_places(list(self._assignments), wait=False)

    def _read(self, timeout_s: float) -> None:
        message = self._consumer.poll(timeout_s)
        if message is not None and message.error() is None:  # errors are reported and retried by the library
            self._stash.append(message)

    def _credit(self) -> int:
        if not self._fetching:
            return 0
        if any(len(each.window) >= OPEN_OFFSETS_MAX for each in self._assignments.values()):
            return 0
        if self._needs_barrier:
            if not self._barrier(0.5):
                return 0
            self._needs_barrier = False
        return self._inlet.take(self.lane, self.priority, FETCH_RECORDS_MAX)

    def _fetch(self, granted: int) -> None:
        """Uses the credit: the stash first, then what the library has."""
        self._starved_at, self._wait_s = None, WAIT_S[0]
        messages = self._stash[:granted]
        del self._stash[: len(messages)]
        if self._paused:
            if not messages and time.monotonic() - self._changed_at >= self._pause_after_s:
                self._set_paused(False)
        elif len(messages) < granted:
            messages += self._consumer.consume(granted - len(messages), 0)
        if self._needs_barrier:  # assigned within this very call
            self._stash[:0] = messages
            messages = []
        unused = granted - self._hand_over(messages)
        if unused:
            self._inlet.give_back(self.lane, self.priority, unused)
        if self._paused:
            self._read(POLL_S)

    def _starve(self) -> None:
        """Waits for credit and goes on serving rebalances."""
        now = time.monotonic()
        if self._starved_at is None:
            self._starved_at = now
        if self._paused:
            self._read(POLL_S)
            return
        long = now - self._starved_at >= self._pause_after_s or len(self._stash) >= STASH_RECORDS_MAX
        if long and now - self._changed_at >= self._pause_after_s and self._fetching:
            self._set_paused(True)
        elif now >= self._next_stash and len(self._stash) < STASH_RECORDS_MAX:
            self._next_stash = now + STASH_EVERY_S
            self._read(0)
        self._stopping.wait(self._wait_s)
        self._wait_s = min(2 * self._wait_s, WAIT_S[1])

    def _set_paused(self, paused: bool) -> None:
        parts = [TopicPartition(self.topic, partition) for partition in self._assignments]
        if paused:
            self._consumer.pause(parts)
            self.pauses += 1
        else:
            self._consumer.resume(parts)
        self._paused, self._changed_at = paused, time.monotonic()

    def _hand_over(self, messages: Sequence[Message]) -> int:
        """-> how many were delivered. Records of a partition that was revoked are left out: its next owner reads them."""
        delivered = 0
        good = [message for message in messages if message.error() is None]
        for partition, run in groupby(good, Message.partition):
            if partition not in self._assignments:
                continue
            group = list(run)
            offsets = [message.offset() or 0 for message in group]
            try:
                self._assignments[partition].window.deliver(offsets)
            except ValueError:
                # The broker lost our place and the library went back: a new assignment, so that nothing is skipped.
                self._assign(partition)
                if len(group) > 1:
                    delivered += sum(self._hand_over([message]) for message in group)
                    continue
                self._assignments[partition].window.deliver(offsets)
            keys = [message.key() for message in group]
            values = [message.value() for message in group]
            self._inlet.deliver(RawRecords(self._assignments[partition].place, keys, values, offsets))
            delivered += len(group)
        return delivered

    def _assign(self, partition: int) -> None:
        self._numbers += 1
        place = Place(self.lane, self.priority, self.topic, partition, self._numbers)
        self._assignments[partition] = _Assignment(place)

    def _take_completions(self) -> None:
        while True:
            try:
                place, offsets = self._completed.get_nowait()
            except queue.Empty:
                return
            assignment = self._assignments.get(place.partition)
            if assignment is not None and assignment.place.assignment == place.assignment:
                assignment.window.complete(offsets)

    def _commit(self) -> None:
        """The last one: waits for the broker's answer."""
        self._take_completions()
        self._commit_places(list(self._assignments), wait=True)

    def _commit_places(self, partitions: Sequence[int], *, wait: bool) -> None:
        offsets = []
        for partition in partitions:
            window = self._assignments[partition].window
            if (offset := window.to_commit()) is not None:
                offsets.append(TopicPartition(self.topic, partition, offset))
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
            for partition in partitions:
                self._assignments[partition].window.committed = None

    def _assigned(self, _consumer: Consumer, parts: list[TopicPartition]) -> None:
        for part in parts:
            self._assign(part.partition)
        if parts:
            self._needs_barrier = True
            self._paused = (
                False  # new partitions are not paused; should there be no credit still, they will be
            )

    def _revoked(self, _consumer: Consumer, parts: list[TopicPartition]) -> None:
        owned = [part.partition for part in parts if part.partition in self._assignments]
        deadline = time.monotonic() + REVOKE_DRAIN_S
        self._take_completions()
        while any(len(self._assignments[each].window) for each in owned) and time.monotonic() < deadline:
            time.sleep(DRAIN_POLL_S)
            self._take_completions()
        self._commit_places(owned, wait=True)
        self._forget(parts)

    def _lost(self, _consumer: Consumer, parts: list[TopicPartition]) -> None:
        self._forget(parts)

    def _forget(self, parts: list[TopicPartition]) -> None:
        if self._paused:  # the library would remember it until the partition comes back to us
            self._consumer.resume([TopicPartition(part.topic, part.partition) for part in parts])
        gone = {part.partition for part in parts}
        for partition in gone:
            self._assignments.pop(partition, None)
        self._paused = self._paused and bool(self._assignments)
        self._stash = [message for message in self._stash if message.partition() not in gone]
