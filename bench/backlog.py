"""A queue filled beforehand, and the broker that holds it: what the benches of throughput share."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from confluent_kafka import Producer

from bench.node_group import disk_directory
from cluster.envelope import Envelope, encode_envelope, encode_key
from cluster.kafka.dev_broker import DevBroker
from cluster.kafka.topics import ensure_topics
from cluster.routing import all_topics
from executor import encode_arguments

HANDLER = "noop"
FILL_RECORDS = 10_000  # handed to the client library at once
FILL_WITHIN_S = 60.0


@contextlib.contextmanager
def bench_broker(where: Path | None) -> Iterator[str]:
    """The broker named by $QUORATE_KAFKA, or one of our own for as long as this lasts; its files on a disk."""
    named = os.environ.get("QUORATE_KAFKA")
    if named:
        yield named
        return
    directory = disk_directory(where)
    broker = DevBroker(directory / "broker")
    try:
        yield broker.start()
    finally:
        broker.stop()
        shutil.rmtree(directory, ignore_errors=True)


def fresh_prefix() -> str:
    """A name for topics and groups that nobody has used."""
    return f"bench{uuid.uuid4().hex[:10]}"


def make_topics(kafka: str, prefix: str) -> None:
    ensure_topics(kafka, all_topics(prefix), timeout_s=20.0)


def fill(kafka: str, topic: str, keys: Sequence[int], *, handler: str = HANDLER) -> None:
    """One task of `handler` without arguments for each of `keys`, acknowledged when this returns."""
    value = encode_envelope(Envelope(handler=handler, arguments=encode_arguments((), {})))
    failed: list[str] = []
    producer = Producer(
        {
            "bootstrap.servers": kafka,
            "acks": "1",
            "linger.ms": 5,
            "queue.buffering.max.messages": len(keys) + FILL_RECORDS,
            "partitioner": "murmur2_random",
        }
    )

    def reported(error: object, _: object) -> None:
        if error is not None:
            failed.append(str(error))

    for start in range(0, len(keys), FILL_RECORDS):
        records = [{"key": encode_key(key), "value": value} for key in keys[start : start + FILL_RECORDS]]
        producer.produce_batch(topic, records, on_delivery=reported)
        producer.poll(0)
    left = producer.flush(FILL_WITHIN_S)
    if left or failed:
        raise RuntimeError(f"{left + len(failed)} of {len(keys)} tasks were not stored: {failed[:1]}")
