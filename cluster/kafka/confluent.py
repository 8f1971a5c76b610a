"""The client library of Kafka: producer, readers and the in-process broker (the one shell that imports it).

Everything here speaks plain values; errors become `cluster.errors.Unavailable` or sentences.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
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
LINGER_MS = 1.0  # the library waits so long for more records: thrice the rate when many are sent
PROMPT_LINGER_MS = 0.0  # when somebody waits for one: a third of the time until it has started elsewhere
READ_AHEAD_RECORDS = 10_000  # a partition: what a busy node runs while the next fetch is on its way
READ_AHEAD_KBYTES = 4_096  # a consumer, of which a node has twelve
FETCH_AGAIN_MS = 10  # after a full read-ahead; the library's default of a second lets the consumer run dry
DELAY_READ_AHEAD_KBYTES = 1_024
DELAY_FETCH_BYTES = 131_072  # of a partition at a time; a larger record still comes
DELAY_FETCH_WAIT_MS = 400  # below the head start that a record has on its rung (0.9 s at least)
SESSION_TIMEOUT_MS = 6_000  # the broker's default minimum: a dead node's partitions move after this

Record = tuple[bytes, bytes]  # key, value
Answer = tuple[int, str | None]  # place of a record, None or the reason why it was not stored


class TaskProducer:
    """A producer with its own polling thread. `acks` "1" or "all"; the library retries within `timeout_s`.

    Acknowledgements come on the polling thread, many at a time; callbacks must only queue. A full local queue or an impossible record is
    answered like one that was never acknowledged: with a reason.
    """

    def __init__(
        self, kafka: str, *, acks: str, name: str, linger_ms: float = LINGER_MS, timeout_s: float = 30.0
    ) -> None:
        self._producer = Producer(
            QUIET
            | {
                "bootstrap.servers": kafka,
                "acks": acks,
                "enable.idempotence": acks == "all",
                "linger.ms": linger_ms,
                "message.timeout.ms": int(timeout_s * 1000),
                "queue.buffering.max.messages": PRODUCER_QUEUE_RECORDS_MAX,
                "reconnect.backoff.max.ms": 1_000,
                "partitioner": "murmur2_random",
            }
        )
        self._answered: set[_Sent] = set()  # of the poll that runs; only its thread touches it
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._poll, name=f"{name}-producer", daemon=True)
        self._thread.start()

    def send(self, topic: str, records: Sequence[Record], on_answers: Callable[[list[Answer]], None]) -> None:
        """`on_answers` gets (place in `records`, None or why it was not stored) once for each record, in one call or several."""
        sent = _Sent(on_answers, self._answered)
        messages: list[dict[str, Any]] = [
            {"key": key, "value": value, "callback": partial(sent.report, place)}
            for place, (key, value) in enumerate(records)
        ]
        refused: list[Answer] = []
        try:
            queued = self._producer.produce_batch(topic, messages)
        except (BufferError, KafkaException) as error:
            refused = [(place, _reason(error)) for place in range(len(messages))]
        else:
            if queued < len(messages):
                refused = [
                    (place, _reason(message["_error"]))
                    for place, message in enumerate(messages)
                    if "_error" in message
                ]
        if refused:
            on_answers(refused)

    def produce_many(
        self, records: Sequence[tuple[str, bytes, bytes]], *, timeout_s: float
    ) -> list[str | None]:
        """(topic, key, value) each. Returns after all acknowledgements or `timeout_s`: None or a reason per record."""
        reasons: list[str | None] = ["no acknowledgement from Kafka in time"] * len(records)
        if not records:
            return reasons
        places: dict[str, list[int]] = {}
        for place, (topic, _, _) in enumerate(records):
            places.setdefault(topic, []).append(place)
        open_count = len(records)
        lock = threading.Lock()
        all_answered = threading.Event()

        def answer(of_topic: list[int], answers: list[Answer]) -> None:
            nonlocal open_count
            with lock:
                for place, reason in answers:
                    reasons[of_topic[place]] = reason
                open_count -= len(answers)
                if open_count == 0:
                    all_answered.set()

        for topic, of_topic in places.items():
            self.send(topic, [records[place][1:] for place in of_topic], partial(answer, of_topic))
        all_answered.wait(timeout_s)
        with lock:
            return list(reasons)

    def stop(self, timeout_s: float = 5.0) -> None:
        self._stopping.set()
        self._thread.join(timeout_s)
        self._producer.flush(timeout_s)
        self._hand_over()

    def _poll(self) -> None:
        while not self._stopping.is_set():
            self._producer.poll(0.1)
            self._hand_over()

    def _hand_over(self) -> None:
        answered = list(self._answered)
        self._answered.clear()
        for sent in answered:
            sent.hand_over()


class _Sent:
    """The records of one `send`. `report` runs within `poll`, once a record; what it gathers leaves after the poll, in one piece."""

    __slots__ = ("_answers", "_on_answers", "_touched")

    def __init__(self, on_answers: Callable[[list[Answer]], None], touched: set[_Sent]) -> None:
        self._on_answers, self._touched = on_answers, touched
        self._answers: list[Answer] = []

    def report(self, place: int, error: KafkaError | None, _message: Message) -> None:
        if not self._answers:
            self._touched.add(self)
        self._answers.append((place, None if error is None else error.str()))

    def hand_over(self) -> None:
        answers, self._answers = self._answers, []
        self._on_answers(answers)


def _reason(error: object) -> str:
    """What the library says of a record that it did not even queue."""
    if isinstance(error, BufferError):
        return "the node's queue to Kafka is full"
    if isinstance(error, KafkaException):
        error = error.args[0]
    if isinstance(error, KafkaError):
        return "the node's queue to Kafka is full" if error.name() == "_QUEUE_FULL" else error.str()
    return str(error)


def group_consumer(kafka: str, *, group: str, name: str) -> Consumer:
    """A member of `group` that commits by hand only, and shares out every topic evenly.

    Round robin, because the library's cooperative-sticky balances only the count over all topics: nodes that joined one after
    another ended with whole topics, and one of three ran every task of normal priority. The price is that a rebalance revokes
    everything for a moment; the consumer drains first."""
    return Consumer(_of_group(kafka, group, name))


def delay_consumer(kafka: str, *, group: str, name: str) -> Consumer:
    """As `group_consumer`, for the delay ladder: it pauses often, which throws away what was read ahead, so it reads little ahead; and a
    partition that goes on waits for the fetch that is under way, so that one is short."""
    return Consumer(
        _of_group(kafka, group, name)
        | {
            "queued.max.messages.kbytes": DELAY_READ_AHEAD_KBYTES,
            "max.partition.fetch.bytes": DELAY_FETCH_BYTES,
            "fetch.wait.max.ms": DELAY_FETCH_WAIT_MS,
        }
    )


def _of_group(kafka: str, group: str, name: str) -> dict[str, Any]:
    return QUIET | {
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
        "queued.min.messages": READ_AHEAD_RECORDS,
        "queued.max.messages.kbytes": READ_AHEAD_KBYTES,
        "fetch.queue.backoff.ms": FETCH_AGAIN_MS,
    }


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
