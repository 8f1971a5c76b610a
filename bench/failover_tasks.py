"""What users of a cluster notice when the node that leads the ledger is killed under load.

Three nodes, a real broker, two worker processes each; clients submit at a steady rate and note when each submit was answered; the handler
notes when it ran. One clock: all processes of a machine share the monotonic one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from bench.failover_handlers import RUN
from cluster.audit import judge
from cluster.client import Client, new_task
from cluster.errors import QuorateError
from cluster.local_cluster import LocalCluster

HANDLERS = ("bench.failover_handlers",)
SUBMITTERS = 4
BATCH_TASKS = 50
SUBMIT_TIMEOUT_S = 20.0
WARM_UP_S = 3.0
AFTER_KILL_S = 6.0
FINISH_WITHIN_S = 60.0
AT_THE_KILL_S = 0.5  # tasks submitted within so long after the kill go to all partitions


@dataclass(frozen=True, slots=True, kw_only=True)
class Failover:
    """Times in seconds since the kill."""

    tasks_per_s: float  # acknowledged before the kill
    submits_answered_again_s: float
    executions_resumed_s: (
        float  # when all had run that was submitted just after the kill, also to the dead node's partitions
    )
    executions_pause_s: (
        float  # the longest time after the kill in which no task ran anywhere, while some waited
    )
    lost: int  # acknowledged and never run
    run_twice: int  # allowed under at-least-once


class Submitters:
    """`asked` and `answered` are moments of whole batches; `keys` says when each acknowledged task was asked for."""

    def __init__(self, addresses: str, file: Path, tasks_per_s: float) -> None:
        self._addresses, self._file = addresses, file
        self._period_s = SUBMITTERS * BATCH_TASKS / tasks_per_s
        self._stop = threading.Event()
        self.answers: list[tuple[float, float]] = []
        self.asked_at: dict[int, float] = {}
        self._threads = [
            threading.Thread(target=self._run, name=f"submitter-{number}", daemon=True)
            for number in range(SUBMITTERS)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(SUBMIT_TIMEOUT_S)

    def _run(self) -> None:
        tasks = [new_task("note_run", (str(self._file),)) for _ in range(BATCH_TASKS)]
        with Client(self._addresses, timeout_s=SUBMIT_TIMEOUT_S) as client:
            following = time.monotonic()
            while not self._stop.wait(max(0.0, following - time.monotonic())):
                following += self._period_s
                asked = time.monotonic()
                try:
                    submitted = client.submit_tasks(tasks)
                except QuorateError:
                    continue  # not acknowledged: owed nothing
                self.answers.append((asked, time.monotonic()))
                self.asked_at.update((one.key, asked) for one in submitted if one.error is None)


def measure(directory: Path, tasks_per_s: float) -> Failover:
    file = directory / "runs"
    cluster = LocalCluster(directory / "cluster", handlers=HANDLERS, workers=2)
    try:
        addresses = ",".join(node["api"] for node in cluster.up()["nodes"])
        submitters = Submitters(addresses, file, tasks_per_s)
        with Client(addresses, timeout_s=SUBMIT_TIMEOUT_S) as client:
            submitters.start()
            time.sleep(WARM_UP_S)
            leader = next(view.name for view in client.nodes() if view.is_leader)
            before = len(submitters.asked_at)
            killed_at = time.monotonic()
            cluster.kill(leader)
            time.sleep(AFTER_KILL_S)
            submitters.stop()
            client.wait(list(submitters.asked_at), timeout_s=FINISH_WITHIN_S)
    finally:
        cluster.down()
    runs = [(key, moment_ns / 1e9) for key, moment_ns in RUN.iter_unpack(file.read_bytes())]
    return judge_failover(
        submitters.answers, submitters.asked_at, runs, killed_at=killed_at, tasks_per_s=before / WARM_UP_S
    )


def judge_failover(
    answers: Sequence[tuple[float, float]],
    asked_at: Mapping[int, float],
    runs: Sequence[tuple[int, float]],
    *,
    killed_at: float,
    tasks_per_s: float,
) -> Failover:
    """`answers`: asked and answered moments of submits; `asked_at`: of each acknowledged key; `runs`: (key, moment), each run one."""
    first_run: dict[int, float] = {}
    for key, moment in runs:
        first_run[key] = min(moment, first_run.get(key, moment))
    at_the_kill = [key for key, asked in asked_at.items() if 0 <= asked - killed_at < AT_THE_KILL_S]
    resumed_at = max(first_run[key] for key in at_the_kill if key in first_run)
    moments = [moment for moment in first_run.values() if killed_at < moment <= resumed_at]
    pauses = [later - earlier for earlier, later in pairwise(sorted([killed_at, *moments]))]
    verdict = judge(submitted=asked_at, executed=first_run, effects=[key for key, _ in runs])
    return Failover(
        tasks_per_s=tasks_per_s,
        submits_answered_again_s=min(at for asked, at in answers if asked >= killed_at) - killed_at,
        executions_resumed_s=resumed_at - killed_at,
        executions_pause_s=max(pauses),
        lost=verdict.lost,
        run_twice=verdict.doubled_effects,
    )
