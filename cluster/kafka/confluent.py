"""The client library of Kafka: producer, readers and the in-process broker (the one shell that imports it).

Everything here speaks plain values; errors become `cluster.errors.Unavailable` or sentences.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from cluster.errors import Unavailable

QUIET = {"log_level": 2, "topic.metadata.refresh.interval.ms": 30_000}
PRODUCER_QUEUE_RECORDS_MAX = 200_000
SESSION_TIMEOUT_MS = 6_000  # the broker's default minimum: a dead node's partitions move after this


class TaskProducer:
    """A producer with its own polling thread. `acks` "1" or "all"; the library retries within `timeout_s`.

    Delivery reports come on the polling thread; callbacks must only queue.
    """

    def __init__(self, kafka: str, *, acks: str, name: str, timeout_s: float = 30.0) -> None:
        self._producer = Producer(
            QUIET
            | {
                "bootstrap.servers": kafka,
                "acks": acks,
                "enable.idempotence": acks == "all",
                "linger.ms": 1,
                "message.timeout.ms": int(timeout_s * 1000),
                "queue.buffering.max.messages": PRODUCER_QUEUE_RECORDS_MAX,
                "reconnect.backoff.max.ms": 1_000,
                "partitioner": "murmur2_random",
            }
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._poll, name=f"{name}-producer", daemon=True)
        self._thread.start()

    def produce(self, topic: str, key: bytes, value: bytes, on_ack: Callable[[str | None], None]) -> None:
        """`on_ack(None)` after the broker's acknowledgement, `on_ack(reason)` when it never came. A full local
        queue or an impossible record answers at once with a reason."""

        def report(error: KafkaError | None, _message: Any) -> None:
            on_ack(None if error is None else error.str())

        try:
            self._producer.produce(topic, value=value, key=key, on_delivery=report)
        except BufferError:
            on_ack("the node's queue to Kafka is full")
        except KafkaException as error:
            on_ack(error.args[0].str())

    def produce_many(
        self, records: Sequence[tuple[str, bytes, bytes]], *, timeout_s: float
    ) -> list[str | None]:
        """(topic, key, value) each. Returns after all acknowledgements or `timeout_s`: None or a reason per record."""
        reasons: list[str | None] = ["no acknowledgement from Kafka in time"] * len(records)
        open_count = len(records)
        lock = threading.Lock()
        all_answered = threading.Event()

        def answer(index: int, reason: str | None) -> None:
            nonlocal open_count
            with lock:
                reasons[index] = reason
                open_count -= 1
                if open_count == 0:
                    all_answered.set()

        for index, (topic, key, value) in enumerate(records):
            self.produce(topic, key, value, lambda reason, index=index: answer(index, reason))  # type: ignore[misc]
        if records:
            all_answered.wait(timeout_s)
        with lock:
            return list(reasons)

    def stop(self, timeout_s: float = 5.0) -> None:
        self._producer.flush(timeout_s)
        self._stopping.set()
        self._thread.join(timeout_s)

    def _poll(self) -> None:
        while not self._stopping.is_set():
            self._producer.poll(0.1)


def group_consumer(kafka: str, *, group: str, name: str) -> Consumer:
    """A member of `group` that commits by hand only, and shares out every topic evenly.

    Round robin, because the library's cooperative-sticky balances only the count over all topics: nodes that joined one after
    another ended with whole topics, and one of three ran every task of normal priority. The price is that a rebalance revokes
    everything for a moment; the consumer drains first."""
    return Consumer(
        QUIET
        | {
            "bootstrap.servers": kafka,
            "group.id": group,
            "client.id": name,
            "partition.assignment.strategy": "roundrobin",
            "session.timeout.ms": SESSION_TIMEOUT_MS,
            "heartbeat.interval.ms": 1_000,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "reconnect.backoff.max.ms": 1_000,
            "fetch.error.backoff.ms": 100,
            "queued.max.messages.kbytes": 16_384,
        }
    )


def read_place(message: Message) -> tuple[str, int, int]:
    """(topic, partition, offset) of a record that was read; the library's types allow None, which only errors have."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    if topic is None or partition is None or offset is None:
        raise ValueError("a message without a place is an error event, not a record")
    return topic, partition, offset


def whole_topics_consumer(kafka: str, topics: Sequence[str], *, timeout_s: float) -> Consumer:
    """A reader of everything in `topics`, from the beginning, in no group. Raises `Unavailable`."""
    consumer, parts = _reader(kafka, topics, timeout_s)
    consumer.assign(parts)
    return consumer


def _reader(kafka: str, topics: Sequence[str], timeout_s: float) -> tuple[Consumer, list[TopicPartition]]:
    consumer = Consumer(
        QUIET
        | {
            "bootstrap.servers": kafka,
            "group.id": "unused",
            "enable.auto.commit": False,
            "enable.partition.eof": False,
            "reconnect.backoff.max.ms": 1_000,
        }
    )
    try:
        metadata = consumer.list_topics(timeout=timeout_s)
    except KafkaException as error:
        consumer.close()
        raise Unavailable(f"no Kafka broker answers at {kafka} within {timeout_s:g} s") from error
    return consumer, [
        TopicPartition(topic, partition, OFFSET_BEGINNING)
        for topic in topics
        if topic in metadata.topics
        for partition in metadata.topics[topic].partitions
    ]


def read_record_keys(kafka: str, topics: Sequence[str], *, timeout_s: float) -> list[int]:
    """The key of each record that stands in `topics` now, in no order; foreign keys are left out.

    Raises `Unavailable` when the topics cannot be read to their present end within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    consumer, parts = _reader(kafka, topics, timeout_s)
    try:
        ends: dict[tuple[str, int], int] = {}
        for part in parts:  # before the assignment: each answer would else wait behind a long fetch
            low, high = consumer.get_watermark_offsets(part, timeout=timeout_s)
            if high > low:
                ends[part.topic, part.partition] = high
        consumer.assign([part for part in parts if (part.topic, part.partition) in ends])
        keys: list[int] = []
        while ends:
            if time.monotonic() > deadline:
                raise Unavailable(f"the topics could not be read to their end within {timeout_s:g} s")
            for message in consumer.consume(1000, 0.2):
                if message.error() is not None:
                    continue
                key = message.key()
                if key is not None and len(key) == 8:
                    keys.append(int.from_bytes(key, "big"))
                topic, partition, offset = read_place(message)
                if offset + 1 >= ends.get((topic, partition), 2**63):
                    del ends[topic, partition]
        return keys
    except KafkaException as error:
        raise Unavailable(f"the topics cannot be read: {error.args[0].str()}") from error
    finally:
        consumer.close()


class MockBroker:
    """librdkafka's in-process broker, for the demo only: it forgets everything when this process ends.

    It cannot create topics on request, but does so when a producer asks about them: name all that will be used.
    """

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = topics
        self._owner: Producer | None = None

    def start(self) -> str:
        """Returns the bootstrap address on loopback."""
        self._owner = Producer({"test.mock.num.brokers": 1, "log_level": 2, "bootstrap.servers": "unused"})
        metadata = self._owner.list_topics(timeout=10)
        for topic in self._topics:
            self._owner.list_topics(topic, timeout=10)
        broker = next(iter(metadata.brokers.values()))
        return f"{broker.host}:{broker.port}"

    def stop(self) -> None:
        self._owner = None
