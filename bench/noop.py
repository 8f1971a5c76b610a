"""How many tasks that do nothing run per second? `python -m bench.noop [--json] [--quick]`

Each round measures one after the other: a node on a queue that was filled before, three nodes on the same cores, the bare loop that no
Python node can beat (`bench.ceiling`), the executor alone beside `concurrent.futures`, other Python task queues on a filled queue.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.backlog import bench_broker
from bench.ceiling import TUNED, ceiling_tasks_per_s
from bench.charts import draw_noop
from bench.drain import Drained, drain
from bench.measurement import figure, report, show
from bench.node_group import disk_directory
from bench.peers.python_peers import PEERS, noop_tasks_per_s
from executor import Executor, Lane, Outcome, Task, encode_arguments

WORKERS = 2
POOL_TASKS = 4_000
WARM_TASKS = 2_000
OUTCOMES_DEADLINE_S = 60.0


def _nothing() -> None:
    return None


def executor_tasks_per_s(count: int) -> float:
    """From the first offer to the last outcome, workers warm. One worker for long tasks and the reserved one on top: two processes run
    tasks, as in the pool beside it."""
    arguments = encode_arguments((), {})
    changed = threading.Condition()
    ended = 0

    def count_outcomes(outcomes: list[Outcome]) -> None:
        nonlocal ended
        with changed:
            ended += len(outcomes)
            changed.notify()

    def run(first: int, count: int) -> None:
        nonlocal ended
        ended = offered = seen = 0
        while ended < count:
            room = min(executor.room(Lane.CPU_SHORT), count - offered, 1000)
            if room > 0:
                executor.offer(
                    [Task(n, n, 1, "noop", arguments) for n in range(first + offered, first + offered + room)]
                )
                offered += room
                continue
            with changed:
                if not changed.wait_for(lambda seen=seen: ended > seen, OUTCOMES_DEADLINE_S):
                    raise RuntimeError(
                        f"no outcome for {OUTCOMES_DEADLINE_S:g} s; {ended} of {count} had come"
                    )
                seen = ended

    executor = Executor(["bench.noop_handlers"], workers=WORKERS - 1, on_outcomes=count_outcomes)
    executor.start()
    try:
        run(1, WARM_TASKS)
        started = time.perf_counter()
        run(1 + WARM_TASKS, count)
        return count / (time.perf_counter() - started)
    finally:
        executor.stop()


def pool_tasks_per_s(count: int) -> float:
    with ProcessPoolExecutor(WORKERS) as pool:
        pool.submit(_nothing).result()
        started = time.perf_counter()
        for future in [pool.submit(_nothing) for _ in range(count)]:
            future.result()
        return count / (time.perf_counter() - started)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """`ceiling_tasks` are more: fewer would be measured out of what was read ahead."""

    rounds: int
    tasks: int
    tasks_3_nodes: int
    ceiling_tasks: int
    executor_tasks: int


FULL = Size(
    rounds=3, tasks=400_000, tasks_3_nodes=300_000, ceiling_tasks=600_000, executor_tasks=300_000
)  # five minutes
QUICK = Size(rounds=1, tasks=200_000, tasks_3_nodes=150_000, ceiling_tasks=300_000, executor_tasks=100_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """`peers`: a rate, or why there is none."""

    one: Drained
    three: Drained
    ceiling: float
    ceiling_tuned: float
    executor: float
    pool: float
    peers: Mapping[str, float | str]


def measure(kafka: str, directory: Path, size: Size, *, quick: bool) -> Round:
    return Round(
        one=drain(kafka, directory / "one", nodes=1, workers=WORKERS, tasks=size.tasks),
        ceiling=ceiling_tasks_per_s(kafka, size.ceiling_tasks),
        three=drain(kafka, directory / "three", nodes=3, workers=1, tasks=size.tasks_3_nodes),
        ceiling_tuned=ceiling_tasks_per_s(kafka, size.ceiling_tasks, TUNED),
        executor=executor_tasks_per_s(size.executor_tasks),
        pool=pool_tasks_per_s(POOL_TASKS),
        peers={name: noop_tasks_per_s(name, quick=quick) for name in PEERS},
    )


def figures_of(rounds: Sequence[Round]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures and peers; a ratio is taken within its round, so that a noisy machine troubles both sides."""
    rates = {name: [rate for one in rounds if isinstance(rate := one.peers[name], float)] for name in PEERS}
    why = {
        name: next((str(one.peers[name]) for one in rounds if isinstance(one.peers[name], str)), "")
        for name in PEERS
    }
    best = max(rates, key=lambda name: statistics.median(rates[name] or [0.0]))
    late = "celery_acks_late"
    figures = {
        "tasks_per_s": figure([one.one.tasks_per_s for one in rounds], "1/s", 80_000),
        "ratio_to_ceiling": figure([one.one.tasks_per_s / one.ceiling for one in rounds], "", 0.5),
        "tasks_per_s_3_nodes": figure([one.three.tasks_per_s for one in rounds], "1/s", 50_000),
        "ratio_to_best_python_peer": _ratio(rounds, best, 15, why[best]),
        "ratio_to_celery_acks_late": _ratio(rounds, late, 100, why[late]),
        "executor_tasks_per_s": figure([one.executor for one in rounds], "1/s", 150_000),
        "ratio_to_process_pool": figure([one.executor / one.pool for one in rounds], "", 10),
        "cpu_us_per_task": figure([one.one.cpu_us_per_task for one in rounds], "us", 20, at_most=True),
        "cpu_us_per_task_3_nodes": figure([one.three.cpu_us_per_task for one in rounds], "us"),
        "ceiling_tasks_per_s": figure([one.ceiling for one in rounds], "1/s"),
        "ceiling_tuned_tasks_per_s": figure([one.ceiling_tuned for one in rounds], "1/s"),
        "ratio_to_ceiling_tuned": figure([one.one.tasks_per_s / one.ceiling_tuned for one in rounds], ""),
    }
    peers = {name: {"tasks_per_s": figure(rates[name], "1/s", why=why[name])} for name in PEERS}
    return figures, peers | {"process_pool": {"tasks_per_s": figure([one.pool for one in rounds], "1/s")}}


def _ratio(rounds: Sequence[Round], peer: str, target: float, why: str) -> dict[str, Any]:
    pairs = [(one.one.tasks_per_s, one.peers[peer]) for one in rounds]
    return figure([own / rate for own, rate in pairs if isinstance(rate, float)], "", target, why=why)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="within a minute: one round, fewer tasks")
    parser.add_argument("--directory", type=Path, help="where ledgers and the broker's files go, on a disk")
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    directory = disk_directory(options.directory)
    try:
        rounds = []
        for number in range(size.rounds):
            # a broker for each round: it grows slower with every topic that it keeps
            with bench_broker(options.directory) as kafka:
                rounds.append(measure(kafka, directory / str(number), size, quick=options.quick))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    figures, peers = figures_of(rounds)
    show(figures)
    for name, peer in peers.items():
        show(peer, prefix=f"{name} ")
    print(draw_noop(figures, peers))
    if options.json:
        print(report("noop", size.rounds, figures, peers))


if __name__ == "__main__":
    main()
