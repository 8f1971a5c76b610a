"""One consumer against a real broker: it delivers what it has credit for, and loses nothing while it has none."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Consumer, TopicPartition

from cluster.envelope import decode_key, encode_key
from cluster.kafka.confluent import TaskProducer, group_consumer
from cluster.kafka.consumer import LaneConsumer, RawRecords
from cluster.kafka.topics import PARTITIONS, ensure_topics
from cluster.routing import task_topic

pytestmark = pytest.mark.integration

WITHIN_S = 30.0
RECORDS = 400


class Basin:
    """Takes what `credit` allows; the test sets it."""

    def __init__(self) -> None:
        self.credit = 0
        self.overdrawn = False
        self.records: list[tuple[RawRecords, int]] = []
        self.lock = threading.Lock()

    def take(self, lane: str, priority: str, wanted: int) -> int:
        with self.lock:
            granted = min(wanted, self.credit)
            self.credit -= granted
            return granted

    def give_back(self, lane: str, priority: str, count: int) -> None:
        with self.lock:
            self.credit += count

    def deliver(self, records: RawRecords) -> None:
        with self.lock:
            self.records += [(records, place) for place in range(len(records.offsets))]

    def keys(self) -> list[int]:
        with self.lock:
            return [decode_key(records.keys[place]) for records, place in self.records]


@pytest.fixture
def topic(kafka: str, topic_prefix: str) -> str:
    name = task_topic(topic_prefix, "cpu-short", "normal")
    ensure_topics(kafka, [name])
    producer = TaskProducer(kafka, acks="all", name="test")
    records = [(name, encode_key(key), b"value") for key in range(1, RECORDS + 1)]
    assert set(producer.produce_many(records, timeout_s=WITHIN_S)) == {None}
    producer.stop()
    return name


@pytest.fixture
def failures() -> queue.SimpleQueue[BaseException]:
    return queue.SimpleQueue()


@pytest.fixture
def consumer_of(
    kafka: str, topic: str, failures: queue.SimpleQueue[BaseException]
) -> Iterator[Callable[[Basin], LaneConsumer]]:
    started: list[LaneConsumer] = []

    def make(basin: Basin) -> LaneConsumer:
        one = LaneConsumer(
            group_consumer(kafka, group=topic, name="test"),
            "cpu-short",
            "normal",
            topic,
            inlet=basin,
            barrier=lambda _: True,
            failed=failures.put,
            pause_after_s=0.5,
        )
        one.start()
        started.append(one)
        return one

    yield make
    for one in started:
        one.stop()
    assert failures.empty()


def await_true(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not is_so():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


def committed(kafka: str, topic: str) -> int:
    """Over all partitions."""
    reader = Consumer({"bootstrap.servers": kafka, "group.id": topic})
    try:
        places = reader.committed([TopicPartition(topic, each) for each in range(PARTITIONS)], timeout=10)
        return sum(max(place.offset, 0) for place in places)
    finally:
        reader.close()


def test_without_credit_it_pauses_and_afterwards_delivers_each_record_once(
    consumer_of: Callable[[Basin], LaneConsumer],
) -> None:
    # Given a consumer that nobody takes anything from, for so long that it pauses
    basin = Basin()
    consumer = consumer_of(basin)
    await_true(lambda: consumer.pauses > 0)
    assert basin.keys() == []
    # When there is credit again
    with basin.lock:
        basin.credit = 10 * RECORDS
    # Then every record comes, once, and the credit that is left is given back
    await_true(lambda: len(basin.keys()) >= RECORDS)
    assert sorted(basin.keys()) == list(range(1, RECORDS + 1))
    await_true(lambda: basin.credit == 9 * RECORDS)


def test_what_it_had_paused_flows_again_after_a_rebalance(
    consumer_of: Callable[[Basin], LaneConsumer],
) -> None:
    # Given a consumer that has paused all partitions
    first, second = Basin(), Basin()
    consumer = consumer_of(first)
    await_true(lambda: consumer.pauses > 0)
    # When another one joins and takes half of them
    consumer_of(second)
    with second.lock:
        second.credit = RECORDS
    await_true(lambda: len(second.keys()) > 0)
    # Then what stays with the first is delivered as soon as it has credit
    with first.lock:
        first.credit = RECORDS
    await_true(lambda: len({*first.keys(), *second.keys()}) == RECORDS)
    assert len(first.keys()) > 0


def test_it_never_delivers_more_than_it_has_credit_for(consumer_of: Callable[[Basin], LaneConsumer]) -> None:
    basin = Basin()
    consumer_of(basin)
    for turn in range(1, 11):
        with basin.lock:
            basin.credit += 7
        await_true(lambda: basin.credit == 0)
        await_true(lambda turn=turn: len(basin.keys()) == 7 * turn)  # type: ignore[misc]


def test_only_what_lies_below_every_open_record_is_committed(
    consumer_of: Callable[[Basin], LaneConsumer], kafka: str, topic: str
) -> None:
    # Given all records delivered
    basin = Basin()
    basin.credit = RECORDS
    consumer = consumer_of(basin)
    await_true(lambda: len(basin.keys()) == RECORDS)
    # When all but the first of each partition are completed, last ones first
    firsts = {records.place.partition: min(records.offsets) for records, _ in reversed(basin.records)}
    for records, place in reversed(basin.records):
        if records.offsets[place] != firsts[records.place.partition]:
            consumer.complete(records.place, [records.offsets[place]])
    consumer.stop()
    # Then nothing is committed, and the next consumer reads them all again
    assert committed(kafka, topic) == 0
    again = Basin()
    again.credit = RECORDS
    following = consumer_of(again)
    await_true(lambda: len(again.keys()) == RECORDS)
    # When it completes all of them, they are committed
    for records, place in again.records:
        following.complete(records.place, [records.offsets[place]])
    following.stop()
    assert committed(kafka, topic) == RECORDS
