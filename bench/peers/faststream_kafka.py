"""FastStream with Kafka, at least once: it acknowledges after the run, every hundredth message for those before it, as a commit for each
would cost it nine tenths of its rate. Runs in an environment of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
from typing import Any

from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker, KafkaMessage

from bench.peers.counting import count_run
from bench.work import burn_long, note_start, sleep_long

SUBMITTED_WITHIN_S = 30.0
ACKNOWLEDGE_EVERY = 100
TOPIC = "bench"
WORK = {task.__name__: task for task in (count_run, note_start, sleep_long, burn_long)}

broker = KafkaBroker(os.environ["BENCH_BROKER"], logger=None)
app = FastStream(broker)
_runs = itertools.count(1)


@broker.subscriber(TOPIC, group_id="bench", auto_offset_reset="earliest", ack_policy=AckPolicy.MANUAL)
async def run(task: str, arguments: list[Any], message: KafkaMessage) -> None:
    WORK[task](*arguments)
    if next(_runs) % ACKNOWLEDGE_EVERY == 0:
        await message.ack()


_loop = asyncio.new_event_loop()


def _in_loop(work: Any) -> None:
    asyncio.run_coroutine_threadsafe(work, _loop).result(SUBMITTED_WITHIN_S)


def start_submitting() -> None:
    """Once, in the process that submits."""
    threading.Thread(target=_loop.run_forever, name="loop", daemon=True).start()
    _in_loop(broker.connect())


def submit(task: str, arguments: list[Any]) -> None:
    _in_loop(broker.publish({"task": task, "arguments": arguments}, TOPIC))
