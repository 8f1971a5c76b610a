"""The topics of a cluster, created on start when missing (shell around the admin client)."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from cluster.errors import Unavailable
from cluster.routing import is_rung

PARTITIONS = 6
RUNG_PARTITIONS = (
    3  # nine rungs: what stands in them is only moved on, and one reader moves tens of thousands a second
)


def ensure_topics(kafka: str, topics: Sequence[str], *, timeout_s: float = 8.0) -> None:
    """Creates what is missing; tasks never expire by time. Raises `Unavailable` when the broker does not answer."""
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
    try:
        metadata = admin.list_topics(timeout=timeout_s)
    except KafkaException as error:
        raise Unavailable(
            f"no Kafka broker answers at {kafka} within {timeout_s:g} s: check --kafka and the broker"
        ) from error
    missing = [topic for topic in topics if topic not in metadata.topics]
    if not missing:
        return
    replication = min(3, max(1, len(metadata.brokers)))
    futures = admin.create_topics(
        [
            NewTopic(
                topic,
                num_partitions=RUNG_PARTITIONS if is_rung(topic) else PARTITIONS,
                replication_factor=replication,
                config={"retention.ms": "-1", "message.timestamp.type": "CreateTime"},
            )
            for topic in missing
        ],
        operation_timeout=timeout_s,
        request_timeout=timeout_s,
    )
    for topic, future in futures.items():
        try:
            future.result(timeout=timeout_s)
        except TimeoutError as error:
            if _created_on_first_use(admin, topic, timeout_s):
                continue
            raise Unavailable(f"topic {topic} was not created at {kafka} within {timeout_s:g} s") from error
        except KafkaException as error:
            if error.args[0].name() == "TOPIC_ALREADY_EXISTS":
                continue  # another node was faster
            if _created_on_first_use(admin, topic, timeout_s):
                continue
            raise Unavailable(f"topic {topic} cannot be created at {kafka}: {error.args[0].str()}") from error


def delete_below(kafka: str, offsets: Mapping[tuple[str, int], int], *, timeout_s: float = 8.0) -> None:
    """Deletes the records of (topic, partition) below an offset. Raises `Unavailable`."""
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
    asked = [TopicPartition(topic, partition, offset) for (topic, partition), offset in offsets.items()]
    futures = admin.delete_records(asked, request_timeout=timeout_s, operation_timeout=timeout_s)
    for part, future in futures.items():
        try:
            future.result(timeout_s)
        except (KafkaException, TimeoutError) as error:
            raise Unavailable(
                f"records of {part.topic} below {part.offset} were not deleted: {error}"
            ) from error


class RecordDeleter:
    """Deletes records in the background, as a service to the disk: what fails is asked again with the next, higher offset."""

    def __init__(self, kafka: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})

    def delete_below(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Of (topic, partition). Returns at once."""
        if offsets:
            asked = [TopicPartition(topic, number, offset) for (topic, number), offset in offsets.items()]
            with contextlib.suppress(KafkaException):
                self._admin.delete_records(asked)


def _created_on_first_use(admin: AdminClient, topic: str, timeout_s: float) -> bool:
    """librdkafka's in-process broker has no CreateTopics; it makes a topic when its metadata is asked for."""
    with contextlib.suppress(KafkaException):
        found = admin.list_topics(topic, timeout=timeout_s).topics.get(topic)
        return found is not None and found.error is None and len(found.partitions) > 0
    return False
