"""Unique submits and bulk retries while their node, the leader, or the command itself is killed: one task for one value, whoever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster.api import DeadFilter
from cluster.client import Client
from cluster.local_cluster import LocalCluster

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

HANDLERS = ("tests.integration.settled_handlers",)
WITHIN_S = 60.0
VALUES = 150
DEAD = 900  # some slices of a bulk run


def until(is_so: Callable[[], bool], what: str, within_s: float = WITHIN_S) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        time.sleep(0.01)


class Group:
    """Three nodes, and the folder of effects: a file for each key that ran."""

    def __init__(self, folder: Path, kafka: str) -> None:
        prefix = f"t{uuid.uuid4().hex[:12]}"
        self.cluster = LocalCluster(folder / "cluster", 3, HANDLERS, kafka=kafka, prefix=prefix)
        self.nodes = self.cluster.up()["nodes"]
        self.apis = [node["api"] for node in self.nodes]
        self.effects = folder / "effects"
        self.effects.mkdir()

    def client(self, first: int = 0) -> Client:
        """Asks this node first."""
        return Client(",".join(self.apis[first:] + self.apis[:first]), timeout_s=WITHIN_S)

    def kill_leader(self) -> None:
        with self.client() as client:
            leader = next(view.name for view in client.nodes() if view.is_leader)
        self.cluster.kill(leader)

    def ran(self) -> set[int]:
        return {int(file.name) for file in self.effects.iterdir()}

    def close(self) -> None:
        self.cluster.down()


@pytest.fixture
def group(tmp_path: Path, kafka: str) -> Iterator[Group]:
    started = Group(tmp_path, kafka)
    yield started
    started.close()


def test_all_submits_of_a_value_get_one_key_while_the_leader_is_killed(group: Group) -> None:
    """Four clients, each through another node first, submit the same values; the leader dies when some are done."""
    # Given
    done: list[int] = []

    def submit_all(number: int) -> list[int]:
        with group.client(number % 3) as client:
            keys = []
            for value in range(VALUES):
                keys.append(client.submit("works", str(group.effects), unique=f"order:{value}").key)
                done.append(value)
            return keys

    # When
    with ThreadPoolExecutor(4) as pool:
        submits = [pool.submit(submit_all, number) for number in range(4)]
        until(lambda: len(done) >= VALUES, "a quarter is submitted")
        group.kill_leader()
        assert len(done) < 4 * VALUES, "the leader died after the last submit: make VALUES larger"
        first, *others = [submit.result(WITHIN_S) for submit in submits]
    # Then
    assert [keys == first for keys in others] == [True] * 3
    assert len(set(first)) == VALUES
    with group.client() as client:
        client.wait(first, WITHIN_S)
    assert group.ran() == set(first)


def test_a_bulk_retry_that_is_killed_with_its_node_and_run_again_retries_each_once(
    group: Group, tmp_path: Path
) -> None:
    # Given
    repaired = tmp_path / "pump"
    with group.client() as client:
        keys = [one.key for one in client.submit_many("fails", [(str(group.effects), str(repaired))] * DEAD)]
        client.wait(keys, WITHIN_S)
        repaired.touch()

        def retried() -> int:
            return sum(view.counters["dead_retried"] for view in client.nodes())

        # When
        command = [sys.executable, "-m", "cluster.cli.main", "dead", "retry", "--handler", "fails", "--yes"]
        environment = {
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "QUORATE_API": ",".join(group.apis),
        }
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as running:
            until(lambda: retried() > 0, "the first slice is retried")
            running.send_signal(signal.SIGKILL)
            group.cluster.kill(group.nodes[0]["name"])  # the one that was asked
        left = [one.key for page in client.dead(DeadFilter()) for one in page.tasks]
        # Then
        assert 0 < len(left) < DEAD, "it was not killed in the middle"
        again = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=WITHIN_S, check=False
        )
        assert again.returncode == 0, again.stderr
        assert [one for page in client.dead(DeadFilter()) for one in page.tasks] == []
        until(lambda: len(group.ran()) >= DEAD, "each retry has run")
        # nothing was retried under two keys: all that was stored is executed, and it is as many as there were dead
        until(
            lambda: all(lane.tasks == 0 for lane in client.lanes()[0].backlog),
            "nothing more waits in Kafka",
        )
        assert len(group.ran()) == DEAD
