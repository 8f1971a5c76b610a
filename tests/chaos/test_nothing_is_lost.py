"""Nodes, workers and the broker are killed under load: every task that was accepted is executed, none is lost."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.api import NodeView, TaskState
from cluster.audit import judge
from cluster.client import Client
from cluster.dead.record import DeadRecord, decode_dead
from cluster.errors import Unavailable
from cluster.kafka.confluent import TaskProducer, read_record_keys, whole_topics_consumer
from cluster.kafka.dev_broker import DevBroker
from cluster.local_cluster import LocalCluster
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


@handler
def pass_gate(gates, file, context):
    """Waits for a byte at the gate of its node; then one line: the effect, and whose worker did it."""
    with open(f"/proc/{os.getppid()}/stat") as zygote:  # the node's child, and this process's parent
        node = int(zygote.read().rpartition(")")[2].split()[1])
    gate = os.open(f"{gates}/{node}", os.O_RDONLY)
    os.read(gate, 1)
    os.close(gate)
    with open(file, "a") as effects:
        effects.write(f"{context.key} {node}\\n")
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


class Gates:
    """One named pipe per node; a worker passes by taking a byte out of it."""

    def __init__(self, folder: Path, pids: list[int]) -> None:
        self.folder, self.pids = folder, set(pids)
        folder.mkdir()
        self._pipes: dict[int, int] = {}
        for pid in pids:
            os.mkfifo(folder / str(pid))
            self._pipes[pid] = os.open(
                folder / str(pid), os.O_RDWR
            )  # never without a writer: no worker sees its end

    def let_pass(self, pid: int, tasks: int) -> None:
        os.write(self._pipes[pid], b"." * tasks)  # a pipe holds 64 KiB

    def __enter__(self) -> Gates:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes.values():
            os.close(pipe)


def leader_of(client: Client) -> NodeView:
    return next(view for view in client.nodes() if view.is_leader)


def await_executed(client: Client, keys: list[int], share: float) -> None:
    """Until this share of `keys` is executed; bounded by the test's own time limit."""
    client.wait(keys[: int(len(keys) * share)], timeout_s=60)


def await_silence(client: Client, node: NodeView, timeout_s: float = 30.0) -> None:
    """Until this node answers no application any more: the first thing that it does when it is told to end."""
    deadline = time.monotonic() + timeout_s
    while node.name in {view.name for view in client.nodes()}:
        assert time.monotonic() < deadline, f"{node.name} still answers after {timeout_s:g} s"


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


def await_waiting_work(client: Client, timeout_s: float = 30.0) -> NodeView:
    """The node with the most tasks that no worker has yet, as soon as one has any."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        fullest = max(client.nodes(), key=waiting_tasks)
        if waiting_tasks(fullest) > 0:
            return fullest
    pytest.fail(f"no node holds waiting tasks after {timeout_s:g} s: the test would show nothing")


def waiting_tasks(view: NodeView) -> int:
    return sum(lane.queued for lane in view.lanes)


def test_a_node_told_to_end_under_load_ends_cleanly_and_the_others_finish_its_work(
    start_cluster: Callable[[str], tuple[LocalCluster, Client]], kafka: str, tmp_path: Path
) -> None:
    cluster, client = start_cluster(kafka)
    effects = tmp_path / "effects"
    with Gates(tmp_path / "gates", [view.pid for view in client.nodes()]) as gates:
        # Given nodes whose workers stand at closed gates, so that what waits behind them cannot drain
        handles = client.submit_many("pass_gate", [(str(gates.folder), str(effects))] * 600)
        keys = [handle.key for handle in handles]
        leaving = await_waiting_work(client)

        # When one of them is told to end, and no task but the one that runs in it can ever pass its gate
        os.kill(leaving.pid, signal.SIGTERM)
        await_silence(client, leaving)
        gates.let_pass(leaving.pid, 1)
        assert cluster.await_end(leaving.name, timeout_s=30) == 0

        # Then the others run what it held
        for pid in gates.pids - {leaving.pid}:
            gates.let_pass(pid, 2 * len(keys))
        client.wait(keys, timeout_s=90)
    done = [tuple(map(int, line.split())) for line in effects.read_text().splitlines()]
    assert {key for key, _ in done} == set(keys)
    assert sum(node == leaving.pid for _, node in done) <= 1


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
    dead = decode_dead(record.value() or b"")
    assert isinstance(dead, DeadRecord)
    reason, value = dead.reason, dead.value
    assert value == b"no envelope"
    assert "no Quorate task" in reason
