"""Taskiq with Redis streams, acknowledging after the run. Runs in an environment of its own."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

from taskiq_redis import RedisStreamBroker

from bench.peers.counting import count_run
from bench.work import burn_long, note_start, sleep_long

SUBMITTED_WITHIN_S = 30.0

broker = RedisStreamBroker(os.environ["BENCH_BROKER"])

TASKS = {
    task.__name__: broker.task(task_name=task.__name__)(task)
    for task in (count_run, note_start, sleep_long, burn_long)
}

_loop = asyncio.new_event_loop()


def _in_loop(work: Any) -> None:
    asyncio.run_coroutine_threadsafe(work, _loop).result(SUBMITTED_WITHIN_S)


def start_submitting() -> None:
    """Once, in the process that submits."""
    threading.Thread(target=_loop.run_forever, name="loop", daemon=True).start()
    _in_loop(broker.startup())


def submit(task: str, arguments: list[Any]) -> None:
    _in_loop(TASKS[task].kiq(*arguments))
