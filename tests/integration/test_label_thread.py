"""The thread between the ledger's labels and an executor, on a real ledger of one node and a real executor; no broker."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from cluster.labels import ClusterLabels
from cluster.tables.labels import LabelKey, learn
from consensus import KeyService
from executor import Executor, Label, Lane, Outcome, Status, Task, encode_arguments
from tests.chaos.addresses import free_addresses
from tests.integration.test_steering import until

pytestmark = pytest.mark.integration
WITHIN_S = 15.0


def learnt(lane: Lane, samples: int = 100) -> Label:
    return Label(
        handler="naps",
        kind="",
        lane=lane,
        why="it is a test",
        mean_s=0.5,
        p95_s=0.8,
        cpu_s=0.001,
        samples=samples,
    )


class Desk:
    """One node's ledger, executor and labels."""

    def __init__(self, folder: Path, *, peers: list[str]) -> None:
        self.address = free_addresses(1)[0]
        self.failures: list[BaseException] = []
        self.labels = ClusterLabels(self.address, failed=self.failures.append)
        self.keys = KeyService(self.address, peers, folder, tables=[self.labels.table])
        self.outcomes: SimpleQueue[Outcome] = SimpleQueue()
        self.executor = Executor(
            ["tests.integration.learnt_handlers"],
            workers=1,
            on_outcomes=lambda ended: [self.outcomes.put(each) for each in ended] and None,
        )

    def start(self) -> None:
        self.keys.start()
        self.executor.start()
        self.labels.start(self.keys, self.executor)

    def close(self) -> None:
        self.labels.stop()
        self.executor.stop(0.0)
        self.keys.stop()

    def offer(self, seq: int, seconds: float) -> None:
        arguments = encode_arguments((seconds,), {})
        self.executor.offer([Task(seq=seq, key=seq, attempt=1, handler="naps", arguments=arguments)])

    def nodes(self) -> set[str]:
        return {key.node for key in self.labels.table.rows}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path, peers=[])
    try:
        made.start()
        made.keys.wait_ready()
        yield made
    finally:
        made.close()
    assert made.failures == []


def test_what_the_ledger_says_routes_and_the_executor_queues_by_it(desk: Desk) -> None:
    # Given
    assert desk.labels.lane_for("naps", "") is Lane.CPU_SHORT
    # When the ledger has a label, from a former life of this node.
    desk.keys.command(learn(desk.address, [learnt(Lane.CPU_LONG)]))
    # Then
    until(lambda: desk.labels.lane_for("naps", "") is Lane.CPU_LONG, "tasks are routed by it", WITHIN_S)
    assert desk.labels.lane_for("naps", "another kind") is Lane.CPU_SHORT
    desk.offer(1, 30.0)
    running = desk.executor.statistics().lanes
    until(lambda: desk.executor.statistics().lanes[Lane.CPU_LONG].running == 1, f"it runs as long: {running}")


def test_what_the_executor_learns_is_told_and_logged(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cluster.labels")
    # When three runs have overrun.
    for seq in range(3):
        desk.offer(seq, 0.3)
        assert desk.outcomes.get(timeout=WITHIN_S).status is Status.DONE
    # Then the ledger has it, and so has whoever routes.
    mine = LabelKey("naps", "", desk.address)
    until(lambda: mine in desk.labels.table.rows, "the ledger has the label", WITHIN_S)
    label = desk.labels.table.rows[mine]
    assert label.lane is Lane.CPU_LONG
    until(lambda: desk.labels.lane_for("naps", "") is Lane.CPU_LONG, "tasks are routed by it", WITHIN_S)
    assert "routing_label handler=naps kind= lane=cpu-long before=None" in caplog.text


def test_a_node_that_is_no_member_loses_its_vote(desk: Desk) -> None:
    # Given a label of this node, outvoted by one of a node that has left the group.
    desk.keys.command(learn(desk.address, [learnt(Lane.CPU_LONG)]))
    desk.keys.command(learn("192.0.2.9:7400", [learnt(Lane.IO_LONG, samples=100_000)]))
    # Then the leader forgets what has left.
    until(lambda: desk.nodes() == {desk.address}, "only members vote", WITHIN_S)
    until(lambda: desk.labels.lane_for("naps", "") is Lane.CPU_LONG, "the member's label routes", WITHIN_S)


def test_without_a_majority_nothing_is_told_and_tasks_go_where_they_went(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "cluster.labels")
    # Given a node whose peers never answer.
    desk = Desk(tmp_path, peers=free_addresses(2))
    try:
        desk.start()
        # When it learns something.
        for seq in range(3):
            desk.offer(seq, 0.3)
            desk.outcomes.get(timeout=WITHIN_S)
        # Then it keeps that to itself, and goes on.
        until(lambda: "labels_not_told" in caplog.text, "it could not tell", WITHIN_S)
        assert desk.nodes() == set()
        assert desk.labels.lane_for("naps", "") is Lane.CPU_SHORT
    finally:
        desk.close()
    assert desk.failures == []
