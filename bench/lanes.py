"""Do long tasks block short ones? `python -m bench.lanes [--json] [--quick]`

A node with two workers gets 200 tasks of a second at once, and then 10 short ones a second for 20 seconds. Nobody has declared a lane
and nothing has run before: the executor has to find out what is long. Once the long tasks sleep (as those of the peers), once they burn
a core's time, once one handler is both brief and long, told by its arguments alone; and the same through the executor alone.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import charts, flood_charts
from bench.backlog import bench_broker
from bench.callers import percentile
from bench.flood import Flood, read_flood, throughput_kept
from bench.grounds import ExecutorGround, Ground, NodeGround, Sample, Sampler
from bench.measurement import figure, report, show
from bench.moments import Event, read_moments
from bench.node_group import disk_directory
from bench.open_loop import open_loop
from bench.peers.environments import PeerMissing
from bench.peers.python_peers import flood_waits
from bench.work import LONG_S
from cluster.kafka.jars import BrokerError

LONG_TASKS = 200
SHORT_PER_S = 10.0
SETTLED_AFTER_S = 5.0
THREADS = 4
LAST_START_WITHIN_S = 2.0  # of the last short task; what has not started by then has waited at least so long
LOOK_EVERY_S = 0.02
WARM_UP_TASKS = 200

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
    floods=("sleep", "burn", "bimodal", "kinds"),
    executor_floods=("sleep", "burn", "bimodal", "kinds"),
    peers=("celery_acks_late", "dramatiq"),
)
QUICK = Plan(runs=1, seconds=8.0, floods=("sleep",), executor_floods=("burn", "bimodal"), peers=())
ENDINGS = {"sleep": "", "burn": "_burn", "bimodal": "_bimodal", "kinds": "_kinds"}
TWO_FACED = (
    "bimodal",
    "kinds",
)  # one handler is brief and long; told apart by an argument, or by the kind too
PEERS_LATER = "takes 100 s for each peer: run without --quick"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A flood and how the executor was meanwhile; `began_s` in monotonic seconds, as `Sample.at_s` and the moments of `reasons`."""

    flood: Flood
    began_s: float
    samples: Sequence[Sample]
    reasons: Sequence[tuple[float, str, str, str]]


def let_loose(ground: Ground, kind: str, file: Path, *, short_s: float, alone_s: float = 0.0) -> Run:
    """The flood, then short tasks for `short_s`; with none of those it is watched for `alone_s`."""
    shorts: list[int] = []
    briefs: list[int] = []
    kinds = ("slow", "quick") if kind == "kinds" else ("", "")

    def submit_short() -> None:
        number = time.monotonic_ns()
        shorts.append(number)
        ground.submit("note_start", [number, str(file)])

    def submit_brief() -> None:
        number = time.monotonic_ns()
        briefs.append(number)
        ground.submit("two_faced", [number, str(file), False], kinds[1])

    with Sampler(ground.sample).running() as samples:
        began_ns = time.monotonic_ns()
        if kind in TWO_FACED:
            tasks = [[number, str(file), True] for number in range(1, LONG_TASKS + 1)]
            ground.submit_many("two_faced", tasks, kinds[0])
        else:
            ground.submit_many(f"{kind}_long", [[number, str(file)] for number in range(1, LONG_TASKS + 1)])
        if short_s:
            beside = [
                threading.Thread(
                    target=open_loop,
                    args=(submit_brief,),
                    kwargs={"per_s": SHORT_PER_S, "seconds": short_s, "threads": THREADS},
                    name="briefs",
                )
                for _ in range(kind in TWO_FACED)
            ]
            for thread in beside:
                thread.start()
            open_loop(submit_short, per_s=SHORT_PER_S, seconds=short_s, threads=THREADS)
            for thread in beside:
                thread.join()
            await_starts(file, len(shorts))
        else:
            time.sleep(alone_s)
        ended_ns = time.monotonic_ns()
    flood = read_flood(
        read_moments(file),
        shorts=shorts,
        briefs=briefs,
        longs=LONG_TASKS,
        began_ns=began_ns,
        ended_ns=ended_ns,
    )
    return Run(flood=flood, began_s=began_ns / 1e9, samples=samples, reasons=ground.reasons())


def warm_up(directory: Path, kafka: str) -> None:
    """A broker that has just started answers its first calls ten times slower; that is no matter of lanes."""
    file = directory / "warm"
    with NodeGround(directory / "cluster", kafka) as ground:
        for _ in range(WARM_UP_TASKS):
            ground.submit("note_start", [time.monotonic_ns(), str(file)])
        await_starts(file, WARM_UP_TASKS)


def await_starts(file: Path, count: int) -> None:
    """Until all short tasks have started, or LAST_START_WITHIN_S."""
    deadline = time.monotonic() + LAST_START_WITHIN_S
    while time.monotonic() < deadline:
        if sum(moment.event is Event.SHORT_STARTED for moment in read_moments(file)) >= count:
            return
        time.sleep(LOOK_EVERY_S)


def measure(
    make: Callable[[], AbstractContextManager[Ground]],
    kind: str,
    plan: Plan,
    directory: Path,
    values: Values,
    ending: str,
) -> Run:
    """Beside short tasks, then the same flood alone on fresh ground: what it has learnt must not help it."""
    directory.mkdir(parents=True, exist_ok=True)
    with make() as ground:
        run = let_loose(ground, kind, directory / f"{kind}-beside", short_s=plan.seconds)
    note_waits(run.flood, values, ending)
    if kind not in TWO_FACED:
        with make() as ground:
            alone = let_loose(
                ground, kind, directory / f"{kind}-alone", short_s=0.0, alone_s=run.flood.ended
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
    for ground in ("", "_executor"):
        for kind, ending in ENDINGS.items():
            end, why = f"{ending}{ground}", whys.get(ground, "") or f"only without --quick: {kind}"
            figures[f"short_wait_p50_ms{end}"] = figure(
                values[f"short_wait_p50_ms{end}"], "ms", 5, at_most=True, why=why
            )
            figures[f"short_wait_p99_ms{end}"] = figure(
                values[f"short_wait_p99_ms{end}"], "ms", 20, at_most=True, why=why
            )
            figures[f"cold_short_wait_p99_ms{end}"] = figure(
                values[f"cold_short_wait_p99_ms{end}"], "ms", 300, at_most=True, why=why
            )
            if kind in TWO_FACED:
                for name in (f"own_brief_wait_p50_ms{end}", f"own_brief_wait_p99_ms{end}"):
                    figures[name] = figure(values[name], "ms", why=why)
            else:
                figures[f"long_throughput_kept{end}"] = figure(
                    values[f"long_throughput_kept{end}"], "", 0.9, why=why
                )
            figures[f"short_not_started{end}"] = figure(
                values[f"short_not_started{end}"], "", 0, at_most=True, why=why
            )
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
    parser.add_argument("--directory", type=Path, help="where the node is kept: a disk, not memory")
    parser.add_argument("--pictures", type=Path, default=charts.PICTURES, help="where the pictures are put")
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL
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
                    ENDINGS[kind],
                )
            for kind in plan.executor_floods:
                place = directory / f"executor-{number}"
                drawn[f"{kind}, executor alone"] = measure(
                    ExecutorGround, kind, plan, place, values, f"{ENDINGS[kind]}_executor"
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
