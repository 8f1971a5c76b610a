"""What stock does and the repaired node never does, shown on a cluster that elects, restarts, changes its group and sends snapshots."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pysyncobj.syncobj
import pytest

from tests.simulation.cluster import Cluster
from tests.simulation.directed import Story, behind_the_log, fill_the_log, plan_of
from tests.simulation.faults import Fault, Kind, draw_plan
from tests.simulation.node import SimNode
from tests.simulation.run import run_plan

pytestmark = pytest.mark.simulation

STEP_ENTRIES_MAX = 600  # some milliseconds of work


class _Forbidden:
    def __init__(self, what: str) -> None:
        self._what = what

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{self._what}.{name} was asked for")


def test_nothing_is_pickled_and_nothing_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pysyncobj.syncobj, "pickle", _Forbidden("pickle"))
    monkeypatch.setattr(os, "fork", _Forbidden("os.fork"))
    for seed in (1, 5):
        plan = replace(draw_plan(seed), interval=False)
        result = run_plan(plan)
        assert result.clean, f"seed {seed}: {result.why}"


def test_no_stranger_can_ask_the_library_for_its_utilities() -> None:
    cluster = Cluster(plan_of("A1"))
    Story(cluster)
    for node in cluster.nodes.values():
        assert node.replica.raft._SyncObj__transport._onUtilityMessageCallbacks == {}


def test_a_follower_that_waits_for_a_snapshot_is_not_flooded() -> None:
    """E3: stock spins, 22,692 messages a second, while a snapshot cannot be read."""
    # Given a node that needs a snapshot, and a leader that has none to give
    cluster = Cluster(plan_of("A6"))
    story = Story(cluster)
    leader, behind = behind_the_log(story)
    leader.replica.raft.snapshots.newest_file = lambda: None  # type: ignore[method-assign]
    # When they reach one another for ten seconds
    story.mend(behind, story.others(behind))
    sent_before = cluster.network.messages
    story.pass_s(10.0)
    # Then a heartbeat goes each way now and then, and not more
    assert (cluster.network.messages - sent_before) / 10 < 200


def test_a_long_backlog_is_applied_in_bounded_steps() -> None:
    """D5: stock applies all of it in one tick, and no heartbeat leaves meanwhile."""
    # Given a log of 1,500 entries without a snapshot
    cluster = Cluster(plan_of("A7"))
    story = Story(cluster)
    leader = story.leader()
    for _ in range(30):
        fill_the_log(leader, 50)
        story.pass_s(0.1)
    # When a node starts again and hears that all of it is committed
    restarted = story.others(leader)[0]
    restarted.crash(power=False)
    applied, stepped = [1], cluster.judges.stepped

    def watch(node: SimNode) -> None:
        stepped(node)
        if node is restarted:
            applied.append(node.replica.raft.last_applied)

    cluster.judges.stepped = watch  # type: ignore[method-assign]
    restarted.start()
    story.until(lambda: applied[-1] > 1500, within_s=5.0)
    # Then no step took more than its share
    assert max(later - earlier for earlier, later in pairwise(applied)) <= STEP_ENTRIES_MAX


def test_a_snapshot_that_a_plan_asks_for_is_taken() -> None:
    # Given a plan that asks the first node for one, long before the log is long enough
    asked = Fault(at_s=4.0, lasts_s=1.0, kind=Kind.SNAPSHOT, node=0, other=0, amount=0.5, choice=False)
    cluster = Cluster(replace(plan_of("A7"), faults=(asked,), clients=2))
    # When it runs
    cluster.run(run_s=8.0)
    # Then that node has one, and no other
    taken = {
        name: any(file.startswith("snapshot-0") for file in node.disk.names())
        for name, node in cluster.nodes.items()
    }
    assert taken == {name: name == cluster.founders[0] for name in cluster.nodes}
