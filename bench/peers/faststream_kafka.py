"""FastStream with Kafka, acknowledging after the run: offsets are committed by hand. Runs in an environment of its own."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker

from bench.peers.counting import count_run
from bench.work import burn_long, note_start, sleep_long

SUBMITTED_WITHIN_S = 30.0
TOPIC = "bench"
WORK = {task.__name__: task for task in (count_run, note_start, sleep_long, burn_long)}

broker = KafkaBroker(os.environ["BENCH_BROKER"])
app = FastStream(broker)


@broker.subscriber(TOPIC, group_id="bench", auto_offset_reset="earliest", ack_policy=AckPolicy.ACK)
async def run(task: str, arguments: list[Any]) -> None:
    WORK[task](*arguments)


_loop = asyncio.new_event_loop()


def _in_loop(work: Any) -> None:
    asyncio.run_coroutine_threadsafe(work, _loop).result(SUBMITTED_WITHIN_S)


def start_submitting() -> None:
    """Once, in the process that submits."""
    threading.Thread(target=_loop.run_forever, name="loop", daemon=True).start()
    _in_loop(broker.connect())


def submit(task: str, arguments: list[Any]) -> None:
    _in_loop(broker.publish({"task": task, "arguments": arguments}, TOPIC))
