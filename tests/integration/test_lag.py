"""The backlog as a real broker tells it."""

from __future__ import annotations

import pytest
from confluent_kafka import Producer, TopicPartition

from cluster.errors import Unavailable
from cluster.kafka.confluent import GroupConsumer, group_consumer
from cluster.kafka.dev_broker import DevBroker
from cluster.kafka.lag import LagReader
from cluster.kafka.topics import ensure_topics

pytestmark = pytest.mark.integration


def filled(kafka: str, topic: str, records: int) -> GroupConsumer:
    """A member of the topic's group; all records stand in partition 0."""
    ensure_topics(kafka, [topic])
    producer = Producer({"bootstrap.servers": kafka})
    for _ in range(records):
        producer.produce(topic, b"value", partition=0)
    assert producer.flush(20) == 0
    return group_consumer(kafka, group=topic, name="test")


def test_what_was_never_committed_and_what_was_not_yet_is_backlog(kafka: str, topic_prefix: str) -> None:
    # Given ten records each, four of the second topic's committed
    topics = [f"{topic_prefix}.{name}" for name in ("never", "some")]
    consumers = {topic: filled(kafka, topic, 10) for topic in topics}
    consumers[topics[1]].commit(offsets=[TopicPartition(topics[1], 0, 4)], asynchronous=False)

    # When the backlog is read
    reader = LagReader(kafka, consumers)
    lags = reader.read(20.0)

    # Then the rest is left, and a closed consumer is no crash
    assert lags == {topics[0]: 10, topics[1]: 6}
    for consumer in consumers.values():
        consumer.close()
    with pytest.raises(Unavailable, match="closed"):
        reader.read(20.0)


def test_a_broker_that_has_just_started_is_asked_without_harm(broker: DevBroker, topic_prefix: str) -> None:
    """Its coordinators are still loading: an AdminClient that asks for offsets then takes the process with it."""
    consumers = {
        topic: filled(broker.bootstrap, topic, 1) for topic in (f"{topic_prefix}.{n}" for n in range(6))
    }
    assert set(LagReader(broker.bootstrap, consumers).read(20.0).values()) == {1}
    for consumer in consumers.values():
        consumer.close()
