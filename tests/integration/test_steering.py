"""What operators do to a running cluster: pause, resume, purge, limits. On real nodes and a real broker; effects are counted."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupState
from confluent_kafka.admin import AdminClient

from cluster.api import TaskState
from cluster.client import Client, new_task
from cluster.errors import Exhausted, Refused
from cluster.local_cluster import LocalCluster
from cluster.routing import parked_topic, task_topics

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

HANDLERS = ("tests.integration.steered_handlers",)
TASKS = 300
WITHIN_S = 40.0


def until(is_so: Callable[[], bool], what: str, within_s: float = WITHIN_S) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        time.sleep(0.05)


class Steered:
    """A cluster of three, a client of all, and the folder of effects."""

    def __init__(self, folder: Path, kafka: str) -> None:
        self.prefix = f"t{uuid.uuid4().hex[:12]}"
        self.admin = AdminClient({"bootstrap.servers": kafka})
        self.cluster = LocalCluster(folder / "cluster", 3, HANDLERS, kafka=kafka, prefix=self.prefix)
        described = self.cluster.up()
        self.apis = {node["name"]: node["api"] for node in described["nodes"]}
        self.logs = [Path(node["data_dir"]) / "node.log" for node in described["nodes"]]
        self.client = Client(",".join(self.apis.values()))
        self.effects = folder / "effects"
        self.effects.mkdir()

    def until_settled(self) -> None:
        """Partitions have their owners: what is in hand while they move may run twice, which is another promise's matter."""
        topics = [*task_topics(self.prefix), parked_topic(self.prefix)]

        def is_settled() -> bool:
            asked = self.admin.describe_consumer_groups(topics)
            groups = [future.result(10) for future in asked.values()]
            return all(one.state is ConsumerGroupState.STABLE and len(one.members) == 3 for one in groups)

        until(is_settled, "each group has three members")

    def submit(self, handler: str, count: int = TASKS) -> list[int]:
        handles = self.client.submit_many(handler, [(str(self.effects),)] * count)
        return [handle.key for handle in handles]

    def runs(self, keys: Sequence[int]) -> list[int]:
        """How often each of them ran."""
        files = [self.effects / str(key) for key in keys]
        return [len(file.read_bytes().splitlines()) if file.exists() else 0 for file in files]

    def pause(self, subject: str) -> None:
        """Returns when it governs every node."""
        self.client.pause(subject)
        for api in self.apis.values():
            with Client(api) as one:
                until(
                    lambda one=one: subject in [change.subject for change in one.limits().paused],  # type: ignore[misc]
                    f"{api} knows that {subject} is paused",
                )

    def counted(self, counter: str) -> int:
        return sum(view.counters.get(counter, 0) for view in self.client.nodes())

    def waiting(self, lane: str) -> int:
        return next(one.tasks for one in self.client.lanes()[0].backlog if one.lane == lane)

    def until_parked(self, count: int, before: int) -> None:
        until(lambda: self.counted("parked") - before >= count, f"{count} tasks are parked")

    def states(self, keys: Sequence[int]) -> set[TaskState]:
        return {status.state for status in self.client.statuses(keys)}

    def close(self) -> None:
        self.client.close()
        self.cluster.down()


@pytest.fixture(scope="module")
def steered(tmp_path_factory: pytest.TempPathFactory, kafka: str) -> Iterator[Steered]:
    started = Steered(tmp_path_factory.mktemp("steered"), kafka)
    started.until_settled()
    yield started
    started.close()


@pytest.fixture(autouse=True)
def as_before(steered: Steered) -> Iterator[None]:
    yield
    view = steered.client.limits()
    for change in view.paused:
        steered.client.resume(change.subject)
    for change in view.numbers:
        steered.client.clear_limit(change.subject)


def test_a_paused_handler_is_parked_the_others_run_and_a_resume_runs_every_task_once(
    steered: Steered,
) -> None:
    # Given
    before = steered.counted("parked")
    steered.pause("handler:held")
    # When
    held, free = steered.submit("held"), steered.submit("free")
    steered.client.wait(free, WITHIN_S)
    steered.until_parked(TASKS, before)
    # Then
    assert steered.runs(free) == [1] * TASKS
    assert steered.runs(held) == [0] * TASKS
    assert steered.states(held) == {TaskState.WAITING}
    until(lambda: steered.waiting("parked") == TASKS, "any node shows how many are parked")
    # When
    steered.client.resume("handler:held")
    steered.client.wait(held, WITHIN_S)
    # Then
    assert steered.runs(held) == [1] * TASKS
    until(lambda: steered.waiting("parked") == 0, "none is parked any more")


