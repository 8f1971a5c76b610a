"""How fast are tasks accepted? `python -m bench.submit [--json] [--quick]`

One program submits to three nodes through the API: many at once, and one at a time while the cluster has nothing else to do. The same with
the node in the program's own process. Each submit returns when the broker has acknowledged. While many are counted their lane is paused, so
that running them costs nothing; `_running` is the same with the nodes running them at the same time, on the same cores.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.backlog import HANDLER, bench_broker, fresh_prefix
from bench.charts import draw_submit
from bench.drain import HANDLERS, LANE
from bench.measurement import figure, report, show
from bench.node_group import disk_directory, free_ports
from cluster.api import NewTask
from cluster.client import Client
from cluster.local_cluster import LocalCluster
from cluster.node import Node
from cluster.settings import NodeSettings
from executor import encode_arguments

NODES = 3
EMBEDDED_TASKS = 5_000  # a call: its acknowledgements come while the rest is still encoded
TIMEOUT_S = 30.0
QUIET_S = 1.0  # before single submits: what ran has been marked and committed
BETWEEN_S = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    rounds: int
    many: int
    ones: int


FULL = Size(rounds=5, many=100_000, ones=500)
QUICK = Size(rounds=3, many=40_000, ones=200)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    api_per_s: float
    api_running_per_s: float
    embedded_per_s: float
    one_ms: tuple[float, ...]


def many_per_s(client: Client, count: int) -> float:
    arguments = [()] * count
    started = time.perf_counter()
    client.submit_many(HANDLER, arguments)
    return count / (time.perf_counter() - started)


def one_ms(client: Client, count: int) -> tuple[float, ...]:
    waits = []
    for _ in range(count):
        started = time.perf_counter()
        client.submit(HANDLER)
        waits.append((time.perf_counter() - started) * 1e3)
        time.sleep(BETWEEN_S)
    return tuple(waits)


def embedded_per_s(node: Node, count: int) -> float:
    tasks = [NewTask(handler=HANDLER, arguments=encode_arguments((), {}))] * EMBEDDED_TASKS
    started = time.perf_counter()
    for _ in range(count // EMBEDDED_TASKS):
        failed = [one for one in node.submit(tasks, timeout_s=TIMEOUT_S) if one.error is not None]
        if failed:
            raise RuntimeError(f"{len(failed)} of {len(tasks)} were not stored: {failed[0].error}")
    return count / (time.perf_counter() - started)


@contextmanager
def nodes_up(kafka: str, directory: Path) -> Iterator[str]:
    """-> the addresses of their API."""
    cluster = LocalCluster(directory, NODES, HANDLERS, kafka=kafka, workers=1, prefix=fresh_prefix())
    try:
        yield ",".join(str(node["api"]) for node in cluster.up()["nodes"])
    finally:
        cluster.down()


@contextmanager
def embedded_node(kafka: str, directory: Path) -> Iterator[Node]:
    listen, api = (f"127.0.0.1:{port}" for port in free_ports(2))
    node = Node(
        NodeSettings(
            listen=listen,
            kafka=kafka,
            handlers=HANDLERS,
            data_dir=directory,
            api=api,
            name="embedded",
            prefix=fresh_prefix(),
        )
    )
    node.start()
    try:
        while not node.view().ready:
            time.sleep(BETWEEN_S)
        yield node
    finally:
        node.stop(0.0)


def measure(kafka: str, directory: Path, size: Size) -> Round:
    with nodes_up(kafka, directory / "nodes") as addresses, Client(addresses, timeout_s=TIMEOUT_S) as client:
        time.sleep(QUIET_S)
        waits = one_ms(client, size.ones)
        client.pause(f"lane:{LANE}")
        many_per_s(client, 1000)  # keys are drawn in growing blocks: the first calls wait for them
        api = many_per_s(client, size.many)
        client.resume(f"lane:{LANE}")
        running = many_per_s(client, size.many)
    with embedded_node(kafka, directory / "embedded") as node:
        node.change_limit("pause", f"lane:{LANE}", None, who="bench", timeout_s=TIMEOUT_S)
        embedded_per_s(node, EMBEDDED_TASKS)
        embedded = embedded_per_s(node, 2 * size.many)
    return Round(api_per_s=api, api_running_per_s=running, embedded_per_s=embedded, one_ms=waits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="within a minute")
    parser.add_argument("--directory", type=Path, help="where ledgers and the broker's files go, on a disk")
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    directory = disk_directory(options.directory)
    try:
        with bench_broker(options.directory) as kafka:
            rounds = [measure(kafka, directory / str(number), size) for number in range(size.rounds)]
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    percentiles = [statistics.quantiles(one.one_ms, n=100) for one in rounds]
    figures = {
        "submit_many_per_s_api": figure([one.api_per_s for one in rounds], "1/s", 50_000),
        "submit_many_per_s_embedded": figure([one.embedded_per_s for one in rounds], "1/s", 100_000),
        "submit_one_p50_ms": figure([each[49] for each in percentiles], "ms", 3, at_most=True),
        "submit_one_p99_ms": figure([each[98] for each in percentiles], "ms", 10, at_most=True),
        "submit_many_per_s_api_running": figure([one.api_running_per_s for one in rounds], "1/s"),
    }
    show(figures)
    print(draw_submit(figures))
    if options.json:
        print(report("submit", size.rounds, figures, {}))


if __name__ == "__main__":
    main()
