"""Celery with Redis, acknowledging late: the setting that promises what we promise. Runs in an environment of its own."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

from bench.peers.counting import count_run
from bench.work import burn_long, note_start, sleep_long

app = Celery("bench.peers.celery_acks_late", broker=os.environ["BENCH_BROKER"])
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)

TASKS = {
    task.__name__: app.task(task, name=task.__name__)
    for task in (count_run, note_start, sleep_long, burn_long)
}


def submit(task: str, arguments: list[Any]) -> None:
    TASKS[task].apply_async(arguments)
