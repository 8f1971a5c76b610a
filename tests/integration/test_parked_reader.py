"""Parked tasks on a real broker: what is free goes to its lane, what is purged is cancelled, what is paused stays, nothing is lost."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from confluent_kafka import Consumer, TopicPartition

from cluster.envelope import encode_key, encode_task
from cluster.errors import Unavailable
from cluster.gate import OPEN_GATE, Gate
from cluster.kafka.confluent import TaskProducer, group_consumer, read_record_keys
from cluster.kafka.parked_reader import ParkedReader
from cluster.kafka.topics import PARTITIONS, ensure_topics
from cluster.parked import encode_parked
from cluster.routing import all_topics, dead_topic, parked_topic, task_topic

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]
WITHIN_S = 30.0
PAUSED = Gate(paused=frozenset({"held"}))


def until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not is_so():
        assert time.monotonic() < deadline, f"not within {WITHIN_S:g} s: {what}"
        time.sleep(0.05)


class Parking:
    """A parked topic with readers around it; the ledger is a set."""

    def __init__(self, kafka: str, prefix: str, ended: contextlib.ExitStack) -> None:
        self.kafka, self.prefix, self._ended = kafka, prefix, ended
        ensure_topics(kafka, all_topics(prefix))
        self.producer = TaskProducer(kafka, acks="all", name="test")
        ended.callback(self.producer.stop)
        self.gate = PAUSED
        self.executed: set[int] = set()
        self.cancelled: set[int] = set()
        self.refuses_cancels = 0
        self.is_behind_barrier = threading.Event()
        self.is_behind_barrier.set()
        self.failures: list[BaseException] = []

    def reader(self, name: str = "a") -> ParkedReader:
        started = ParkedReader(
            group_consumer(self.kafka, group=parked_topic(self.prefix), name=name),
            self.producer,
            self.kafka,
            self.prefix,
            gate=lambda: self.gate,
            lane_for=lambda handler, kind: "io-long" if kind == "slow" else "cpu-short",
            executed=lambda keys: [key in self.executed for key in keys],
            cancel=self._cancel,
            barrier=lambda _: self.is_behind_barrier.is_set(),
            failed=self.failures.append,
        )
        started.start()
        self._ended.callback(started.stop)
        return started

    def park(
        self, keys: Sequence[int], handler: str = "held", kind: str = "", lane: str = "cpu-short"
    ) -> None:
        origin = task_topic(self.prefix, lane, "low")
        records = [
            (
                parked_topic(self.prefix),
                encode_key(key),
                encode_parked(origin, encode_task(handler, kind, b"", 0, submitted_ms=1000)),
            )
            for key in keys
        ]
        assert not any(self.producer.produce_many(records, timeout_s=WITHIN_S))

    def in_lane(self, lane: str = "cpu-short") -> list[int]:
        """A broker under load may not know the leader of a new partition at once."""
        topics = [task_topic(self.prefix, lane, "low")]
        deadline = time.monotonic() + WITHIN_S
        while True:
            try:
                return sorted(read_record_keys(self.kafka, topics, timeout_s=WITHIN_S))
            except Unavailable:
                assert time.monotonic() < deadline
                time.sleep(0.1)

    def left(self) -> int:
        """Records that still stand in the parked topic."""
        asking = Consumer({"bootstrap.servers": self.kafka, "group.id": "unused"})
        try:
            parts = [TopicPartition(parked_topic(self.prefix), number) for number in range(PARTITIONS)]
            marks = [asking.get_watermark_offsets(part, timeout=10) for part in parts]
            return sum(high - low for low, high in marks)
        finally:
            asking.close()

    def _cancel(self, keys: Sequence[int]) -> bool:
        if self.refuses_cancels:
            self.refuses_cancels -= 1
            return False
        self.cancelled.update(keys)
        return True


@pytest.fixture
def parking(kafka: str, topic_prefix: str) -> Iterator[Parking]:
    with contextlib.ExitStack() as ended:
        made = Parking(kafka, topic_prefix, ended)
        yield made
    assert not made.failures


def test_what_is_free_goes_to_the_lane_of_today_with_its_priority_and_what_is_paused_stays(
    parking: Parking,
) -> None:
    # Given
    parking.park(range(1, 101))
    parking.park(range(101, 151), handler="other", kind="slow")
    # When
    reader = parking.reader()
    until(lambda: reader.counters["freed"] == 50, "the other handler's tasks are out")
    # Then
    assert parking.in_lane("io-long") == list(range(101, 151))
    assert parking.in_lane() == []
    # When
    parking.gate = OPEN_GATE
    until(lambda: reader.counters["freed"] == 150, "all are out")
    # Then
    assert parking.in_lane() == list(range(1, 101))
    until(lambda: parking.left() == 0, "what was completed is deleted")


def test_what_is_parked_by_a_node_that_did_not_hear_of_the_resume_is_met_without_waiting(
    parking: Parking,
) -> None:
    parking.gate = OPEN_GATE
    reader = parking.reader()
    parking.park([1])
    until(lambda: reader.counters["freed"] == 1, "the first is out")
    parking.park([2, 3])
    until(lambda: reader.counters["freed"] == 3, "those that came later are out")
    assert parking.in_lane() == [1, 2, 3]


def test_purged_tasks_are_cancelled_also_when_the_ledger_does_not_answer_at_once(parking: Parking) -> None:
    parking.park(range(1, 51))
    parking.park([51], lane="io-short")
    parking.refuses_cancels = 2
    parking.gate = Gate(
        paused=frozenset({"held"}), purged_handlers={"held": 999}, purged_lanes={"cpu-short": 1000}
    )
    parking.reader()
    until(lambda: parking.cancelled == set(range(1, 51)), "all of the lane are cancelled")
    assert parking.in_lane() == []
    parking.gate = OPEN_GATE
    until(lambda: parking.in_lane() == [51], "the other lane's task runs")


def test_what_was_executed_meanwhile_goes_nowhere(parking: Parking) -> None:
    parking.park([1, 2])
    parking.executed = {1}
    parking.gate = OPEN_GATE
    parking.reader()
    until(lambda: parking.in_lane() == [2], "the open one is out")
    until(lambda: parking.left() == 0, "nothing is left")
    assert parking.in_lane() == [2]


def test_bytes_that_are_no_parked_task_go_to_the_dead_and_hold_up_nobody(parking: Parking) -> None:
    topic = parked_topic(parking.prefix)
    foreign = [
        (topic, encode_key(1), b"junk"),
        (topic, b"", b""),
        (topic, encode_key(2), encode_parked("x.y.z", b"?")),
    ]
    assert not any(parking.producer.produce_many(foreign, timeout_s=WITHIN_S))
    parking.park([3], handler="other")
    parking.reader()
    until(lambda: parking.in_lane() == [3], "the task is out")

    def is_in_dead() -> bool:
        asking = Consumer({"bootstrap.servers": parking.kafka, "group.id": "unused"})
        parts = [TopicPartition(dead_topic(parking.prefix), number) for number in range(PARTITIONS)]
        ends = sum(asking.get_watermark_offsets(part, timeout=10)[1] for part in parts)
        asking.close()
        return ends == 3

    until(is_in_dead, "three dead records")


def test_nothing_is_taken_out_before_the_barrier(parking: Parking) -> None:
    parking.is_behind_barrier.clear()
    parking.gate = OPEN_GATE
    parking.park([1])
    reader = parking.reader()
    until(lambda: bool(reader._fresh), "partitions are assigned")
    assert parking.in_lane() == []
    parking.is_behind_barrier.set()
    until(lambda: parking.in_lane() == [1], "it is out")


def test_readers_share_the_work_and_one_that_leaves_on_the_way_loses_nothing(parking: Parking) -> None:
    # Given
    keys = list(range(1, 5001))
    parking.park(keys)
    first, second = parking.reader("a"), parking.reader("b")
    until(lambda: bool(first._partitions) and bool(second._partitions), "both have partitions")
    # When
    parking.gate = OPEN_GATE
    until(lambda: first.counters["freed"] > 0, "it has begun")
    first.stop()
    # Then
    until(lambda: set(parking.in_lane()) == set(keys), "all are out")
    until(lambda: parking.left() == 0, "nothing is left")
