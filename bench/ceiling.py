"""How many no-op tasks per second can any Python node reach on this broker? `python -m bench.ceiling [--json] [--quick]`

The bare loop of DESIGN section 14: records in batches of 500, doubles found by their key in a roaring set, handed on still encoded in
batches of 128 over a socketpair, decoded and run in a worker process between two clock readings each, numbers of the ended ones back in
batches, marks added, offsets committed. No lanes, no labels, no time-outs, no majority, one thread. A node is judged by its share of that.

With the client library's defaults the loop runs dry: after 100,000 records read ahead the library fetches nothing for a second. That is how
the figures of section 14 came about, so it is `ceiling_tasks_per_s`; `ceiling_tuned_tasks_per_s` reads ahead as our own consumers do.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import selectors
import socket
import struct
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgpack
from confluent_kafka import Consumer
from pyroaring import BitMap64

from bench.backlog import HANDLER, bench_broker, fill, fresh_prefix, make_topics
from bench.measurement import figure, report, show
from cluster.kafka.confluent import FETCH_AGAIN_MS
from cluster.routing import task_topic
from executor import decode_arguments

FETCH_RECORDS = 500
BATCH_TASKS = 128
AHEAD_BATCHES = 2  # a worker: one that it runs, one that waits in its socket
COMMIT_EVERY_S = 0.2
GIVE_UP_S = 60.0
DEFAULTS: Mapping[str, int] = {"queued.max.messages.kbytes": 16_384}
TUNED: Mapping[str, int] = {**DEFAULTS, "fetch.queue.backoff.ms": FETCH_AGAIN_MS}
LENGTH = struct.Struct(">I")
RUNS, RUNS_QUICK = 5, 3
TASKS, TASKS_QUICK = 600_000, 300_000  # fewer would be measured out of what was read ahead
WORKERS = 2


def ceiling_tasks_per_s(kafka: str, count: int, reading: Mapping[str, int] = DEFAULTS) -> float:
    """`count` records are there beforehand; from the first batch in to the last outcome back."""
    prefix = fresh_prefix()
    make_topics(kafka, prefix)
    fill(kafka, task_topic(prefix, "cpu-short", "normal"), range(1, count + 1))
    with _workers(WORKERS) as sockets:
        return _drain(kafka, task_topic(prefix, "cpu-short", "normal"), count, sockets, reading)


def _drain(
    kafka: str, topic: str, count: int, sockets: Sequence[socket.socket], reading: Mapping[str, int]
) -> float:
    consumer = Consumer(
        {
            "bootstrap.servers": kafka,
            "group.id": f"{topic}.ceiling",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            **reading,
        }
    )
    executed = BitMap64()
    waiting: deque[tuple[bytes, bytes]] = deque()
    sent = dict.fromkeys(sockets, 0)
    readers = {one: bytearray() for one in sockets}
    in_flight: set[int] = set()
    started = commit_at = last_came = 0.0
    with selectors.DefaultSelector() as selector:
        for one in sockets:
            selector.register(one, selectors.EVENT_READ, one)
        consumer.subscribe([topic])
        try:
            while len(executed) < count:
                if len(waiting) < FETCH_RECORDS:
                    # waits for records only while there is nothing else to do
                    messages = consumer.consume(FETCH_RECORDS, 0.0 if waiting or in_flight else 0.005)
                    for message in messages:
                        key, value = message.key() or b"", message.value() or b""
                        number = int.from_bytes(key, "big")
                        if number not in executed and number not in in_flight:
                            in_flight.add(number)
                            waiting.append((key, value))
                            consumer.store_offsets(message=message)
                    if messages:
                        last_came = time.perf_counter()
                        started = started or last_came
                for one in sockets:
                    while waiting and sent[one] < AHEAD_BATCHES:
                        batch = [waiting.popleft() for _ in range(min(BATCH_TASKS, len(waiting)))]
                        _send(one, batch)
                        sent[one] += 1
                for key, _ in selector.select(0.0 if len(waiting) < FETCH_RECORDS else 0.005):
                    one = key.data
                    readers[one] += one.recv(1 << 20)
                    for numbers in _frames(readers[one]):
                        sent[one] -= 1
                        executed.update(numbers)
                        in_flight.difference_update(numbers)
                        last_came = time.perf_counter()
                now = time.perf_counter()
                if started and now - last_came > GIVE_UP_S:
                    raise RuntimeError(
                        f"nothing came for {GIVE_UP_S:g} s; {len(executed)} of {count} had run"
                    )
                if started and now > commit_at:
                    commit_at = now + COMMIT_EVERY_S
                    consumer.commit(asynchronous=True)
            return count / (time.perf_counter() - started)
        finally:
            consumer.close()


def _send(one: socket.socket, batch: list[tuple[bytes, bytes]]) -> None:
    data = bytes(msgpack.packb(batch))
    one.sendall(LENGTH.pack(len(data)) + data)


def _frames(data: bytearray) -> Iterator[Any]:
    """Whole messages at the head of `data`, which they leave."""
    while len(data) >= LENGTH.size:
        (size,) = LENGTH.unpack_from(data)
        if len(data) < LENGTH.size + size:
            return
        yield msgpack.unpackb(bytes(data[LENGTH.size : LENGTH.size + size]))
        del data[: LENGTH.size + size]


@contextlib.contextmanager
def _workers(count: int) -> Iterator[list[socket.socket]]:
    """Forked before any thread of ours is there; they end when their socket closes."""
    pids: list[int] = []
    sockets: list[socket.socket] = []
    for _ in range(count):
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            for one in (*sockets, ours):
                one.close()
            try:
                _work(theirs)
            finally:
                os._exit(0)
        theirs.close()
        pids.append(pid)
        sockets.append(ours)
    try:
        yield sockets
    finally:
        for one in sockets:
            one.close()
        for pid in pids:
            os.waitpid(pid, 0)


def _work(one: socket.socket) -> None:
    handlers = {HANDLER: lambda: None}
    data = bytearray()
    while received := one.recv(1 << 20):
        data += received
        for batch in _frames(data):
            ended = []
            for key, value in batch:
                started = time.perf_counter()
                handler, _, arguments, _, _ = msgpack.unpackb(value[3:])
                args, kwargs = decode_arguments(arguments)
                handlers[handler](*args, **kwargs)
                ended.append(int.from_bytes(key, "big"))
                time.perf_counter() - started
            reply = bytes(msgpack.packb(ended))
            one.sendall(LENGTH.pack(len(reply)) + reply)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--directory", type=Path, help="where the broker's files go, on a disk")
    options = parser.parse_args()
    runs, count = (RUNS_QUICK, TASKS_QUICK) if options.quick else (RUNS, TASKS)
    with bench_broker(options.directory) as kafka:
        pairs = [
            (ceiling_tasks_per_s(kafka, count), ceiling_tasks_per_s(kafka, count, TUNED)) for _ in range(runs)
        ]
    figures = {
        "ceiling_tasks_per_s": figure([plain for plain, _ in pairs], "1/s"),
        "ceiling_tuned_tasks_per_s": figure([tuned for _, tuned in pairs], "1/s"),
    }
    show(figures)
    if options.json:
        print(report("ceiling", runs, figures, {}))


if __name__ == "__main__":
    main()
