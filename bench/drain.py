"""How fast real nodes run a queue that was filled before they started: the part of `bench.noop` that needs a cluster.

Node processes, their ledger on a disk with flushing on, a real broker. Keys are reserved in the ledger first, the nodes are stopped, the
topic is filled, the nodes are started. The clock runs from the first to the last executed key, as a node tells it through its API; the
questions cost the node something, and the last answer comes late by up to one question: both count against us.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil

from bench.backlog import fill, fresh_prefix
from cluster.api import NodeView
from cluster.client import Client
from cluster.local_cluster import LocalCluster
from cluster.routing import task_topic

HANDLERS = ("bench.noop_handlers",)
LOOK_EVERY_S = 0.05
STANDS_STILL_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """`cpu_us_per_task`: of the nodes and their workers, without the broker."""

    tasks_per_s: float
    cpu_us_per_task: float


class NoopCluster:
    """A cluster kept for several rounds, each with `tasks` tasks; between rounds it is down."""

    def __init__(
        self, kafka: str, directory: Path, *, nodes: int, workers: int, tasks: int, rounds: int
    ) -> None:
        self._kafka, self._tasks = kafka, tasks
        self._prefix = fresh_prefix()
        self._cluster = LocalCluster(
            directory, nodes, HANDLERS, kafka=kafka, workers=workers, prefix=self._prefix
        )
        up = self._cluster.up()
        self._addresses = [str(node["api"]) for node in up["nodes"]]
        with Client(",".join(self._addresses)) as client:
            self._keys = client.reserve(tasks * rounds)
            self._executed = self._look(client).executed
        self._cluster.down()

    def __enter__(self) -> NoopCluster:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._cluster.down()

    def drain(self) -> Drained:
        keys, self._keys = self._keys[: self._tasks], self._keys[self._tasks :]
        fill(self._kafka, task_topic(self._prefix, "cpu-short", "normal"), keys)
        up = self._cluster.up()
        processes = _with_children([int(node["pid"]) for node in up["nodes"]])
        try:
            with Client(self._addresses[0]) as client:
                return self._follow(client, processes)
        finally:
            self._cluster.down()

    def _follow(self, client: Client, processes: list[psutil.Process]) -> Drained:
        end = self._executed + self._tasks
        first: tuple[float, int, float] | None = None
        seen, seen_at = self._executed, time.monotonic()
        while True:
            now, executed = time.monotonic(), self._look(client).executed
            if executed > seen:
                seen, seen_at = executed, now
                first = first or (now, executed, _cpu_s(processes))
            elif now - seen_at > STANDS_STILL_S:
                raise RuntimeError(f"no task ran for {STANDS_STILL_S:g} s; {end - executed} were left")
            if executed >= end and first is not None:
                break
            time.sleep(LOOK_EVERY_S)
        at, before, cpu_s = first
        count, self._executed = executed - before, executed
        return Drained(
            tasks_per_s=count / (time.monotonic() - at),
            cpu_us_per_task=(_cpu_s(processes) - cpu_s) * 1e6 / count,
        )

    def _look(self, client: Client) -> NodeView:
        (view,) = client.nodes()[:1]
        return view


def _with_children(pids: list[int]) -> list[psutil.Process]:
    nodes = [psutil.Process(pid) for pid in pids]
    return [*nodes, *(child for node in nodes for child in node.children(recursive=True))]


def _cpu_s(processes: list[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes if process.is_running()]
    return float(sum(each.user + each.system for each in times))
