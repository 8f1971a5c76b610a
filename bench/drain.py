"""How fast real nodes run a queue that was filled before: the part of `bench.noop` that needs a cluster.

Node processes, their ledger on a disk with flushing on, a real broker. The lane is paused as an operator would, its topic is filled, the
lane is resumed. The clock runs from the first to the last executed key, as a node tells through its API; the questions cost that node
something, and the last answer comes late by up to one question: both count against us.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.backlog import fill, fresh_prefix
from cluster.client import Client
from cluster.local_cluster import LocalCluster
from cluster.routing import task_topic

HANDLERS = ("bench.noop_handlers",)
LANE = "cpu-short"
LOOK_EVERY_S = 0.05
STANDS_STILL_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """`cpu_us_per_task`: of the nodes and their workers, without the broker."""

    tasks_per_s: float
    cpu_us_per_task: float


def drain(kafka: str, directory: Path, *, nodes: int, workers: int, tasks: int) -> Drained:
    """`workers`: of each node. `directory` is new for each call."""
    prefix = fresh_prefix()
    cluster = LocalCluster(directory, nodes, HANDLERS, kafka=kafka, workers=workers, prefix=prefix)
    try:
        up = cluster.up()
        with Client(",".join(str(node["api"]) for node in up["nodes"])) as client:
            client.pause(f"lane:{LANE}")
            fill(kafka, task_topic(prefix, LANE, "normal"), client.reserve(tasks))
            client.resume(f"lane:{LANE}")
        with Client(str(up["nodes"][0]["api"])) as client:
            return _follow(client, tasks, _with_children([int(node["pid"]) for node in up["nodes"]]))
    finally:
        cluster.down()


def _follow(client: Client, tasks: int, processes: list[psutil.Process]) -> Drained:
    first: tuple[float, int, float] | None = None
    seen, seen_at = 0, time.monotonic()
    while seen < tasks:
        (view,) = client.nodes()
        now = time.monotonic()
        if view.executed > seen:
            seen, seen_at = view.executed, now
            first = first or (now, seen, _cpu_s(processes))
        elif now - seen_at > STANDS_STILL_S:
            raise RuntimeError(f"no task ran for {STANDS_STILL_S:g} s; {tasks - seen} were left")
        time.sleep(LOOK_EVERY_S)
    assert first is not None
    at, before, cpu_s = first
    return Drained(
        tasks_per_s=(seen - before) / (seen_at - at),
        cpu_us_per_task=(_cpu_s(processes) - cpu_s) * 1e6 / (seen - before),
    )


def _with_children(pids: list[int]) -> list[psutil.Process]:
    nodes = [psutil.Process(pid) for pid in pids]
    return [*nodes, *(child for node in nodes for child in node.children(recursive=True))]


def _cpu_s(processes: list[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes if process.is_running()]
    return float(sum(each.user + each.system for each in times))
