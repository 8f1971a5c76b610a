"""How long is the ledger silent when its leader dies? `python -m bench.failover [--json] [--quick]`

Three key services in three processes, flushing to a disk; the leader is killed with SIGKILL, again and again, while both others are asked
for a claim every 10 ms. The time runs from the signal to the first answer, on either, to a claim that was asked after it. The
killed node comes back before the next round. etcd, where installed, is treated alike. Then a whole cluster under 5,000 tasks/s.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import charts, failover_tasks
from bench.failover_tasks import Failover
from bench.measurement import figure, report, show
from bench.node_group import NodeGroup, disk_directory
from bench.peers import etcd
from cluster.kafka.jars import BrokerError, find_java, kafka_jars

OWN = "bench.ledger_node"
SNAPSHOT_EVERY_S = 60.0  # as by default
SETTLE_S = 0.5  # probes before the kill, so that the ledger is at work when it comes
ANSWER_WITHIN_S = 20.0
LOOK_EVERY_S = 0.05
TASKS_PER_S = 5_000


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


def task_figures(failovers: Sequence[Failover], why: str) -> dict[str, Any]:
    """`why` there is none, if so."""

    def seconds(name: str, target: float | None = None) -> dict[str, Any]:
        return figure([getattr(one, name) for one in failovers], "s", target, at_most=True, why=why)

    return {
        "submits_answered_again_s": seconds("submits_answered_again_s", 1.0),
        "executions_resumed_s": seconds("executions_resumed_s", 2.0),
        "executions_pause_s": seconds("executions_pause_s"),
        "submitted_per_s": figure([one.tasks_per_s for one in failovers], "1/s", why=why),
        "lost": figure([one.lost for one in failovers], "", 0, at_most=True, why=why),
        "doubled_exactly_once": figure(
            [], "", 0, at_most=True, why="handlers cannot be registered as exactly-once yet"
        ),
        "run_twice_at_least_once": figure([one.run_twice for one in failovers], "", why=why),
    }


def task_failovers(runs: int, directory: Path) -> tuple[list[Failover], str]:
    """And why there are none, if a part is missing."""
    try:
        kafka_jars()
        find_java()
    except BrokerError as missing:
        return [], f"no broker: {missing}"
    return [failover_tasks.measure(directory / f"tasks-{run}", TASKS_PER_S) for run in range(runs)], ""


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
    kills, peer_kills, task_runs = (6, 3, 1) if options.quick else (20, 8, 3)
    directory = disk_directory(options.directory)
    seconds: dict[str, list[float]] = {}
    try:
        seconds["Quorate"] = own_silences(kills, directory / "own")
        if etcd.installed():
            seconds[f"etcd_{etcd.version()}"] = etcd_silences(peer_kills, directory / "etcd")
        failovers, why = task_failovers(task_runs, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    figures = figures_of(seconds["Quorate"]) | task_figures(failovers, why)
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
