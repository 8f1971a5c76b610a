"""Dramatiq with Redis, as it comes: it acknowledges after the run. Runs in an environment of its own."""

from __future__ import annotations

import os
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.peers.counting import count_run
from bench.work import burn_long, note_start, sleep_long

dramatiq.set_broker(RedisBroker(url=os.environ["BENCH_BROKER"]))

TASKS = {task.__name__: dramatiq.actor(task) for task in (count_run, note_start, sleep_long, burn_long)}


def submit(task: str, arguments: list[Any]) -> None:
    TASKS[task].send(*arguments)
