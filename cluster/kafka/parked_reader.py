"""Reads `<prefix>.parked` and takes out what is free again: a consumer in a polling thread of its own (shell around `cluster/parked.py`).

It goes on reading while all is paused, so that a record that a node parked with older limits is met by an owner with newer ones. What is
taken out is produced with acks=all, or marked cancelled by majority, before its offset is committed; what was not acknowledged is read
again. After a pass the records below are deleted, so the topic holds what is parked and little more.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from cluster.dead.record import encode_dead
from cluster.envelope import decode_envelope, decode_key, encode_key
from cluster.errors import RecordError, Unavailable
from cluster.gate import Gate, Verdict
from cluster.kafka.confluent import TaskProducer, read_place
from cluster.kafka.topics import delete_below
from cluster.parked import ParkedPartition, Step, decode_parked, encode_parked
from cluster.routing import dead_topic, parked_topic, task_topic

CHUNK_RECORDS = 500
POLL_S = 0.2  # how soon changed limits are noticed
ACK_S = 15.0
ASK_S = 5.0
AGAIN_S = 0.5  # after something was not acknowledged

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parked:
    """`key` 0: it is no task, `value` goes to the dead topic with this `reason`."""

    key: int
    lane: str
    priority: str
    value: bytes
    handler: str = ""
    kind: str = ""
    submitted_ms: int = 0
    reason: str = ""


class ParkedReader:
    """`gate()`: what operators say now. `lane_for`: where a task belongs. `executed` and `cancel` ask and mark the ledger; `cancel` is
    False when it is not sure. `barrier` as for the lanes' consumers."""

    def __init__(
        self,
        consumer: Consumer,
        producer: TaskProducer,
        kafka: str,
        prefix: str,
        *,
        gate: Callable[[], Gate],
        lane_for: Callable[[str, str], str],
        executed: Callable[[Sequence[int]], list[bool]],
        cancel: Callable[[Sequence[int]], bool],
        barrier: Callable[[float], bool],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._consumer, self._producer, self._kafka, self._prefix = consumer, producer, kafka, prefix
        self._gate, self._lane_for, self._executed = gate, lane_for, executed
        self._cancel, self._barrier, self._failed = cancel, barrier, failed
        self._topic = parked_topic(prefix)
        self._seen_gate = gate()
        self._fresh: set[int] = set()  # assigned, its place not yet known
        self._partitions: dict[int, ParkedPartition] = {}
        self._needs_barrier = False
        self._to_delete: dict[tuple[str, int], int] = {}
        self._stopping = threading.Event()
        self.counters = {"freed": 0, "cancelled": 0, "parked_again": 0}
        self._thread = threading.Thread(target=self._run, name="parked", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            self._consumer.subscribe(
                [self._topic], on_assign=self._assigned, on_revoke=self._gone, on_lost=self._gone
            )
            while not self._stopping.is_set():
                self._step()
        except BaseException as error:
            self._failed(error)
        finally:
            self._consumer.close()

    def _step(self) -> None:
        if self._needs_barrier:
            self._needs_barrier = not self._barrier(POLL_S)
        gate = self._gate()
        if gate != self._seen_gate:
            self._seen_gate = gate
            for number, partition in self._partitions.items():
                if partition.limits_changed():
                    self._seek(number, partition)
        first = self._consumer.poll(POLL_S)
        messages = [] if first is None else [first, *self._consumer.consume(CHUNK_RECORDS - 1, 0)]
        if self._fresh and not self._needs_barrier:
            self._find_places()  # records of these partitions that came before are read again
            return
        if not messages:
            self._delete_completed()
        by_partition: dict[int, list[Message]] = {}
        for message in messages:
            if message.error() is None and message.partition() in self._partitions:
                by_partition.setdefault(message.partition() or 0, []).append(message)
        for number, batch in by_partition.items():
            if number in self._partitions:  # an earlier one's work may have seen a rebalance
                self._take(number, self._partitions[number], batch, gate)

    def _take(self, number: int, partition: ParkedPartition, batch: Sequence[Message], gate: Gate) -> None:
        chosen: list[_Parked] = []
        must_seek = False
        for message in batch:
            record = _read(message)
            is_free = not record.key or self._verdict(record, gate) is not Verdict.PARK
            offset = read_place(message)[2]
            ends = partition.until is None and is_free and offset >= partition.next
            match partition.look(offset, is_free=is_free, end=self._end(number) if ends else 0):
                case Step.ACT:
                    chosen.append(record)
                case Step.GO_BACK:
                    must_seek = True
                    break
                case Step.KEEP | Step.SKIP:
                    pass
        if chosen and not self._carried_out(chosen, gate):
            partition.not_acted()
            self._seek(number, partition)
            self._stopping.wait(AGAIN_S)
            return
        if chosen:
            self._commit(number, partition)
        if must_seek:
            partition.begins_at(self._low(number))
            self._seek(number, partition)

    def _carried_out(self, chosen: Sequence[_Parked], gate: Gate) -> bool:
        executed = self._executed([record.key for record in chosen])
        records: list[tuple[str, bytes, bytes]] = []
        dropped: list[int] = []
        freed = again = 0
        for record, is_executed in zip(chosen, executed, strict=True):
            if not record.key:
                records.append((dead_topic(self._prefix), b"", encode_dead(record.reason, record.value)))
                continue
            if is_executed:
                continue
            match self._verdict(record, gate):
                case Verdict.DROP:
                    dropped.append(record.key)
                case Verdict.PARK:
                    again += 1
                    origin = task_topic(self._prefix, record.lane, record.priority)
                    records.append((self._topic, encode_key(record.key), encode_parked(origin, record.value)))
                case Verdict.RUN:
                    freed += 1
                    topic = task_topic(
                        self._prefix, self._lane_for(record.handler, record.kind), record.priority
                    )
                    records.append((topic, encode_key(record.key), record.value))
        if dropped and not self._cancel(dropped):
            return False
        if any(reason is not None for reason in self._producer.produce_many(records, timeout_s=ACK_S)):
            return False
        self.counters["freed"] += freed
        self.counters["parked_again"] += again
        self.counters["cancelled"] += len(dropped)
        return True

    def _verdict(self, record: _Parked, gate: Gate) -> Verdict:
        if gate.is_plain(record.handler):
            return Verdict.RUN
        return gate.judge(record.handler, record.lane, record.submitted_ms)

    def _commit(self, number: int, partition: ParkedPartition) -> None:
        offset = partition.acted()
        try:
            self._consumer.commit(offsets=[TopicPartition(self._topic, number, offset)], asynchronous=False)
            self._to_delete[self._topic, number] = offset
        except KafkaException as error:
            # lost with the partition, or the broker is away: whoever reads it again makes copies, which have one key
            _log.warning("parked_offset_not_committed partition=%d offset=%d why=%s", number, offset, error)

    def _delete_completed(self) -> None:
        if not self._to_delete:
            return
        try:
            delete_below(self._kafka, self._to_delete)
        except Unavailable as error:
            _log.warning("parked_records_not_deleted why=%s", error)  # the next pass names a later offset
        self._to_delete = {}

    def _seek(self, number: int, partition: ParkedPartition) -> None:
        # An assignment that is over cannot be sought; what it still delivers is a gap, which leads here again.
        with contextlib.suppress(KafkaException):
            self._consumer.seek(TopicPartition(self._topic, number, partition.next))

    def _end(self, number: int) -> int:
        return self._watermarks(number)[1]

    def _low(self, number: int) -> int:
        return self._watermarks(number)[0]

    def _watermarks(self, number: int) -> tuple[int, int]:
        """(0, 0) when Kafka does not answer: then the pass ends early and begins again."""
        try:
            low, high = self._consumer.get_watermark_offsets(
                TopicPartition(self._topic, number), timeout=ASK_S
            )
        except KafkaException:
            return 0, 0
        return low, high

    def _find_places(self) -> None:
        asked = [TopicPartition(self._topic, number) for number in sorted(self._fresh)]
        try:
            places = self._consumer.committed(asked, timeout=ASK_S)
        except KafkaException:
            return  # asked again at the next step
        for place in places:
            if place.partition in self._fresh:
                self._fresh.discard(place.partition)
                first = place.offset if place.offset >= 0 else self._low(place.partition)
                if place.offset > 0:  # its former owner may not have come to delete them
                    self._to_delete[self._topic, place.partition] = place.offset
                partition = ParkedPartition(first)
                self._partitions[place.partition] = partition
                self._seek(place.partition, partition)

    def _assigned(self, _consumer: Consumer, parts: list[TopicPartition]) -> None:
        self._fresh |= {part.partition for part in parts}
        self._needs_barrier = self._needs_barrier or bool(parts)

    def _gone(self, _consumer: Consumer, parts: list[TopicPartition]) -> None:
        for part in parts:
            self._fresh.discard(part.partition)
            self._partitions.pop(part.partition, None)


def _read(message: Message) -> _Parked:
    raw = message.value()
    try:
        lane, priority, value = decode_parked(raw)
        envelope, key = decode_envelope(value), decode_key(message.key())
    except RecordError as error:
        return _Parked(key=0, lane="", priority="", value=raw or b"", reason=str(error))
    return _Parked(
        key=key,
        lane=lane,
        priority=priority,
        value=value,
        handler=envelope.handler,
        kind=envelope.kind,
        submitted_ms=envelope.submitted_ms,
    )
