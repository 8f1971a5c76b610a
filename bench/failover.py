"""How long is the ledger silent when its leader dies? `python -m bench.failover [--json] [--quick]`

Three key services in three processes, flushing to a disk; the leader is killed with SIGKILL, again and again, while both others are asked
for a claim every 10 ms. The time runs from the signal to the first answer, on either, to a claim that was asked after it. The
killed node comes back before the next round. etcd, where installed, is treated alike.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from typing import Any

from bench import charts
from bench.measurement import figure, report, show
from bench.node_group import NodeGroup, disk_directory
from bench.peers import etcd

OWN = "bench.ledger_node"
SNAPSHOT_EVERY_S = 60.0  # as by default
SETTLE_S = 0.5  # probes before the kill, so that the ledger is at work when it comes
ANSWER_WITHIN_S = 20.0
LOOK_EVERY_S = 0.05


def kill_own_leader(group: NodeGroup) -> float:
    """Seconds of silence."""
    leader = group.leader()
    others = [node for address, node in group.nodes.items() if address != leader]
    for node in others:
        node.ask("probe")
    time.sleep(SETTLE_S)
    killed_at = group.nodes[leader].kill()
    answered_at = None
    while answered_at is None:
        if time.monotonic() > killed_at + ANSWER_WITHIN_S:
            raise RuntimeError(f"no claim was answered for {ANSWER_WITHIN_S:g} s after the leader was killed")
        time.sleep(LOOK_EVERY_S)
        moments = [node.ask("probed", since=killed_at)["answered_at"] for node in others]
        answered_at = min((moment for moment in moments if moment is not None), default=None)
    for node in others:
        node.ask("probe_end")
    group.start(leader).ask("ready")
    return float(answered_at - killed_at)


def own_silences(kills: int, directory: Path) -> list[float]:
    with NodeGroup(OWN, directory, str(SNAPSHOT_EVERY_S)) as group:
        return [kill_own_leader(group) for _ in range(kills)]


def etcd_silences(kills: int, directory: Path) -> list[float]:
    with etcd.EtcdGroup(directory) as group:
        return [group.kill_leader(settle_s=SETTLE_S, answer_within_s=ANSWER_WITHIN_S) for _ in range(kills)]


def task_figures() -> dict[str, Any]:
    later = "not measured yet: needs a cluster with its broker under load"
    return {
        "submits_answered_again_s": figure([], "s", 1.0, why=later),
        "executions_resumed_s": figure([], "s", 2.0, why=later),
        "lost": figure([], "", 0, why=later),
        "doubled_exactly_once": figure([], "", 0, why=later),
    }


def figures_of(silences: list[float]) -> dict[str, Any]:
    return {
        "ledger_answers_again_s": figure(silences, "s", 1.0, at_most=True),
        "ledger_answers_again_s_max": figure([max(silences)], "s", 2.0, at_most=True),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--directory", type=Path, help="where the ledgers are kept: a disk, not memory")
    options = parser.parse_args()
    kills, peer_kills = (8, 4) if options.quick else (20, 8)
    directory = disk_directory(options.directory)
    seconds: dict[str, list[float]] = {}
    try:
        seconds["Quorate"] = own_silences(kills, directory / "own")
        if etcd.installed():
            seconds[f"etcd_{etcd.version()}"] = etcd_silences(peer_kills, directory / "etcd")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    figures = figures_of(seconds["Quorate"]) | task_figures()
    peers = {name: figures_of(values) for name, values in seconds.items() if name != "Quorate"}
    show(figures)
    for name, one in peers.items():
        show(one, f"{name}: ")
    print("each kill, s:", " ".join(f"{value:.2f}" for value in seconds["Quorate"]))
    print(charts.draw_failover(seconds))
    if options.json:
        print(report("failover", kills, figures, peers))


if __name__ == "__main__":
    main()