def test_what_was_submitted_before_the_pause_and_had_not_started_is_held_too(steered: Steered) -> None:
    keys = steered.submit("held", 2000)
    steered.pause("handler:held")
    until(lambda: TaskState.RUNNING not in steered.states(keys), "nothing of it is in hand")
    ran = sum(steered.runs(keys))
    free = steered.submit("free", 50)
    steered.client.wait(free, WITHIN_S)
    assert sum(steered.runs(keys)) == ran, "it went on after the pause"
    steered.client.resume("handler:held")
    steered.client.wait(keys, WITHIN_S)
    assert steered.runs(keys) == [1] * 2000


def test_parked_tasks_outlive_a_killed_node_and_run_once(steered: Steered) -> None:
    # Given
    before = steered.counted("parked")
    steered.pause("handler:held")
    keys = steered.submit("held")
    steered.until_parked(TASKS, before)
    # When: an owner of parked partitions dies; the rest take over and resume
    steered.cluster.kill("node2")
    steered.client.resume("handler:held")
    steered.client.wait(keys, WITHIN_S)
    # Then
    steered.cluster.start_node("node2")
    until(lambda: sum(view.ready for view in steered.client.nodes()) == 3, "node2 is back")
    assert steered.runs(keys) == [1] * TASKS


def test_a_node_that_is_killed_while_it_takes_tasks_out_loses_none(steered: Steered) -> None:
    before = steered.counted("parked")
    steered.pause("handler:held")
    keys = steered.submit("held", 3000)
    steered.until_parked(3000, before)
    steered.client.resume("handler:held")
    until(lambda: sum(steered.runs(keys)) > 0, "some of it runs")
    steered.cluster.kill("node3")
    steered.client.wait(keys, WITHIN_S)
    steered.cluster.start_node("node3")
    until(lambda: sum(view.ready for view in steered.client.nodes()) == 3, "node3 is back")
    runs = steered.runs(keys)
    assert min(runs) == 1
    assert sum(runs) - len(keys) <= 1000, "more ran again than the killed node can have had in hand"


