"""How many records of each topic are not completed: the end of its partitions against what consumer groups have committed (shell).

One request for all ends and one for each group, whoever owns the partitions and whether they are paused or not; so each node sees the
whole cluster's backlog without asking another node.

An AdminClient must never be asked what a group has committed: when the coordinator is not yet up, or has moved, the library crashes the
process (librdkafka's issue 5040). The node's own consumers cannot be asked either, as they do not answer while another thread polls them.
So each group has a handle here that subscribes to nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from cluster.errors import Unavailable

ENDS = OffsetSpec.latest()  # type: ignore[no-untyped-call]
BEGINNINGS = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
PARTITIONS_EVERY_S = 60.0  # partitions may be added by hand; a topic that was made later must be found

Place = tuple[str, int]


class LagReader:
    """For one thread. `groups`: group -> the topics that it reads."""

    def __init__(self, kafka: str, groups: Mapping[str, Sequence[str]]) -> None:
        self._groups = groups
        self._admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
        self._members = {
            group: Consumer(
                {
                    "bootstrap.servers": kafka,
                    "group.id": group,
                    "enable.auto.commit": False,
                    "topic.metadata.refresh.interval.ms": -1,
                    "log_level": 0,
                }
            )
            for group in groups
        }
        self._places: list[Place] = []
        self._places_until = 0.0

    def close(self) -> None:
        """Once nobody reads any more."""
        for member in self._members.values():
            member.close()

    def read(self, timeout_s: float = 5.0) -> dict[str, int]:
        """Topic -> records. Raises `Unavailable`."""
        try:
            self._find_places(timeout_s)
            ends = _offsets(self._admin, self._places, ENDS, timeout_s)
            committed = self._committed(timeout_s)
            never = [place for place, end in ends.items() if place not in committed and end > 0]
            begins = _offsets(self._admin, never, BEGINNINGS, timeout_s) if never else {}
        except (KafkaException, TimeoutError) as error:
            self._places_until = 0.0
            raise Unavailable(f"the backlog cannot be read from Kafka: {error}") from error
        lags = {topic: 0 for topics in self._groups.values() for topic in topics}
        for place, end in ends.items():
            done = committed.get(place, begins.get(place, end))
            lags[place[0]] += max(0, end - done)
        return lags

    def _find_places(self, timeout_s: float) -> None:
        now = time.monotonic()
        if now >= self._places_until:
            topics = [topic for topics in self._groups.values() for topic in topics]
            self._places = _places(self._admin, topics, timeout_s)
            self._places_until = now + PARTITIONS_EVERY_S

    def _committed(self, timeout_s: float) -> dict[Place, int]:
        by_topic: dict[str, list[TopicPartition]] = {}
        for topic, partition in self._places:
            by_topic.setdefault(topic, []).append(TopicPartition(topic, partition))
        committed: dict[Place, int] = {}
        for group, topics in self._groups.items():
            asked = [part for topic in topics for part in by_topic.get(topic, ())]
            for part in self._members[group].committed(asked, timeout=timeout_s) if asked else ():
                if part.offset >= 0:
                    committed[part.topic, part.partition] = part.offset
        return committed


class TopicEnds:
    """Where the partitions of some topics end now: what was acknowledged before the question stands below. Thread-safe."""

    def __init__(self, kafka: str, topics: Sequence[str]) -> None:
        self._topics = topics
        self._admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
        self._places: list[Place] = []
        self._places_until = 0.0

    def read(self, timeout_s: float = 2.0) -> dict[Place, int]:
        """Raises `Unavailable`."""
        try:
            now = time.monotonic()
            if now >= self._places_until:
                self._places = _places(self._admin, self._topics, timeout_s)
                self._places_until = now + PARTITIONS_EVERY_S
            return _offsets(self._admin, self._places, ENDS, timeout_s)
        except (KafkaException, TimeoutError) as error:
            raise Unavailable(f"the ends of topics cannot be read from Kafka: {error}") from error


def _places(admin: AdminClient, topics: Iterable[str], timeout_s: float) -> list[Place]:
    found = admin.list_topics(timeout=timeout_s).topics
    return [(topic, partition) for topic in topics if topic in found for partition in found[topic].partitions]


def _offsets(
    admin: AdminClient, places: Sequence[Place], spec: OffsetSpec, timeout_s: float
) -> dict[Place, int]:
    if not places:
        return {}
    asked = {TopicPartition(*place): spec for place in places}
    futures = admin.list_offsets(asked, request_timeout=timeout_s)
    return {(part.topic, part.partition): future.result(timeout_s).offset for part, future in futures.items()}
