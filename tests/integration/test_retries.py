"""Retries on real nodes with a real broker: they come in time, as often as their policy says, and wait in Kafka while nodes die."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.api import DeadFilter, DeadView, TaskState
from cluster.client import Client
from cluster.local_cluster import LocalCluster

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

HANDLERS = ("tests.integration.retried_handlers",)
WITHIN_S = 40.0


def until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not is_so():
        assert time.monotonic() < deadline, f"not within {WITHIN_S:g} s: {what}"
        time.sleep(0.05)


class Ground:
    """Nodes, their broker, a client, and the folder of runs."""

    def __init__(self, folder: Path, kafka: str, *, nodes: int = 1) -> None:
        prefix = f"t{uuid.uuid4().hex[:12]}"
        self.cluster = LocalCluster(folder / "cluster", nodes, HANDLERS, kafka=kafka, prefix=prefix)
        self.client = Client(self.cluster.up()["nodes"][0]["api"])
        self.folder = folder / "runs"
        self.folder.mkdir()

    def submit(self, handler: str, *arguments: object) -> int:
        return self.client.submit(handler, str(self.folder), *arguments).key

    def runs(self, key: int) -> list[tuple[float, int]]:
        """When each began, and as which attempt."""
        lines = (self.folder / str(key)).read_text().splitlines()
        return [(float(at), int(attempt)) for at, attempt in map(str.split, lines)]

    def attempts(self, key: int) -> list[int]:
        return [attempt for _, attempt in self.runs(key)]

    def ended(self, *keys: int) -> list[TaskState]:
        self.client.wait(list(keys), WITHIN_S)
        return [self.client.status(key).state for key in keys]

    def dead(self, key: int) -> DeadView:
        (found,) = [one for page in self.client.dead(DeadFilter()) for one in page.tasks if one.key == key]
        return found


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory, kafka: str) -> Iterator[Ground]:
    made = Ground(tmp_path_factory.mktemp("retries"), kafka)
    yield made
    made.client.close()
    made.cluster.down()


def test_a_handler_that_fails_twice_succeeds_at_its_third_attempt(ground: Ground) -> None:
    key = ground.submit("fails_twice")
    assert ground.ended(key) == [TaskState.DONE]
    assert ground.attempts(key) == [1, 2, 3]
    assert ground.client.result(key, WITHIN_S) == 3


def test_after_the_last_attempt_the_dead_record_tells_all_of_them(ground: Ground) -> None:
    key = ground.submit("fails")
    assert ground.ended(key) == [TaskState.DEAD]
    runs = ground.runs(key)
    assert [attempt for _, attempt in runs] == [1, 2, 3, 4]
    dead = ground.dead(key)
    assert "4 attempts failed; the last: ConnectionError: no, not at attempt 4" in dead.error
    assert [(one.attempt, one.error) for one in dead.attempts] == [
        (attempt, f"ConnectionError: no, not at attempt {attempt}") for attempt in (1, 2, 3, 4)
    ]
    for (began_s, _), one in zip(runs, dead.attempts, strict=True):
        assert 0 <= one.at_ms / 1000 - began_s + 0.001 < 5
        assert one.node == "node1"


def test_a_retry_later_comes_after_its_time_and_not_long_after(ground: Ground) -> None:
    key = ground.submit("comes_back_later", 2.0)
    assert ground.ended(key) == [TaskState.DONE]
    (first_s, one), (second_s, two) = ground.runs(key)
    assert (one, two) == (1, 2)
    assert 2.0 <= second_s - first_s < 5.0


def test_what_waits_longer_than_the_last_stretch_goes_by_a_rung(ground: Ground) -> None:
    key = ground.submit("comes_back_later", 16.0)
    assert ground.ended(key) == [TaskState.DONE]
    (first_s, _), (second_s, _) = ground.runs(key)
    assert 16.0 <= second_s - first_s < 19.0


@pytest.mark.parametrize("handler", ["is_hopeless", "fails_once_for_all"])
def test_an_error_that_is_never_retried_and_a_handler_without_retries_end_at_once(
    ground: Ground, handler: str
) -> None:
    key = ground.submit(handler)
    assert ground.ended(key) == [TaskState.DEAD]
    assert ground.attempts(key) == [1]


def test_arguments_that_do_not_fit_are_not_tried_again(ground: Ground) -> None:
    key = ground.submit("takes_one")
    assert ground.ended(key) == [TaskState.DEAD]
    assert "wrong arguments" in ground.dead(key).error
    assert len(ground.dead(key).attempts) == 1


def test_a_task_that_kills_its_worker_thrice_is_dead(ground: Ground) -> None:
    key = ground.submit("kills_its_worker")
    assert ground.ended(key) == [TaskState.DEAD]
    assert ground.attempts(key) == [1, 2, 3]
    assert "3 attempts failed by executor.errors.TaskDied" in ground.dead(key).error


def test_a_time_limit_is_an_attempt(ground: Ground) -> None:
    key = ground.submit("is_too_slow")
    assert ground.ended(key) == [TaskState.DEAD]
    assert ground.attempts(key) == [1, 2]


def test_retries_wait_in_kafka_while_the_node_is_killed(ground: Ground) -> None:
    # Given: tasks that have failed once and wait for their next attempt
    keys = [ground.submit("comes_back_later", 8.0) for _ in range(20)]
    bystanders = [ground.submit("fails_once_for_all") for _ in range(20)]
    ground.ended(*bystanders)  # of the same lane, submitted later: so all have begun, and failed
    assert all(ground.attempts(key) == [1] for key in keys)
    # When
    ground.cluster.kill("node1")
    ground.cluster.start_node("node1")
    # Then
    assert ground.ended(*keys) == [TaskState.DONE] * 20
    for key in keys:
        runs = ground.runs(key)
        assert runs[-1][1] == 2
        assert runs[-1][0] - runs[0][0] >= 8.0


def test_when_a_node_dies_for_good_the_others_go_on_with_what_waited_on_its_rungs(
    tmp_path: Path, kafka: str
) -> None:
    # Given: three nodes, and tasks that wait on a rung for their next attempt
    ground = Ground(tmp_path, kafka, nodes=3)
    try:
        handles = ground.client.submit_many("comes_back_later", [(str(ground.folder), 20.0)] * 600)
        keys = [handle.key for handle in handles]
        until(lambda: len(list(ground.folder.iterdir())) == len(keys), "all have failed once")
        # When
        ground.cluster.kill("node3")
        # Then
        ground.client.wait(keys, 2 * WITHIN_S)
        late_s = []
        for key in keys:
            runs = ground.runs(key)
            first_s, again_s = runs[0][0], next(at for at, attempt in runs if attempt == 2)
            assert again_s - first_s >= 20.0
            late_s.append(again_s - first_s - 20.0)
        assert sum(late < 2.0 for late in late_s) > len(keys) / 4, sorted(
            late_s
        )  # of the living nodes' rungs
        assert max(late_s) < 30.0
    finally:
        ground.client.close()
        ground.cluster.down()
