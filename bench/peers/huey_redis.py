"""Huey with Redis, worker processes. It takes a task off the queue before the run: at most once. Runs in an environment of its own."""

from __future__ import annotations

import os
from typing import Any

from huey import RedisHuey

from bench.peers.counting import count_run
from bench.work import burn_long, note_start, sleep_long

huey = RedisHuey("bench", url=os.environ["BENCH_BROKER"], results=False)

TASKS = {task.__name__: huey.task()(task) for task in (count_run, note_start, sleep_long, burn_long)}


def submit(task: str, arguments: list[Any]) -> None:
    TASKS[task](*arguments)
