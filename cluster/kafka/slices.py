"""A topic read in slices, for those who look for records in it: each call goes on where the one before stopped (shell).

A place is "PARTITION:OFFSET". Records come partition by partition, each up to the end that it had when the call began; so any node can go
on with a slice that another one began, and nothing is kept between calls.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, KafkaException, TopicPartition

from cluster.errors import Unavailable
from cluster.kafka.stored_record import StoredRecord, parse_place

FETCHED_RECORDS = 500
FETCH_S = 0.2
READ_AHEAD_KBYTES = 4_096
FETCH_WAIT_MS = 10  # the next partition is fetched only when the broker has answered for the one before, which is read to its end


class TopicSlice:
    """For one thread, within `with`. Raises `Unavailable` when Kafka does not answer within `timeout_s`.

    `ends`: of each partition, (first offset, the one after the last).
    """

    def __init__(self, kafka: str, topic: str, *, timeout_s: float) -> None:
        self._topic, self._timeout_s = topic, timeout_s
        self._consumer = Consumer(
            {
                "bootstrap.servers": kafka,
                "group.id": "unused",
                "enable.auto.commit": False,
                "log_level": 0,
                "queued.max.messages.kbytes": READ_AHEAD_KBYTES,
                "fetch.wait.max.ms": FETCH_WAIT_MS,
            }
        )
        try:
            found = self._consumer.list_topics(topic, timeout=timeout_s).topics.get(topic)
            self.ends: dict[int, tuple[int, int]] = {
                partition: self._consumer.get_watermark_offsets(
                    TopicPartition(topic, partition), timeout=timeout_s
                )
                for partition in sorted(found.partitions if found is not None else ())
            }
        except KafkaException as error:
            self._consumer.close()
            raise Unavailable(f"topic {topic} cannot be read: {error.args[0].str()}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    @property
    def total(self) -> int:
        return sum(end - low for low, end in self.ends.values())

    def looked(self, cursor: str) -> int:
        """How many records stand before `cursor`; all before "", which is the end."""
        place = parse_place(cursor)
        if place is None:
            return self.total
        before = sum(end - low for partition, (low, end) in self.ends.items() if partition < place[0])
        low, end = self.ends.get(place[0], (0, 0))
        return before + min(max(place[1] - low, 0), end - low)

    def records(self, cursor: str, starts: Mapping[int, int] | None = None) -> Iterator[StoredRecord]:
        """From `cursor` on ("": the beginning). `starts`: only these partitions, each from this offset on."""
        at_partition, at_offset = parse_place(cursor) or (0, 0)
        for partition, (low, end) in self.ends.items():
            if partition < at_partition or (starts is not None and partition not in starts):
                continue
            first = max(low, 0 if starts is None else starts[partition])
            if partition == at_partition:
                first = max(first, at_offset)
            if first < end:
                yield from self._partition(partition, first, end)

    def _partition(self, partition: int, first: int, end: int) -> Iterator[StoredRecord]:
        self._consumer.assign([TopicPartition(self._topic, partition, first)])
        heard_at = time.monotonic()
        while True:
            arrived = self._consumer.poll(FETCH_S)  # `consume` would wait for as many as it may give
            messages = [] if arrived is None else [arrived, *self._consumer.consume(FETCHED_RECORDS, 0)]
            for message in messages:
                offset = message.offset()
                if message.error() is not None or offset is None or message.partition() != partition:
                    continue
                heard_at = time.monotonic()
                if offset >= end:
                    return
                yield StoredRecord(
                    partition, offset, message.timestamp()[1], message.key() or b"", message.value() or b""
                )
                if offset + 1 >= end:
                    return
            if time.monotonic() - heard_at > self._timeout_s:
                raise Unavailable(
                    f"partition {partition} of {self._topic} gave nothing for {self._timeout_s:g} s"
                )
