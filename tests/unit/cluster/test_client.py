"""Promises of Client and AsyncClient, over a real gRPC server in front of a small node in memory."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Generator, Sequence

import pytest

from cluster.api import LaneView, NewTask, NodeView, PeerView, Submitted, TaskState, TaskStatus
from cluster.async_client import AsyncClient
from cluster.client import Client, new_task
from cluster.errors import Refused, SettingsError, TaskDead, Unavailable, WaitTimeout
from cluster.rpc.server import ApiServer
from executor import decode_arguments, encode_value

pytestmark = pytest.mark.unit


class SharedLog:
    """What Raft and Kafka hold for all nodes: keys handed out, tasks stored (a key may be stored twice), results."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.high_water = 1
        self.stored: list[NewTask] = []
        self.results: dict[int, bytes] = {}
        self.dead: dict[int, str] = {}


class MemoryNode:
    """A node's API over a SharedLog. Tasks of "add" run at once, those of "later" when the test says so."""

    def __init__(self, name: str, log: SharedLog) -> None:
        self.name = name
        self.log = log
        self.has_majority = True
        self.swallows_answers = 0  # so many submits are stored, but their caller is told "unavailable"
        self.refuses_busy = 0  # so many submits answer "unavailable" per task

    def submit(self, tasks: Sequence[NewTask], *, timeout_s: float) -> list[Submitted]:
        if not self.has_majority:
            raise Unavailable("no majority of the members answers")
        with self.log.changed:
            if self.refuses_busy:
                self.refuses_busy -= 1
                return [Submitted(key=task.key, error="Kafka is slow", code="unavailable") for task in tasks]
            answers = [self._store(task) for task in tasks]
            self.log.changed.notify_all()
        if self.swallows_answers:
            self.swallows_answers -= 1
            raise Unavailable("the broker did not acknowledge in time")
        return answers

    def _store(self, task: NewTask) -> Submitted:
        if task.handler not in ("add", "later", "fail"):
            return Submitted(key=task.key, error=f"no handler {task.handler!r}", code="unknown-handler")
        self.log.stored.append(task)
        if task.handler == "add":
            args, kwargs = decode_arguments(task.arguments)
            self.log.results[task.key] = encode_value(sum(args) + sum(kwargs.values()))
        if task.handler == "fail":
            self.log.dead[task.key] = "ValueError: no"
        return Submitted(key=task.key)

    def reserve(self, count: int, *, timeout_s: float) -> range:
        if not self.has_majority:
            raise Unavailable("no majority of the members answers")
        with self.log.changed:
            first = self.log.high_water
            self.log.high_water += count
            return range(first, first + count)

    def status(self, keys: Sequence[int], *, with_result: bool, timeout_s: float) -> list[TaskStatus]:
        return [self._status(key, with_result) for key in keys]

    def _status(self, key: int, with_result: bool) -> TaskStatus:
        if key in self.log.dead:
            return TaskStatus(key=key, state=TaskState.DEAD, error=self.log.dead[key])
        if key in self.log.results:
            result = self.log.results[key] if with_result else None
            return TaskStatus(key=key, state=TaskState.DONE, result=result, node=self.name)
        known = key < self.log.high_water
        return TaskStatus(key=key, state=TaskState.WAITING if known else TaskState.UNKNOWN)

    def wait(self, keys: Sequence[int], *, timeout_s: float) -> list[int]:
        def still_open() -> list[int]:
            return [key for key in keys if key not in self.log.results and key not in self.log.dead]

        with self.log.changed:
            self.log.changed.wait_for(lambda: not still_open(), timeout_s)
            return still_open()

    def view(self) -> NodeView:
        return NodeView(
            name=self.name,
            peer="127.0.0.1:1",
            api="127.0.0.1:2",
            pid=os.getpid(),
            version="0",
            ready=True,
            leader=None,
            is_leader=False,
            term=3,
            session=None,
            executed=len(self.log.results),
            high_water=self.log.high_water,
            state_hash="ab",
            kafka="127.0.0.1:3",
            worker_pids=(7, 8),
            handlers=("add", "later"),
            lanes=(LaneView(lane="cpu", queued=1, running=2, slots=3),),
            peers=(PeerView(name="b", peer="127.0.0.1:4", api="", connected=True, round_trip_ms=0.5),),
            counters={"done": 4},
        )


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def log() -> SharedLog:
    return SharedLog()


@pytest.fixture
def nodes(log: SharedLog) -> Generator[list[tuple[str, MemoryNode, ApiServer]], None, None]:
    made = []
    for name in ("a", "b"):
        node, address = MemoryNode(name, log), free_address()
        server = ApiServer(node, address)
        server.start()
        made.append((address, node, server))
    yield made
    for _, _, server in made:
        server.stop(0.1)


@pytest.fixture
def client(nodes: list[tuple[str, MemoryNode, ApiServer]]) -> Generator[Client, None, None]:
    with Client(",".join(address for address, _, _ in nodes), timeout_s=5) as made:
        yield made


Nodes = list[tuple[str, MemoryNode, ApiServer]]


def test_a_task_is_submitted_and_its_result_comes_back(client: Client) -> None:
    handle = client.submit("add", 1, 2, extra=4)
    assert handle.result(timeout_s=5) == 7
    assert handle.status().state is TaskState.DONE


