"""The backlog as a real broker tells it."""

from __future__ import annotations

import pytest
from confluent_kafka import Producer, TopicPartition

from cluster.kafka.confluent import group_consumer
from cluster.kafka.dev_broker import DevBroker
from cluster.kafka.lag import LagReader
from cluster.kafka.topics import ensure_topics

pytestmark = pytest.mark.integration


def fill(kafka: str, topic: str, records: int) -> None:
    """All stand in partition 0."""
    ensure_topics(kafka, [topic])
    producer = Producer({"bootstrap.servers": kafka})
    for _ in range(records):
        producer.produce(topic, b"value", partition=0)
    assert producer.flush(20) == 0


def test_what_was_never_committed_and_what_was_not_yet_is_backlog(kafka: str, topic_prefix: str) -> None:
    # Given ten records each, four of the second topic's committed
    never, some = f"{topic_prefix}.never", f"{topic_prefix}.some"
    for topic in (never, some):
        fill(kafka, topic, 10)
    consumer = group_consumer(kafka, group=some, name="test")
    consumer.commit(offsets=[TopicPartition(some, 0, 4)], asynchronous=False)
    consumer.close()

    # When the backlog is read
    reader = LagReader(kafka, {never: [never], some: [some]})
    lags = reader.read(20.0)
    reader.close()

    # Then the rest is left
    assert lags == {never: 10, some: 6}


def test_a_broker_that_has_just_started_is_asked_without_harm(broker: DevBroker, topic_prefix: str) -> None:
    """Its coordinators are still loading: an AdminClient that asks for offsets then takes the process with it."""
    topics = [f"{topic_prefix}.{number}" for number in range(6)]
    for topic in topics:
        fill(broker.bootstrap, topic, 1)
    reader = LagReader(broker.bootstrap, {topic: [topic] for topic in topics})
    assert reader.read(20.0) == dict.fromkeys(topics, 1)
    reader.close()
