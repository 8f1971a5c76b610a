"""How many tasks that do nothing run per second? `python -m bench.noop [--json] [--quick]`

Measured now: the executor alone with two worker processes, beside `concurrent.futures` in the same, interleaved runs.
"""

from __future__ import annotations

import argparse
import threading
import time
from concurrent.futures import ProcessPoolExecutor

from bench.measurement import figure, report
from executor import Executor, Lane, Outcome, Task, encode_arguments

WORKERS = 2
POOL_TASKS = 4_000
OUTCOMES_DEADLINE_S = 60.0


def _nothing() -> None:
    return None


def executor_tasks_per_s(count: int) -> float:
    """From the first offer to the last outcome, workers warm."""
    arguments = encode_arguments((), {})
    finished = threading.Semaphore(0)

    def count_outcomes(outcomes: list[Outcome]) -> None:
        finished.release(len(outcomes))

    executor = Executor(["bench.noop_handlers"], workers=WORKERS, on_outcomes=count_outcomes)
    executor.start()
    try:
        offered = ended = 0
        started = 0.0
        while ended < count:
            if ended == 0 and offered == 0:
                started = time.perf_counter()
            room = min(executor.room(Lane.CPU_SHORT), count - offered, 1000)
            if room > 0:
                seqs = range(offered + 1, offered + room + 1)
                executor.offer(
                    [Task(seq=n, key=n, attempt=1, handler="noop", arguments=arguments) for n in seqs]
                )
                offered += room
            elif not finished.acquire(timeout=OUTCOMES_DEADLINE_S):
                raise RuntimeError(f"no outcome for {OUTCOMES_DEADLINE_S:g} s; {ended} of {count} had come")
            else:
                ended += 1
            while finished.acquire(blocking=False):
                ended += 1
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    runs, count = (3, 60_000) if options.quick else (5, 300_000)
    pairs = [(executor_tasks_per_s(count), pool_tasks_per_s(POOL_TASKS)) for _ in range(runs)]
    later = "not measured yet: needs a queue filled beforehand and the peers beside it"
    figures = {
        "executor_tasks_per_s": figure([own for own, _ in pairs], "1/s", 150_000),
        "ratio_to_process_pool": figure([own / pool for own, pool in pairs], "", 10),
        "tasks_per_s": figure([], "1/s", 80_000, why=later),
        "ratio_to_ceiling": figure([], "", 0.5, why=later),
        "tasks_per_s_3_nodes": figure([], "1/s", 50_000, why=later),
        "ratio_to_best_python_peer": figure([], "", 15, why=later),
        "ratio_to_celery_acks_late": figure([], "", 100, why=later),
    }
    for name, one in figures.items():
        print(f"{name:28} {one['median'] if one['median'] is not None else one['why']}")
    if options.json:
        pool = {"tasks_per_s": figure([pool for _, pool in pairs], "1/s")}
        print(report("noop", runs, figures, {"process_pool": pool}))


if __name__ == "__main__":
    main()
