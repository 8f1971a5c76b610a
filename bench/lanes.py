"""Do long tasks block short ones? `python -m bench.lanes [--json] [--quick]`

A node with two workers gets 200 tasks of a second at once, and then 10 short ones a second for 20 seconds. Nobody has declared a lane
and nothing has run before: the executor has to find out what is long. Once the long tasks sleep (as those of the peers), once they burn
a core's time, once one handler is both brief and long, told by its arguments alone; and the same through the executor alone.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench import charts, flood_charts
from bench.backlog import bench_broker
from bench.callers import percentile
from bench.flood import Flood, throughput_kept
from bench.grounds import ExecutorGround, Ground, NodeGround
from bench.measurement import figure, report, show
from bench.node_group import disk_directory
from bench.peers.environments import PeerMissing
from bench.peers.python_peers import flood_waits
from bench.scenarios import LONG_TASKS, SCENARIOS, SHORT_PER_S, Run, await_starts, let_loose
from bench.work import LONG_S
from cluster.kafka.jars import BrokerError

SETTLED_AFTER_S = 5.0
WARM_UP_TASKS = 200
EXECUTOR = "_executor"  # alone, without node and broker
PEERS_LATER = "takes 100 s for each peer: run without --quick"

Values = defaultdict[str, list[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    runs: int
    seconds: float  # of short tasks
    floods: tuple[str, ...]  # beside short tasks, then alone, through a node
    executor_floods: tuple[str, ...]
    peers: tuple[str, ...]


FULL = Plan(
    runs=3,
    seconds=20.0,
    floods=tuple(SCENARIOS),
    executor_floods=tuple(SCENARIOS),
    peers=("celery_acks_late", "dramatiq"),
)
QUICK = Plan(runs=1, seconds=7.0, floods=("sleep",), executor_floods=("burn", "bimodal"), peers=())


def warm_up(directory: Path, kafka: str) -> None:
    """A broker that has just started answers its first calls ten times slower; that is no matter of lanes."""
    file = directory / "warm"
    with NodeGround(directory / "cluster", kafka) as ground:
        for _ in range(WARM_UP_TASKS):
            ground.submit("note_start", [time.monotonic_ns(), str(file)])
        await_starts(file, WARM_UP_TASKS)


def measure(
    make: Callable[[], AbstractContextManager[Ground]],
    name: str,
    plan: Plan,
    directory: Path,
    values: Values,
    ground_name: str,
) -> Run:
    """Beside short tasks, then the same flood alone on fresh ground: what it has learnt must not help it."""
    scenario = SCENARIOS[name]
    ending = scenario.ending + ground_name
    directory.mkdir(parents=True, exist_ok=True)
    with make() as ground:
        run = let_loose(ground, scenario, directory / f"{name}-beside", short_s=plan.seconds)
    note_waits(run.flood, values, ending)
    if not scenario.is_two_faced:
        with make() as ground:
            alone = let_loose(
                ground, scenario, directory / f"{name}-alone", short_s=0.0, alone_s=run.flood.ended
            ).flood
        values[f"long_throughput_kept{ending}"].append(throughput_kept(run.flood, alone, typical_s=LONG_S))
    return run


def note_waits(flood: Flood, values: Values, ending: str) -> None:
    settled, cold = flood.waits_s(since=SETTLED_AFTER_S), flood.waits_s()
    values[f"short_wait_p50_ms{ending}"].append(percentile(settled, 50) * 1000)
    values[f"short_wait_p99_ms{ending}"].append(percentile(settled, 99) * 1000)
    values[f"cold_short_wait_p99_ms{ending}"].append(percentile(cold, 99) * 1000)
    values[f"short_not_started{ending}"].append(flood.not_started)
    if flood.briefs:
        briefs = sorted(wait for submitted, wait in flood.briefs if submitted >= SETTLED_AFTER_S)
        values[f"own_brief_wait_p50_ms{ending}"].append(percentile(briefs, 50) * 1000)
        values[f"own_brief_wait_p99_ms{ending}"].append(percentile(briefs, 99) * 1000)


def own_figures(values: Values, whys: dict[str, str]) -> dict[str, Any]:
    """`whys`: by the end of the name, why a flood was not measured."""
    figures = {}
    for ground in ("", EXECUTOR):
        for kind, scenario in SCENARIOS.items():
            why = whys.get(ground, "") or f"not asked for: {kind}"
            targets: dict[str, float | None] = {
                "short_wait_p50_ms": 5,
                "short_wait_p99_ms": 20,
                "cold_short_wait_p99_ms": 300,
            }
            if scenario.is_two_faced:  # without kinds its brief runs wait with its flood
                waits_with_flood = scenario.flood and scenario.kinds[0] == scenario.kinds[1]
                targets["own_brief_wait_p50_ms"] = None if waits_with_flood else 5
                targets["own_brief_wait_p99_ms"] = None if waits_with_flood else 20
            end = scenario.ending + ground
            for name, target in targets.items():
                figures[name + end] = figure(values[name + end], "ms", target, at_most=True, why=why)
            if not scenario.is_two_faced:
                name = f"long_throughput_kept{end}"
                figures[name] = figure(values[name], "", 0.9, why=why)
            name = f"short_not_started{end}"
            figures[name] = figure(values[name], "", 0, at_most=True, why=why)
    return figures


def measure_peers(plan: Plan) -> dict[str, Any]:
    """Once each: it takes as long as the flood lasts there."""
    names = ("short_wait_p50_ms", "short_wait_p99_ms")
    peers: dict[str, Any] = {
        name: {one: figure([], "ms", why=PEERS_LATER) for one in names} for name in FULL.peers
    }
    for name in plan.peers:
        try:
            waits = flood_waits(name, long_tasks=LONG_TASKS, per_s=SHORT_PER_S, seconds=plan.seconds)
        except PeerMissing as error:
            peers[name] = {one: figure([], "ms", why=str(error)) for one in names}
            continue
        settled = sorted(wait for submitted, wait in waits if submitted >= SETTLED_AFTER_S)
        peers[name] = {
            one: figure([percentile(settled, percent) * 1000], "ms")
            for one, percent in zip(names, (50, 99), strict=True)
        }
    return peers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument(
        "--only", choices=tuple(SCENARIOS), help="one scenario, on a node and on the executor alone"
    )
    parser.add_argument("--directory", type=Path, help="where the node is kept: a disk, not memory")
    parser.add_argument("--pictures", type=Path, default=charts.PICTURES, help="where the pictures are put")
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL
    if options.only:
        plan = replace(plan, floods=(options.only,), executor_floods=(options.only,))
    values, whys, drawn = Values(list), dict[str, str](), dict[str, Run]()
    directory = disk_directory(options.directory)
    with contextlib.ExitStack() as ended:
        ended.callback(shutil.rmtree, directory, ignore_errors=True)
        try:
            kafka = ended.enter_context(bench_broker(options.directory))
        except BrokerError as error:
            whys[""] = f"no broker: {error}"
        else:
            warm_up(directory, kafka)
        for number in range(plan.runs):
            for kind in plan.floods if not whys else ():
                place = directory / f"node-{number}"
                drawn[kind] = measure(
                    lambda place=place: NodeGround(place / "cluster", kafka),  # type: ignore[misc]
                    kind,
                    plan,
                    place,
                    values,
                    "",
                )
            for kind in plan.executor_floods:
                place = directory / f"executor-{number}"
                drawn[f"{kind}, executor alone"] = measure(
                    ExecutorGround, kind, plan, place, values, EXECUTOR
                )
        peers = {} if options.no_peers else measure_peers(plan)
    figures = own_figures(values, whys)
    show(figures)
    for name, one in peers.items():
        show(one, f"{name}: ")
    for kind, run in drawn.items():
        print(flood_charts.draw_flood(run, kind, options.pictures))
    if options.json:
        print(report("lanes", plan.runs, figures, peers))


if __name__ == "__main__":
    main()