def test_a_purge_cancels_what_was_submitted_before_it_and_nothing_after(steered: Steered) -> None:
    # Given
    before = steered.counted("parked")
    steered.pause("handler:held")
    old = steered.submit("held")
    steered.until_parked(TASKS // 2, before)  # the rest is still on its way to the parked topic
    # When
    steered.client.purge("handler:held")
    new = steered.submit("held", 50)
    steered.client.wait(old, WITHIN_S)
    # Then
    assert steered.states(old) == {TaskState.CANCELLED}
    steered.client.resume("handler:held")
    steered.client.wait(new, WITHIN_S)
    assert steered.runs(new) == [1] * 50
    assert steered.runs(old) == [0] * TASKS


def test_a_purge_of_a_lane_cancels_what_waits_in_it(steered: Steered) -> None:
    steered.pause("lane:io-short")
    waiting, other = steered.submit("elsewhere", 100), steered.submit("free", 50)
    steered.client.wait(other, WITHIN_S)
    assert steered.runs(waiting) == [0] * 100
    steered.client.purge("lane:io-short")
    steered.client.resume("lane:io-short")
    steered.client.wait(waiting, WITHIN_S)
    assert steered.states(waiting) == {TaskState.CANCELLED}
    assert steered.runs(waiting) == [0] * 100
    after = steered.submit("elsewhere", 20)
    steered.client.wait(after, WITHIN_S)
    assert steered.runs(after) == [1] * 20


def test_a_paused_lane_waits_while_the_others_run(steered: Steered) -> None:
    steered.pause("lane:io-short")
    waiting, other = steered.submit("elsewhere", 100), steered.submit("free", 100)
    steered.client.wait(other, WITHIN_S)
    assert steered.runs(waiting) == [0] * 100
    steered.client.resume("lane:io-short")
    steered.client.wait(waiting, WITHIN_S)
    assert steered.runs(waiting) == [1] * 100


def test_a_change_is_shown_by_every_node_and_logged_by_every_node_with_who_made_it(steered: Steered) -> None:
    steered.client.set_limit("handler:held", 2, who="ann@desk")
    for api in steered.apis.values():
        with Client(api) as one:
            until(
                lambda one=one: [c.who for c in one.limits().numbers] == ["ann@desk"],  # type: ignore[misc]
                "the change is known",
            )
    for log in steered.logs:
        until(
            lambda log=log: "who=ann@desk" in log.read_text() and "handler:held" in log.read_text(),  # type: ignore[misc]
            f"{log} tells of it",
        )


def test_the_number_of_workers_is_changed_on_every_node(steered: Steered) -> None:
    def slots() -> list[int]:
        views = steered.client.lanes()
        return [lane.slots for view in views for lane in view.lanes if lane.lane == "cpu-long"]

    until(lambda: slots() == [1, 1, 1], "one worker for long tasks on each node")
    steered.client.set_limit("workers", 2)
    until(lambda: slots() == [2, 2, 2], "two on each")
    steered.client.clear_limit("workers")
    until(lambda: slots() == [1, 1, 1], "one again")


def test_a_handlers_own_limit_holds_on_every_node_and_its_lane_goes_on(
    steered: Steered, tmp_path: Path
) -> None:
    # Given
    gate = tmp_path / "gate"
    steered.until_settled()
    steered.client.set_limit("handler:gated", 1)
    # When
    handles = steered.client.submit_many("gated", [(str(steered.effects), str(gate))] * 400)
    keys = [handle.key for handle in handles]
    until(lambda: sum(steered.runs(keys)) == 3, "one runs on each node")
    others = steered.submit("elsewhere", 60)
    steered.client.wait(others, WITHIN_S)
    # Then
    assert sum(steered.runs(keys)) == 3
    # When
    steered.client.clear_limit("handler:gated")
    until(lambda: sum(steered.runs(keys)) > 3, "more run")
    gate.touch()
    steered.client.wait(keys, WITHIN_S)
    assert steered.runs(keys) == [1] * 400


def test_limits_outlive_the_end_of_all_nodes(steered: Steered) -> None:
    steered.client.set_limit("workers", 2, who="ann@desk")
    steered.client.pause("handler:held", who="bob@desk")
    before = steered.client.limits()
    keys = steered.submit("held", 20)
    for name in steered.apis:
        steered.cluster.kill(name)
    steered.cluster.up()
    assert steered.client.limits() == before
    free = steered.submit("free", 20)
    steered.client.wait(free, WITHIN_S)
    assert steered.runs(keys) == [0] * 20
    steered.client.resume("handler:held")
    steered.client.wait(keys, WITHIN_S)
    assert steered.runs(keys) == [1] * 20


def test_a_change_that_makes_no_sense_is_refused_in_a_sentence(steered: Steered) -> None:
    with pytest.raises(Refused, match="1 to 256"):
        steered.client.set_limit("workers", 1000)
    with pytest.raises(Refused, match="cpu-short"):
        steered.client.pause("lane:gpu")


def test_any_node_tells_how_far_a_task_is_and_what_it_wrote(steered: Steered, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    key = steered.client.submit("told", str(gate)).key
    for api in steered.apis.values():
        with Client(api) as one:
            until(lambda one=one: one.status(key).progress is not None, "its progress is known")  # type: ignore[misc]
            status = one.status(key)
            assert status.state is TaskState.RUNNING
            assert status.node in steered.apis
            assert status.progress is not None
            assert (status.progress.done, status.progress.total) == (3, 10)
            assert status.progress.note == "reading"
    gate.touch()
    assert steered.client.result(key, WITHIN_S) == "ended"
    view = steered.client.output(key)
    assert view is not None
    assert f"printed by {key}" in view.text
    assert f"logged by {key}" in view.text
    assert steered.client.status(key).progress is None


def test_too_much_work_in_a_lane_is_refused_with_a_time_to_come_back(steered: Steered) -> None:
    # Given: a mean of half a second is measured
    warm = steered.client.submit_many("takes_long", [(0.5,)] * 6)
    steered.client.wait([handle.key for handle in warm], WITHIN_S)
    steered.client.set_limit("max-backlog-s", 2)
    # When
    accepted = []

    def is_full() -> bool:
        (answer,) = steered.client.submit_tasks([new_task("takes_long", [0.2])])
        if answer.code == "resource-exhausted":
            assert answer.retry_after_s >= 1
            return True
        accepted.append(answer.key)
        return False

    until(is_full, "the lane is full")
    # Then: one sentence, one class, and another lane is open
    with pytest.raises(Exhausted, match="submit again in") as refused:
        steered.client.submit("takes_long", 0.2)
    assert refused.value.retry_after_s >= 1
    steered.client.submit("elsewhere", str(steered.effects)).wait(WITHIN_S)
    # When: the bound is raised, it goes on
    steered.client.set_limit("max-backlog-s", 1000)
    until(lambda: steered.client.submit_tasks([new_task("takes_long", [0.0])])[0].error is None, "open again")
    steered.client.wait(accepted, WITHIN_S)
