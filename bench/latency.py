"""How long from the submit call to the start of the handler? `python -m bench.latency [--json] [--quick]`

A real cluster with its broker, idle but for the tasks of this bench: 200 and 1,000 a second, submitted one by one at steady moments whether
or not those before were answered. The submitter puts its moment into the task, the handler compares it with its own; one clock.
Peers run in the same rounds, one after the other, two worker processes each.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import charts
from bench.backlog import bench_broker
from bench.callers import percentile
from bench.grounds import NodeGround
from bench.measurement import figure, report, show
from bench.moments import read_moments
from bench.node_group import disk_directory
from bench.open_loop import open_loop
from bench.peers.environments import PeerMissing
from bench.peers.python_peers import PEERS, start_latencies
from cluster.client import Client
from cluster.kafka.jars import BrokerError

RATES = (200, 1_000)
THREADS = 16  # a submit may take this many ms at 1,000/s before it delays another
WARM_UP_TASKS = 300
WARM_UP_PER_S = 150
STARTED_WITHIN_S = 60.0
LOOK_EVERY_S = 0.05
TARGETS = {"p50": {200: 3.0, 1_000: 3.0}, "p99": {200: 10.0, 1_000: 12.0}}

Values = defaultdict[str, list[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    runs: int
    seconds: float  # of each rate
    nodes: tuple[int, ...]
    peers: tuple[str, ...]


FULL = Plan(runs=3, seconds=10.0, nodes=(1, 3), peers=tuple(PEERS))
QUICK = Plan(runs=1, seconds=3.0, nodes=(1, 3), peers=("dramatiq",))


def measure_own(plan: Plan, nodes: int, directory: Path, kafka: str, values: Values) -> None:
    """Each rate of one cluster; figures of three nodes end in `_3_nodes`."""
    ending = "" if nodes == 1 else f"_{nodes}_nodes"
    with NodeGround(directory, kafka, nodes=nodes) as ground:
        load(ground.client, directory / "warm", WARM_UP_PER_S, WARM_UP_TASKS / WARM_UP_PER_S)
        for rate in RATES:
            waits_s, late_p99_ms, took_p50_ms = load(
                ground.client, directory / f"at-{rate}", rate, plan.seconds
            )
            for percent in (50, 99):
                values[f"start_p{percent}_ms_{rate}{ending}"].append(percentile(waits_s, percent) * 1000)
            values[f"submitter_late_p99_ms_{rate}{ending}"].append(late_p99_ms)
            values[f"submit_p50_ms_{rate}{ending}"].append(took_p50_ms)


def load(client: Client, file: Path, per_s: float, seconds: float) -> tuple[list[float], float, float]:
    """Sorted waits from submit call to handler start; how late the submitter itself was, and how long a submit took."""
    sent = open_loop(
        lambda: client.submit("note_start", time.monotonic_ns(), str(file)),
        per_s=per_s,
        seconds=seconds,
        threads=THREADS,
    )
    if sent.failed:
        raise RuntimeError(f"{sent.failed} of {sent.count} submits failed: {sent.why}")
    return started_waits(file, sent.count), sent.late_p99_ms, sent.took_p50_ms


def started_waits(file: Path, count: int, within_s: float = STARTED_WITHIN_S) -> list[float]:
    """Sorted, once all have started. A task that ran twice counts once, as it began first."""
    deadline = time.monotonic() + within_s
    while True:
        first: dict[int, float] = {}
        for moment in read_moments(file):
            first.setdefault(moment.number, moment.wait_s)
        if len(first) >= count:
            return sorted(first.values())
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(first)} of {count} tasks had started after {within_s:g} s")
        time.sleep(LOOK_EVERY_S)


def own_figures(values: Values, why: str) -> dict[str, Any]:
    """`why` nothing was measured, if so."""
    figures = {}
    for ending in ("", "_3_nodes"):
        for rate in RATES:
            for percent in ("p50", "p99"):
                name = f"start_{percent}_ms_{rate}{ending}"
                target = TARGETS[percent][rate] if not ending else None
                figures[name] = figure(values[name], "ms", target, at_most=True, why=why)
            for name in (f"submit_p50_ms_{rate}{ending}", f"submitter_late_p99_ms_{rate}{ending}"):
                figures[name] = figure(values[name], "ms", why=why)
    return figures


def peer_figures(peers: dict[str, Values], missing: dict[str, str]) -> dict[str, Any]:
    names = [f"start_{percent}_ms_{rate}" for rate in RATES for percent in ("p50", "p99")]
    return {
        peer: {name: figure(values[name], "ms", why=missing.get(peer, "")) for name in names}
        for peer, values in peers.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--directory", type=Path, help="where the cluster is kept: a disk, not memory")
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL
    own, why = Values(list), ""
    peers = {name: Values(list) for name in ([] if options.no_peers else plan.peers)}
    missing: dict[str, str] = {}
    directory = disk_directory(options.directory)
    with contextlib.ExitStack() as ended:
        ended.callback(shutil.rmtree, directory, ignore_errors=True)
        try:
            kafka = ended.enter_context(bench_broker(options.directory))
        except BrokerError as error:
            why = f"no broker: {error}"
        for run in range(plan.runs):
            for nodes in plan.nodes if not why else ():
                measure_own(plan, nodes, directory / f"own-{nodes}-{run}", kafka, own)
            for name, values in peers.items():
                try:
                    for rate, waits_s in start_latencies(name, RATES, plan.seconds).items():
                        values[f"start_p50_ms_{rate}"].append(percentile(waits_s, 50) * 1000)
                        values[f"start_p99_ms_{rate}"].append(percentile(waits_s, 99) * 1000)
                except PeerMissing as error:
                    missing[name] = str(error)
    figures, of_peers = own_figures(own, why), peer_figures(peers, missing)
    show(figures)
    for name, one in of_peers.items():
        show(one, f"{name}: ")
    print(charts.draw_latency(figures, of_peers))
    if options.json:
        print(report("latency", plan.runs, figures, of_peers))


if __name__ == "__main__":
    main()
