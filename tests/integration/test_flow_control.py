"""What is fetched follows what the executor can take, lane by lane and the more important first; with a real broker and real workers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.node_group import free_ports
from cluster.api import NewTask, TaskState
from cluster.envelope import Envelope, encode_envelope, encode_key
from cluster.kafka.confluent import TaskProducer
from cluster.node import Node
from cluster.routing import task_topic
from cluster.settings import NodeSettings
from executor import Lane, encode_arguments

pytestmark = pytest.mark.integration

WITHIN_S = 30.0


@pytest.fixture
def node(kafka: str, topic_prefix: str, tmp_path: Path) -> Iterator[Node]:
    listen, api = (f"127.0.0.1:{port}" for port in free_ports(2))
    started = Node(
        NodeSettings(
            listen=listen,
            kafka=kafka,
            handlers=("tests.integration.flow_handlers",),
            data_dir=tmp_path / "node",
            api=api,
            name="n1",
            prefix=topic_prefix,
            workers=2,
        )
    )
    started.start()
    with contextlib.closing(_Stopping(started)):
        yield started


class _Stopping:
    def __init__(self, node: Node) -> None:
        self._node = node

    def close(self) -> None:
        self._node.stop(0.0)
        assert self._node.failure is None


def submit(node: Node, handler: str, count: int, *args: object, priority: str = "normal") -> list[int]:
    keys = []
    for start in range(0, count, 1000):
        part = min(1000, count - start)
        task = NewTask(handler=handler, arguments=encode_arguments(args, {}), priority=priority)
        answers = node.submit([task] * part, timeout_s=WITHIN_S)
        assert [answer.error for answer in answers if answer.error] == []
        keys += [answer.key for answer in answers]
    return keys


def await_true(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not is_so():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def test_a_lane_that_is_full_stalls_no_other(node: Node, tmp_path: Path) -> None:
    # Given a lane that takes nothing more, because all that runs in it stands still
    go = tmp_path / "go"
    held = submit(node, "hold", 1500, str(go))
    await_true(lambda: any(lane.running for lane in node.view().lanes if lane.lane == "cpu-long"))
    # When there is work for another lane
    quick = submit(node, "note", 200, str(tmp_path / "notes"), "quick")
    # Then it runs, while nothing of the full lane has ended
    assert node.wait(quick, timeout_s=WITHIN_S) == []
    states = {one.state for one in node.status(held[:100], with_result=False, timeout_s=1.0)}
    assert TaskState.DONE not in states
    go.touch()
    assert node.wait(held, timeout_s=WITHIN_S) == []


def test_a_task_of_high_priority_does_not_wait_behind_low_ones_that_came_before(
    node: Node, tmp_path: Path
) -> None:
    # Given a flood of low ones, some 12 seconds of work
    notes = tmp_path / "notes"
    low = submit(node, "note_slowly", 5000, str(notes), "low", priority="low")
    await_true(lambda: len(lines(notes)) > 50)
    # When a high one comes
    submit(node, "note", 1, str(notes), "high", priority="high")
    before = len(lines(notes))
    # Then it runs among the next, though all of the others had been read ahead
    await_true(lambda: "high" in lines(notes))
    assert lines(notes).index("high") - before < len(low) / 4


def test_a_record_in_the_wrong_lane_runs_where_there_is_room_and_is_moved_where_there_is_none(
    node: Node, kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    # Given a record of an io-short handler in the topic of another lane, as after a change of label
    notes, go = tmp_path / "notes", tmp_path / "go"
    wrong = task_topic(topic_prefix, "cpu-short", "normal")
    with contextlib.closing(_Misplacing(kafka, wrong)) as misplacing:
        misplacing.store(node, "note_io", str(notes), "with room")
        await_true(lambda: lines(notes) == ["with room"])
        assert node.view().counters["moved"] == 0
        # When its own lane is full
        held = submit(node, "hold_io", 3000, str(go))
        await_true(lambda: node.view().counters["delivered"] > 1)
        await_true(lambda: room_of(node, "io-short") == 0)
        moved = misplacing.store(node, "note_io", str(notes), "without room")
        # Then it goes there and waits its turn
        await_true(lambda: node.view().counters["moved"] == 1)
        assert lines(notes) == ["with room"]
        go.touch()
        assert node.wait([*held, moved], timeout_s=WITHIN_S) == []
        assert lines(notes) == ["with room", "without room"]


class _Misplacing:
    """Stores tasks in a topic of its choice."""

    def __init__(self, kafka: str, topic: str) -> None:
        self._topic = topic
        self._producer = TaskProducer(kafka, acks="all", name="test")

    def store(self, node: Node, handler: str, *args: object) -> int:
        (key,) = node.reserve(1, timeout_s=WITHIN_S)
        envelope = Envelope(handler=handler, arguments=encode_arguments(args, {}))
        record = (self._topic, encode_key(key), encode_envelope(envelope))
        assert self._producer.produce_many([record], timeout_s=WITHIN_S) == [None]
        return key

    def close(self) -> None:
        self._producer.stop()


def room_of(node: Node, lane: str) -> int:
    return node._executor.room(Lane(lane))