def test_many_tasks_get_distinct_keys_in_order(client: Client, log: SharedLog) -> None:
    handles = client.submit_many("add", [(number, 1) for number in range(999)] + [{"x": 5}])
    assert len({handle.key for handle in handles}) == 1000
    assert handles[998].result() == 999
    assert handles[999].result() == 5
    assert [task.key for task in log.stored] == [handle.key for handle in handles]


def test_single_submits_share_a_block_of_keys(client: Client, log: SharedLog) -> None:
    for _ in range(10):
        client.submit("add", 1)
    assert log.high_water == 65


def test_an_unanswered_submit_is_repeated_at_another_node_under_the_same_key(
    client: Client, nodes: Nodes, log: SharedLog
) -> None:
    nodes[0][1].swallows_answers = 1
    handle = client.submit("add", 1)
    assert [task.key for task in log.stored] == [handle.key, handle.key]


def test_tasks_that_the_broker_did_not_take_are_repeated(
    client: Client, nodes: Nodes, log: SharedLog
) -> None:
    nodes[0][1].refuses_busy = 1
    handles = client.submit_many("add", [(1,), (2,)])
    assert [task.key for task in log.stored] == [handle.key for handle in handles]


def test_a_dead_node_is_left_for_a_living_one(client: Client, nodes: Nodes) -> None:
    nodes[0][2].stop(0)
    assert client.submit("add", 2, 2).result() == 4
    assert [view.name for view in client.nodes()] == ["b"]


def test_without_a_majority_a_submit_ends_by_its_deadline_and_says_why(client: Client, nodes: Nodes) -> None:
    for _, node, _ in nodes:
        node.has_majority = False
    started = time.monotonic()
    with pytest.raises(Unavailable, match="no majority"):
        client.submit_tasks([new_task("add", [1])], timeout_s=0.5)
    assert time.monotonic() - started < 3


def test_with_no_node_at_all_the_answer_is_unavailable() -> None:
    with Client(free_address(), timeout_s=0.5) as client, pytest.raises(Unavailable):
        client.submit("add", 1)


def test_an_unknown_handler_is_refused_and_the_other_tasks_are_stored(client: Client, log: SharedLog) -> None:
    answers = client.submit_tasks([new_task("add", [1]), new_task("nope", [1])])
    assert [answer.code for answer in answers] == ["", "unknown-handler"]
    assert len(log.stored) == 1
    with pytest.raises(Refused, match="'nope'"):
        client.submit("nope")


def test_arguments_that_cannot_be_carried_are_refused_before_anything_is_sent(
    client: Client, log: SharedLog
) -> None:
    with pytest.raises(Refused, match="'add'"):
        client.submit("add", object())
    assert log.high_water == 1


def test_any_number_of_tasks_is_submitted_in_several_calls(client: Client) -> None:
    handles = client.submit_many("add", [(number, 1) for number in range(2001)])
    assert len({handle.key for handle in handles}) == 2001
    assert handles[-1].result(timeout_s=10) == 2001


def test_wait_returns_when_the_last_task_is_executed(client: Client, log: SharedLog) -> None:
    handle = client.submit("later")

    def execute() -> None:
        with log.changed:
            log.results[handle.key] = encode_value("now")
            log.changed.notify_all()

    timer = threading.Timer(0.1, execute)
    timer.start()
    handle.wait(timeout_s=10)
    timer.join()
    assert handle.result() == "now"


def test_wait_names_the_open_keys_when_its_time_is_over(client: Client) -> None:
    handle = client.submit("later")
    with pytest.raises(WaitTimeout, match=str(handle.key)):
        client.wait([handle.key], timeout_s=0.2)


def test_the_result_of_a_dead_task_is_its_error(client: Client) -> None:
    with pytest.raises(TaskDead, match="ValueError: no"):
        client.submit("fail").result(timeout_s=5)


def test_a_view_survives_the_wire_unchanged(client: Client, nodes: Nodes) -> None:
    assert client.nodes() == [nodes[0][1].view(), nodes[1][1].view()]


def test_statuses_of_more_keys_than_one_call_takes(client: Client) -> None:
    statuses = client.statuses(range(1, 1502))
    assert [status.key for status in statuses] == list(range(1, 1502))


@pytest.mark.parametrize("addresses", ["", "nowhere", "host:", "host:99999", "host:1,:2"])
def test_wrong_addresses_are_refused_by_name(addresses: str) -> None:
    with pytest.raises(SettingsError, match="host:port"):
        Client(addresses)


def test_a_second_server_on_the_same_port_is_a_clear_error(nodes: Nodes) -> None:
    address, node, _ = nodes[0]
    second = ApiServer(node, address)
    with pytest.raises(SettingsError, match=address):
        second.start()
    second.stop(0)


def test_the_asyncio_client_does_the_same(nodes: Nodes) -> None:
    async def session() -> tuple[object, list[str]]:
        async with AsyncClient(",".join(address for address, _, _ in nodes), timeout_s=5) as client:
            one = await client.submit("add", 1, 2)
            many = await client.submit_many("add", [(1,), {"x": 2}])
            await client.wait([handle.key for handle in many], timeout_s=5)
            with pytest.raises(Refused):
                await client.submit("nope")
            return await one.result(), [view.name for view in await client.nodes()]

    nodes[0][1].swallows_answers = 1
    assert asyncio.run(session()) == (3, ["a", "b"])
