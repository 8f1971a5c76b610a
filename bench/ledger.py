"""How fast does the ledger agree, and what does a ledger cost that has run for long? `python -m bench.ledger [--json] [--quick]`

Three key services in three processes on loopback, flushing to a disk. Callers are threads of a node's own process, as in an embedding
program. Stock pysyncobj and, where installed, etcd run in the same rounds, one after the other, nothing beside them.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import charts
from bench.big_ledger import DENSE_KEYS, SCATTERED_KEYS, big_ledger, put_on_disk
from bench.measurement import figure, report, show
from bench.node_group import NodeGroup, disk_directory
from bench.peers import etcd

OWN, STOCK = "bench.ledger_node", "bench.peers.stock_pysyncobj"
SNAPSHOT_NEVER_S = 3600.0
THREADS = 64
MARKS_WINDOW = 8  # calls of 4096 keys on the way
WARM_UP_S = 0.3
SETTLE_S = 0.5  # after a start, before idleness is measured
SNAPSHOT_EVERY_S = 2.0  # of the node whose stalls are measured
MB = 1 << 20

Values = defaultdict[str, list[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long each load runs."""

    runs: int
    claims_s: float
    other_s: float
    idle_s: float
    stall_s: float


FULL = Plan(runs=5, claims_s=4.0, other_s=3.0, idle_s=10.0, stall_s=12.0)
QUICK = Plan(runs=3, claims_s=0.8, other_s=0.4, idle_s=1.0, stall_s=2.5)


def measure_own(plan: Plan, directory: Path, values: Values) -> None:
    with NodeGroup(OWN, directory, str(SNAPSHOT_NEVER_S)) as group:
        leader, follower = group.nodes[group.leader()], group.nodes[group.follower()]
        leader.ask("claims", threads=THREADS, seconds=WARM_UP_S)
        at_leader = leader.ask("claims", threads=THREADS, seconds=plan.claims_s)
        at_follower = follower.ask("claims", threads=THREADS, seconds=plan.other_s)
        alone = leader.ask("claims", threads=1, seconds=plan.other_s)
        whole = leader.ask("marks", window=MARKS_WINDOW, seconds=plan.other_s, interleaved=False)
        thirds = leader.ask("marks", window=MARKS_WINDOW, seconds=plan.other_s, interleaved=True)
        time.sleep(SETTLE_S)
        began, cpu_s = time.monotonic(), group.cpu_s()
        time.sleep(plan.idle_s)
        idle = (group.cpu_s() - cpu_s) / (time.monotonic() - began)
    values["claims_per_s_64"].append(at_leader["per_s"])
    values["claim_p50_ms_64"].append(at_leader["p50_ms"])
    values["claim_p99_ms_64"].append(at_leader["p99_ms"])
    values["claims_per_s_64_follower"].append(at_follower["per_s"])
    values["calls_per_entry_64"].append(at_leader["calls_per_entry"])
    values["claim_p50_ms_1"].append(alone["p50_ms"])
    values["claim_p99_ms_1"].append(alone["p99_ms"])
    values["marks_per_s"].append(whole["marks_per_s"])
    values["marks_per_s_interleaved"].append(thirds["marks_per_s"])
    values["idle_cpu_cores_3"].append(idle)
    values["failed_calls"].append(
        sum(one["failed"] for one in (at_leader, at_follower, alone, whole, thirds))
    )


def measure_own_on_one_core(plan: Plan, directory: Path, values: Values) -> None:
    with NodeGroup(OWN, directory, str(SNAPSHOT_NEVER_S), one_core=True) as group:
        leader = group.nodes[group.leader()]
        leader.ask("claims", threads=THREADS, seconds=WARM_UP_S)
        many = leader.ask("claims", threads=THREADS, seconds=plan.claims_s)
    values["claims_per_s_64_one_core"].append(many["per_s"])
    values["claim_p50_ms_64_one_core"].append(many["p50_ms"])


def measure_stock(plan: Plan, directory: Path, mode: str, values: Values, *, one_core: bool = False) -> None:
    with NodeGroup(STOCK, directory, mode, one_core=one_core) as group:
        leader = group.nodes[group.leader()]
        leader.ask("claims", threads=THREADS, seconds=WARM_UP_S)
        many = leader.ask("claims", threads=THREADS, seconds=plan.claims_s)
        alone = leader.ask("claims", threads=1, seconds=plan.other_s)
    _note_calls(values, many, alone)


def measure_etcd(plan: Plan, directory: Path, values: Values, from_python: Values) -> None:
    with etcd.EtcdGroup(directory) as group:
        group.puts(callers=THREADS, seconds=WARM_UP_S)
        many = group.puts(callers=THREADS, seconds=plan.claims_s)
        alone = group.puts(callers=1, seconds=plan.other_s)
        threads = group.puts_of_threads(threads=THREADS, seconds=plan.other_s)
    _note_calls(values, many, alone)
    from_python["calls_per_s_64"].append(threads["per_s"])
    from_python["call_p50_ms_64"].append(threads["p50_ms"])


def _note_calls(values: Values, many: dict[str, Any], alone: dict[str, Any]) -> None:
    values["calls_per_s_64"].append(many["per_s"])
    values["call_p50_ms_64"].append(many["p50_ms"])
    values["call_p99_ms_64"].append(many["p99_ms"])
    values["call_p50_ms_1"].append(alone["p50_ms"])
    values["call_p99_ms_1"].append(alone["p99_ms"])


