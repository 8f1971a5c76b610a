"""Members that join one after another each own a part of every topic, so that no node runs a whole priority alone."""

import contextlib
import time

import pytest
from confluent_kafka import Consumer

from cluster.kafka.confluent import group_consumer
from cluster.kafka.topics import PARTITIONS, ensure_topics
from cluster.routing import LANES, lane_topics

pytestmark = pytest.mark.integration

MEMBERS = 3


def settle(members: list[Consumer], partitions: int) -> None:
    """Polls all members until each owns an equal share of all partitions."""
    deadline = time.monotonic() + 40
    while [len(member.assignment()) for member in members] != [partitions // len(members)] * len(members):
        assert time.monotonic() < deadline, "the group did not settle"
        for member in members:
            member.poll(0.02)


def test_each_member_owns_a_part_of_every_topic(kafka: str, topic_prefix: str) -> None:
    topics = lane_topics(topic_prefix, LANES[0])
    ensure_topics(kafka, topics)
    with contextlib.ExitStack() as closing:
        members: list[Consumer] = []
        for number in range(MEMBERS):
            member = group_consumer(kafka, group=topic_prefix, name=f"m{number}")
            closing.callback(member.close)
            member.subscribe(topics)
            members.append(member)
            settle(members, len(topics) * PARTITIONS)
        for member in members:
            owned = [part.topic for part in member.assignment()]
            assert {topic: owned.count(topic) for topic in topics} == dict.fromkeys(
                topics, PARTITIONS // MEMBERS
            )
