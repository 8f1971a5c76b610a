"""Records are sent many at a time, and each gets an answer of its own: stored, or the reason why not."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator

import pytest

from bench.node_group import free_ports
from cluster.envelope import encode_key
from cluster.kafka.confluent import PRODUCER_QUEUE_RECORDS_MAX, Answer, TaskProducer, read_record_keys
from cluster.kafka.topics import ensure_topics

pytestmark = pytest.mark.integration

WITHIN_S = 20.0
TOO_LARGE = bytes(2_000_000)


@pytest.fixture
def producer(kafka: str) -> Iterator[TaskProducer]:
    made = TaskProducer(kafka, acks="all", name="test")
    yield made
    made.stop()


@pytest.fixture
def lonely() -> Iterator[TaskProducer]:
    """Its broker does not exist."""
    (port,) = free_ports(1)
    made = TaskProducer(f"127.0.0.1:{port}", acks="1", name="test", timeout_s=0.5)
    yield made
    made.stop(0.1)


def test_among_many_one_that_is_too_large_is_refused_and_the_others_are_stored(
    producer: TaskProducer, kafka: str, topic_prefix: str
) -> None:
    topic = f"{topic_prefix}.some"
    ensure_topics(kafka, [topic])
    records = [(topic, encode_key(key), TOO_LARGE if key == 7 else b"value") for key in range(1, 21)]
    reasons = producer.produce_many(records, timeout_s=WITHIN_S)
    assert [place for place, reason in enumerate(reasons) if reason is not None] == [6]
    assert "too large" in (reasons[6] or "").lower()
    stored = sorted(read_record_keys(kafka, [topic], timeout_s=WITHIN_S))
    assert stored == [key for key in range(1, 21) if key != 7]


def test_every_record_is_answered_once_in_whatever_pieces(
    producer: TaskProducer, kafka: str, topic_prefix: str
) -> None:
    topic = f"{topic_prefix}.some"
    ensure_topics(kafka, [topic])
    heard: queue.SimpleQueue[list[Answer]] = queue.SimpleQueue()
    producer.send(topic, [(encode_key(key), b"value") for key in range(1, 5001)], heard.put)
    answers: list[Answer] = []
    while len(answers) < 5000:
        answers += heard.get(timeout=WITHIN_S)
    assert sorted(place for place, _ in answers) == list(range(5000))
    assert {reason for _, reason in answers} == {None}


def test_without_a_broker_the_caller_is_told_in_time(lonely: TaskProducer) -> None:
    began = time.monotonic()
    (reason,) = lonely.produce_many([("some", b"key", b"value")], timeout_s=0.2)
    assert reason == "no acknowledgement from Kafka in time"
    assert time.monotonic() - began < WITHIN_S


def test_a_full_queue_refuses_what_is_too_much_at_once(lonely: TaskProducer) -> None:
    heard: queue.SimpleQueue[list[Answer]] = queue.SimpleQueue()
    lonely.send("some", [(b"key", b"")] * (PRODUCER_QUEUE_RECORDS_MAX + 3), heard.put)
    refused = heard.get(timeout=WITHIN_S)
    assert {reason for _, reason in refused} == {"the node's queue to Kafka is full"}
    assert [place for place, _ in refused] == [PRODUCER_QUEUE_RECORDS_MAX + n for n in range(3)]