def measure_big(plan: Plan, directory: Path, values: Values) -> None:
    """Restart, memory, snapshot and its stall with a ledger that has run for long."""
    sections = big_ledger()
    group = NodeGroup(OWN, directory, str(SNAPSHOT_EVERY_S))
    for address in group.addresses:
        put_on_disk(sections, directory=group.data_directory(address), node=address, founders=group.addresses)
    del sections
    with group:
        leader, follower = group.leader(), group.follower()
        first = {path.name for path in group.data_directory(leader).glob("snapshot-*")}
        answered = group.nodes[leader].ask("claims", threads=1, seconds=plan.stall_s)
        taken = [path for path in group.data_directory(leader).glob("snapshot-*") if path.name not in first]
        if not taken:
            raise RuntimeError(f"no snapshot was taken within {plan.stall_s:g} s")
        values["snapshot_stall_ms"].append(answered["longest_gap_ms"])
        values["snapshot_bytes_1e9"].append(max(path.stat().st_size for path in taken))
        for _ in range(plan.runs):
            group.nodes[follower].kill()
            began = time.monotonic()
            node = group.start(follower)
            node.ask("ready")
            node.ask("claims", threads=1, seconds=0.0)  # one
            values["restart_s_1e9"].append(time.monotonic() - began)
            executed = node.ask("counts")["executed"]
            if executed < DENSE_KEYS + SCATTERED_KEYS:
                raise RuntimeError(f"the node came back with {executed} executed keys")
        for node in group.nodes.values():
            memory = node.memory()
            values["rss_bytes_1e9"].append(memory.now_bytes)
            values["rss_peak_bytes_1e9"].append(memory.peak_bytes)


def ratios(own: list[float], peer: list[float]) -> list[float]:
    """Run by run, as they were interleaved."""
    return [mine / other for mine, other in zip(own, peer, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--directory", type=Path, help="where the ledgers are kept: a disk, not memory")
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL
    own, immediate, one_core, batch, puts, python_puts = (Values(list) for _ in range(6))
    directory = disk_directory(options.directory)
    try:
        for run in range(plan.runs):
            measure_own(plan, directory / "own", own)
            measure_stock(plan, directory / "stock", "immediate", immediate)
            if etcd.installed():
                measure_etcd(plan, directory / "etcd", puts, python_puts)
            if run > 0 and options.quick:
                continue  # no target hangs on the rest: once is enough
            measure_own_on_one_core(plan, directory / "own", own)
            measure_stock(plan, directory / "stock", "immediate", one_core, one_core=True)
            measure_stock(plan, directory / "stock", "batch", batch)
        measure_big(plan, directory / "big", own)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    stock = {"": immediate, "_one_core": one_core, "_batch_mode": batch}
    figures = own_figures(own, puts, immediate)
    peers = peer_figures(stock, {"": puts, "_python_threads": python_puts})
    show(figures)
    for name, one in peers.items():
        show(one, f"{name}: ")
    print(charts.draw_ledger(figures, peers))
    if options.json:
        print(report("ledger", plan.runs, figures, peers))


def own_figures(own: Values, puts: Values, immediate: Values) -> dict[str, Any]:
    claims = own["claims_per_s_64"]
    return {
        "marks_per_s": figure(own["marks_per_s"], "1/s", 1_000_000),
        "marks_per_s_interleaved": figure(own["marks_per_s_interleaved"], "1/s", 1_000_000),
        "claims_per_s_64": figure(claims, "1/s", 20_000),
        "claims_per_s_64_follower": figure(own["claims_per_s_64_follower"], "1/s"),
        "claims_per_s_64_one_core": figure(own["claims_per_s_64_one_core"], "1/s"),
        "claim_p50_ms_64_one_core": figure(own["claim_p50_ms_64_one_core"], "ms"),
        "claim_p50_ms_64": figure(own["claim_p50_ms_64"], "ms"),
        "claim_p99_ms_64": figure(own["claim_p99_ms_64"], "ms"),
        "calls_per_entry_64": figure(own["calls_per_entry_64"], ""),
        "claim_p50_ms_1": figure(own["claim_p50_ms_1"], "ms", 3, at_most=True),
        "claim_p99_ms_1": figure(own["claim_p99_ms_1"], "ms", 10, at_most=True),
        "ratio_to_etcd_puts_64": figure(
            ratios(claims, puts["calls_per_s_64"]) if puts else [], "", 5, why=etcd.MISSING
        ),
        "ratio_to_stock_pysyncobj": figure(ratios(claims, immediate["calls_per_s_64"]), "", 3),
        "snapshot_bytes_1e9": figure(own["snapshot_bytes_1e9"], "bytes", 16 * MB, at_most=True),
        "snapshot_stall_ms": figure(own["snapshot_stall_ms"], "ms", 50, at_most=True),
        "restart_s_1e9": figure(own["restart_s_1e9"], "s", 3, at_most=True),
        "rss_bytes_1e9": figure(own["rss_bytes_1e9"], "bytes", 150 * MB, at_most=True),
        "rss_peak_bytes_1e9": figure(own["rss_peak_bytes_1e9"], "bytes"),
        "idle_cpu_cores_3": figure(own["idle_cpu_cores_3"], "cores", 0.09, at_most=True),
        "failed_calls": figure(own["failed_calls"], "", 0, at_most=True),
    }


def peer_figures(stock: dict[str, Values], puts: dict[str, Values]) -> dict[str, Any]:
    """By what distinguishes the ways in which each was run."""
    named = {f"stock_pysyncobj{way}": values for way, values in stock.items()}
    named |= {f"etcd_{etcd.version()}{way}": values for way, values in puts.items() if values}
    return {
        peer: {name: figure(of_runs, "ms" if "_ms_" in name else "1/s") for name, of_runs in values.items()}
        for peer, values in named.items()
    }


if __name__ == "__main__":
    main()
