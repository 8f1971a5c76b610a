"""Nodes, workers and the broker are killed under load: every task that was accepted is executed, none is lost."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.api import NodeView, TaskState
from cluster.audit import judge
from cluster.client import Client
from cluster.errors import Unavailable
from cluster.kafka.confluent import TaskProducer, read_record_keys, whole_topics_consumer
from cluster.kafka.dev_broker import DevBroker
from cluster.local_cluster import LocalCluster
from cluster.results import decode_dead
from cluster.routing import dead_topic, task_topic, task_topics

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

HANDLERS = '''
import os, time
from executor import handler


@handler
def note(file, context):
    """A few milliseconds of work, then one line: the effect."""
    time.sleep(0.003)
    with open(file, "a") as effects:
        effects.write(f"{context.key}\\n")


@handler
def hold(marker, told):
    """The first run says which process it is and never ends; the next run does."""
    if os.path.exists(marker):
        return "second run"
    open(marker, "w").close()
    with open(told, "w") as pipe:
        pipe.write(str(os.getpid()))
    time.sleep(3600)
'''


@pytest.fixture
def start_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, topic_prefix: str
) -> Iterator[Callable[[str], tuple[LocalCluster, Client]]]:
    """Starts three nodes with the handlers above on the given broker."""
    (tmp_path / "noted.py").write_text(HANDLERS)
    monkeypatch.chdir(tmp_path)
    cluster: LocalCluster | None = None
    client: Client | None = None

    def start(kafka: str) -> tuple[LocalCluster, Client]:
        nonlocal cluster, client
        cluster = LocalCluster(tmp_path / "c", handlers=("noted",), kafka=kafka, prefix=topic_prefix)
        nodes = cluster.up()["nodes"]
        client = Client(",".join(node["api"] for node in nodes), timeout_s=20)
        return cluster, client

    yield start
    if client is not None:
        client.close()
    if cluster is not None:
        cluster.down()


def leader_of(client: Client) -> NodeView:
    return next(view for view in client.nodes() if view.is_leader)


def await_executed(client: Client, keys: list[int], share: float) -> None:
    """Until this share of `keys` is executed; bounded by the test's own time limit."""
    client.wait(keys[: int(len(keys) * share)], timeout_s=60)


def lines(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().split()]


def test_the_leader_is_killed_under_load_and_nothing_is_lost(
    start_cluster: Callable[[str], tuple[LocalCluster, Client]], kafka: str, tmp_path: Path, topic_prefix: str
) -> None:
    cluster, client = start_cluster(kafka)
    effects = tmp_path / "effects"
    keys = [handle.key for handle in client.submit_many("note", [(str(effects),)] * 2000)]
    await_executed(client, keys, 0.1)
    killed = leader_of(client)
    cluster.kill(killed.name)
    more = [handle.key for handle in client.submit_many("note", [(str(effects),)] * 100)]
    client.wait(keys + more, timeout_s=90)
    cluster.start_node(killed.name)
    stored = read_record_keys(kafka, task_topics(topic_prefix), timeout_s=30)
    executed = [status.key for status in client.statuses(keys + more) if status.state is TaskState.DONE]
    verdict = judge(submitted=stored, executed=executed, effects=lines(effects))
    assert set(keys + more) <= set(stored)
    assert verdict.lost == 0
    assert verdict.missing_effects == 0


def test_the_broker_is_killed_and_restarted_under_load_and_nothing_is_lost(
    start_cluster: Callable[[str], tuple[LocalCluster, Client]], broker: DevBroker, tmp_path: Path
) -> None:
    _, client = start_cluster(broker.bootstrap)
    effects = tmp_path / "effects"
    keys = [handle.key for handle in client.submit_many("note", [(str(effects),)] * 1000)]
    await_executed(client, keys, 0.1)
    broker.kill()
    broker.restart()
    keys += [handle.key for handle in client.submit_many("note", [(str(effects),)] * 100)]
    client.wait(keys, timeout_s=90)
    assert set(lines(effects)) >= set(keys)


def test_a_node_told_to_end_under_load_ends_cleanly_and_the_others_finish_its_work(
    start_cluster: Callable[[str], tuple[LocalCluster, Client]], kafka: str, tmp_path: Path
) -> None:
    cluster, client = start_cluster(kafka)
    effects = tmp_path / "effects"
    keys = [handle.key for handle in client.submit_many("note", [(str(effects),)] * 2000)]
    await_executed(client, keys, 0.1)
    leaving = max(client.nodes(), key=lambda view: sum(lane.queued for lane in view.lanes))
    assert sum(lane.queued for lane in leaving.lanes) > 0, "nobody holds work: the test would show nothing"
    os.kill(leaving.pid, signal.SIGTERM)
    assert cluster.await_end(leaving.name, timeout_s=30) == 0
    client.wait(keys, timeout_s=90)
    assert set(lines(effects)) == set(keys)


def test_a_worker_killed_in_mid_task_costs_only_a_second_run(
    start_cluster: Callable[[str], tuple[LocalCluster, Client]], kafka: str, tmp_path: Path
) -> None:
    _, client = start_cluster(kafka)
    marker, told, effects = tmp_path / "marker", tmp_path / "told", tmp_path / "effects"
    os.mkfifo(told)
    pipe = os.open(told, os.O_RDONLY | os.O_NONBLOCK)
    held = client.submit("hold", str(marker), str(told))
    others = [handle.key for handle in client.submit_many("note", [(str(effects),)] * 200)]
    assert select.select([pipe], [], [], 30)[0], "the task never started"
    os.kill(int(os.read(pipe, 20)), signal.SIGKILL)
    os.close(pipe)
    assert held.result(timeout_s=30) == "second run"
    client.wait(others, timeout_s=60)
    assert set(lines(effects)) == set(others)


def test_without_a_majority_submits_fail_clearly_and_all_resumes_when_a_node_returns(
    start_cluster: Callable[[str], tuple[LocalCluster, Client]], kafka: str, tmp_path: Path
) -> None:
    cluster, client = start_cluster(kafka)
    effects = tmp_path / "effects"
    keys = [handle.key for handle in client.submit_many("note", [(str(effects),)] * 1000)]
    cluster.kill("node1")
    cluster.kill("node2")
    left = next(view for view in client.nodes() if view.name == "node3")
    with Client(left.api, timeout_s=4) as alone, pytest.raises(Unavailable):
        alone.submit("note", str(effects))
    cluster.start_node("node1")
    client.wait(keys, timeout_s=90)
    late = client.submit("note", str(effects))
    late.wait(timeout_s=60)
    assert set(lines(effects)) >= {*keys, late.key}


def test_a_record_that_is_no_task_goes_to_dead_and_other_work_goes_on(
    start_cluster: Callable[[str], tuple[LocalCluster, Client]], kafka: str, tmp_path: Path, topic_prefix: str
) -> None:
    _, client = start_cluster(kafka)
    producer = TaskProducer(kafka, acks="all", name="test")
    topic = task_topic(topic_prefix, "cpu-short", "normal")
    assert producer.produce_many([(topic, b"stranger", b"no envelope")], timeout_s=20) == [None]
    producer.stop()
    client.submit("note", str(tmp_path / "effects")).wait(timeout_s=30)
    reader = whole_topics_consumer(kafka, [dead_topic(topic_prefix)], timeout_s=20)
    try:
        record = reader.poll(30)
    finally:
        reader.close()
    assert record is not None
    reason, value = decode_dead(record.value() or b"")
    assert value == b"no envelope"
    assert "no Quorate task" in reason
