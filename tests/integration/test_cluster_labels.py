"""What one node learns of a handler, all nodes route by: also after all of them were stopped. Real nodes, a real broker."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from cluster.api import LabelView
from cluster.client import Client
from cluster.local_cluster import LocalCluster
from tests.integration.test_steering import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

LONG_S = 0.3  # more than twice the cut-off
WITHIN_S = 20.0


class Learning:
    """Three nodes, a client of each, and what Kafka has stored."""

    def __init__(self, folder: Path, kafka: str) -> None:
        self.prefix = f"t{uuid.uuid4().hex[:12]}"
        handlers = ("tests.integration.learnt_handlers",)
        self.cluster = LocalCluster(folder / "cluster", 3, handlers, kafka=kafka, prefix=self.prefix)
        self._offsets = Consumer({"bootstrap.servers": kafka, "group.id": self.prefix, "log_level": 0})
        self.clients: dict[str, Client] = {}

    def start(self) -> None:
        nodes = self.cluster.up()["nodes"]
        self.clients = {node["peer"]: Client(node["api"]) for node in nodes}

    def stop(self) -> None:
        for client in self.clients.values():
            client.close()
        self.cluster.down()

    def close(self) -> None:
        self._offsets.close()
        self.stop()

    def run(self, through: str, seconds: float, kind: str = "") -> None:
        """Submits one task and waits for its end."""
        client = self.clients[through]
        client.wait([client.submit("naps", seconds, kind=kind).key], WITHIN_S)

    def stored(self, lane: str) -> int:
        """How many tasks were ever written to this lane."""
        topic = f"{self.prefix}.{lane}.normal"
        ends: list[int] = []

        def is_told() -> bool:
            parts = self._offsets.list_topics(topic, timeout=10.0).topics[topic].partitions
            ends.clear()
            try:
                for part in parts:
                    _, end = self._offsets.get_watermark_offsets(TopicPartition(topic, part), timeout=10.0)
                    ends.append(end)
            except KafkaException:  # a topic that is new has no leader for a moment
                return False
            return True

        until(is_told, f"Kafka tells how much {topic} has", WITHIN_S)
        return sum(ends)

    def labels(self, through: str, kind: str = "") -> list[LabelView]:
        return [
            label for label in self.clients[through].labels() if (label.handler, label.kind) == ("naps", kind)
        ]

    def learn_on_one(self) -> str:
        """One long run after the other, wherever each runs, until the first node has learnt -> that node."""
        first = next(iter(self.clients))
        for _ in range(7):  # of seven runs on three nodes three are on the same one
            self.run(first, LONG_S)
        until(lambda: bool(self.labels(first)), "a node has told its label", WITHIN_S)
        return self.labels(first)[0].node

    def until_routed(self, through: str, lane: str) -> None:
        """Submits short runs through this node until one is stored in `lane`."""
        before = self.stored(lane)

        def is_routed() -> bool:
            self.run(through, 0.01)
            return self.stored(lane) > before

        until(is_routed, f"{through} routes to {lane}", WITHIN_S)


@pytest.fixture
def learning(tmp_path: Path, kafka: str) -> Iterator[Learning]:
    made = Learning(tmp_path, kafka)
    try:
        made.start()
        yield made
    finally:
        made.close()


def test_a_label_learnt_on_one_node_routes_on_all_and_survives_a_restart_of_all(learning: Learning) -> None:
    # Given a handler of which nobody knows anything: its tasks go where undeclared ones begin.
    assert learning.stored("cpu-long") == 0
    # When one node has learnt that it is long.
    learner = learning.learn_on_one()
    [label] = [each for each in learning.labels(learner) if each.node == learner]
    assert (label.lane, label.routes) == ("cpu-long", True)
    assert "200 ms" in label.why
    # Then every node stores its tasks in the lane for long ones, whether it ran any itself or not.
    for node in learning.clients:
        learning.until_routed(node, "cpu-long")
    # But another kind of the same handler is not known by that.
    short = learning.stored("cpu-short")
    learning.run(learner, 0.01, kind="small")
    assert learning.stored("cpu-short") == short + 1
    # When all nodes are stopped and started again.
    learning.stop()
    learning.start()
    # Then they still know it, before any of them has run one.
    long = learning.stored("cpu-long")
    for number, node in enumerate(learning.clients, 1):
        assert [each.node for each in learning.labels(node)].count(learner) == 1
        learning.run(node, 0.01)
        assert learning.stored("cpu-long") == long + number
