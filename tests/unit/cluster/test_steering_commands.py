"""`quorate lanes|labels|limit|pause|resume|purge|output|status`, over a real gRPC server in front of a node in memory."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import pytest
from typer.testing import CliRunner

from cluster.api import (
    BacklogView,
    ChangeView,
    LabelView,
    LanesView,
    LaneView,
    LimitsView,
    NewTask,
    OutputView,
    ProgressView,
    ReasonView,
    RunnerView,
    Submitted,
    TaskState,
    TaskStatus,
)
from cluster.async_client import AsyncClient
from cluster.cli.main import app
from cluster.cli.outcome import seconds
from cluster.client import Client, caller, new_task
from cluster.errors import Exhausted, Refused
from cluster.rpc.server import ApiServer

pytestmark = pytest.mark.unit

LANE = LaneView(
    lane="cpu-short",
    queued=7,
    running=1,
    slots=2,
    room=40,
    backlog_s=1.5,
    mean_s=0.002,
    median_wait_s=0.0005,
)
RUNNER = RunnerView(pid=11, form="process", is_long=True, slots=1, running=1, state="ready", rss_bytes=2**20)
LANES = LanesView(
    node="n1",
    lanes=(LANE,),
    runners=(RUNNER,),
    backlog=(BacklogView(lane="cpu-short", tasks=90, seconds=3.0, paused=True),),
)
REASON = ReasonView(at_ms=1000, subject="handler pdf", decision="to cpu-long", why="p95 400 ms > 2 T")
LABEL = LabelView(
    handler="pdf",
    kind="big",
    node="h:1",
    lane="cpu-long",
    why="p95 400 ms > 2 T",
    mean_s=0.3,
    p95_s=0.4,
    cpu_s=0.29,
    samples=60,
    routes=True,
)


class MemoryNode:
    """The part of a node's API that is asked here. Limits are a list of what was asked."""

    def __init__(self) -> None:
        self.changes: list[ChangeView] = []
        self.is_full = False
        self.stored: list[NewTask] = []

    def submit(self, tasks: Sequence[NewTask], *, timeout_s: float) -> list[Submitted]:
        full = [
            Submitted(key=task.key, error="lane full", code="resource-exhausted", retry_after_s=12.5)
            if self.is_full or task.handler == "full"
            else Submitted(key=task.key)
            for task in tasks
        ]
        self.stored += [task for task, answer in zip(tasks, full, strict=True) if answer.error is None]
        return full

    def reserve(self, count: int, *, timeout_s: float) -> range:
        return range(1, count + 1)

    def status(self, keys: Sequence[int], *, with_result: bool, timeout_s: float) -> list[TaskStatus]:
        told = ProgressView(done=3, total=10, note="reading")
        known = {
            1: TaskStatus(key=1, state=TaskState.RUNNING, node="n2", progress=told),
            2: TaskStatus(key=2, state=TaskState.CANCELLED),
        }
        return [known.get(key, TaskStatus(key=key, state=TaskState.UNKNOWN)) for key in keys]

    def wait(self, keys: Sequence[int], *, timeout_s: float) -> list[int]:
        return []

    def lanes(self, *, with_reasons: bool) -> LanesView:
        return LanesView(**{**_fields(LANES), "reasons": (REASON,) if with_reasons else ()})

    def labels(self) -> list[LabelView]:
        return [LABEL]

    def limits(self) -> LimitsView:
        return LimitsView(
            numbers=tuple(one for one in self.changes if one.verb == "set"), history=tuple(self.changes)
        )

    def change_limit(
        self, verb: str, subject: str, value: int | None, *, who: str, timeout_s: float
    ) -> LimitsView:
        if subject == "nonsense":
            raise Refused("nothing is named 'nonsense'")
        number = len(self.changes) + 1
        self.changes.append(
            ChangeView(number=number, at_ms=5000, who=who, verb=verb, subject=subject, value=value)
        )
        return self.limits()

    def output(self, key: int) -> OutputView | None:
        return OutputView(key=key, node="n1", text="hello\n") if key == 1 else None


def _fields(view: LanesView) -> dict[str, object]:
    return {name: getattr(view, name) for name in ("node", "lanes", "runners", "backlog")}


@pytest.fixture
def node() -> MemoryNode:
    return MemoryNode()


@pytest.fixture
def api(node: MemoryNode) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    server = ApiServer(node, address)  # type: ignore[arg-type]
    server.start()
    yield address
    server.stop(0)


def run(*words: str) -> tuple[int, str, str]:
    ended = CliRunner().invoke(app, list(words))
    return ended.exit_code, ended.stdout, ended.stderr


def test_views_survive_the_wire_unchanged(api: str) -> None:
    with Client(api) as client:
        assert client.lanes() == [LANES]
        assert client.lanes(with_reasons=True)[0].reasons == (REASON,)
        assert client.labels() == [LABEL]
        assert client.output(1) == OutputView(key=1, node="n1", text="hello\n")
        assert client.output(2) is None
        change = ChangeView(number=1, at_ms=5000, who="ann", verb="set", subject="workers", value=3)
        assert client.set_limit("workers", 3, who="ann") == LimitsView(numbers=(change,), history=(change,))


def test_lanes_are_shown_with_the_reasons_if_asked(api: str) -> None:
    code, said, _ = run("lanes", "--api", api)
    assert code == 0
    for word in ("n1", "cpu-short", "1/2", "1.5 s", "2 ms", "500 µs", "process", "1 MiB", "paused", "90"):
        assert word in said, word
    assert "400 ms" not in said
    assert "p95 400 ms > 2 T" in run("lanes", "--why", "--api", api)[1]
    assert json.loads(run("lanes", "--why", "--json", "--api", api)[1])[0]["reasons"] == [asdict(REASON)]


def test_labels_are_shown_with_what_they_come_from(api: str) -> None:
    said = run("labels", "--api", api)[1]
    for word in ("pdf", "big", "cpu-long *", "300 ms", "60", "p95 400 ms > 2 T"):
        assert word in said, word
    assert json.loads(run("labels", "--json", "--api", api)[1]) == [asdict(LABEL)]


def test_limits_are_changed_by_whoever_says_so_and_listed(api: str, node: MemoryNode) -> None:
    assert run("limit", "set", "workers", "3", "--api", api)[:2] == (0, "workers is 3 on every node\n")
    assert run("limit", "clear", "workers", "--who", "ann", "--api", api)[0] == 0
    assert "is paused" in run("pause", "handler:pdf", "--api", api)[1]
    assert "runs again" in run("resume", "handler:pdf", "--api", api)[1]
    assert run("purge", "lane:io-long", "--yes", "--api", api)[0] == 0
    asked = [(one.verb, one.subject, one.value, one.who) for one in node.changes]
    me = caller()
    assert asked == [
        ("set", "workers", 3, me),
        ("clear", "workers", None, "ann"),
        ("pause", "handler:pdf", None, me),
        ("resume", "handler:pdf", None, me),
        ("purge", "lane:io-long", None, me),
    ]
    said = run("limit", "list", "--api", api)[1]
    for word in ("in force", "set to 3", "newest changes", "lane:io-long", "ann"):
        assert word in said, word
    listed = json.loads(run("limit", "list", "--json", "--api", api)[1])
    assert [one["verb"] for one in listed["history"]] == ["set", "clear", "pause", "resume", "purge"]


def test_a_purge_asks_first(api: str, node: MemoryNode) -> None:
    ended = CliRunner().invoke(app, ["purge", "handler:pdf", "--api", api], input="n\n")
    assert ended.exit_code == 1
    assert not node.changes


def test_a_change_that_makes_no_sense_ends_with_2_and_a_sentence(api: str) -> None:
    assert run("pause", "nonsense", "--api", api) == (2, "", "quorate: nothing is named 'nonsense'\n")


def test_what_a_task_wrote_is_shown_or_said_to_be_gone(api: str) -> None:
    assert run("output", "1", "--api", api) == (0, "hello\n", "")
    assert json.loads(run("output", "1", "--json", "--api", api)[1]) == {
        "key": 1,
        "node": "n1",
        "text": "hello\n",
    }
    code, _, said = run("output", "2", "--api", api)
    assert code == 1
    assert "nothing is kept of task 2" in said


def test_a_status_tells_where_it_runs_and_how_far_it_is(api: str) -> None:
    said = run("status", "1", "2", "3", "--api", api)[1]
    assert said == "1 running on n2: 3 of 10 (30%) reading\n2 cancelled\n3 unknown\n"
    told = json.loads(run("status", "1", "--json", "--api", api)[1])
    assert told["progress"] == {"done": 3.0, "total": 10.0, "note": "reading"}


def test_a_cancelled_task_has_no_result_and_says_so(api: str) -> None:
    code, _, said = run("result", "2", "--api", api)
    assert code == 1
    assert "cancelled" in said
    assert run("wait", "2", "--api", api)[0] == 1


def test_a_kind_goes_with_the_task(api: str, node: MemoryNode) -> None:
    assert run("submit", "pdf", "--kind", "big", "--api", api)[0] == 0
    with Client(api) as client:
        client.submit("pdf", 1, kind="small")
        client.submit_many("pdf", [[1]], kind="many")
    assert [task.kind for task in node.stored] == ["big", "small", "many"]


def test_a_full_cluster_is_an_error_of_its_own_with_the_time_to_come_back(api: str, node: MemoryNode) -> None:
    node.is_full = True
    with Client(api, timeout_s=5) as client:
        with pytest.raises(Exhausted, match="lane full") as refused:
            client.submit("pdf")
        assert refused.value.retry_after_s == 12.5
        (answer,) = client.submit_tasks([new_task("pdf", [])])
        assert (answer.code, answer.retry_after_s) == ("resource-exhausted", 12.5)
    code, _, said = run("submit", "pdf", "--api", api)
    assert (code, said) == (3, "quorate: lane full\n")


def test_a_full_lane_refuses_its_tasks_and_the_others_are_stored(api: str, node: MemoryNode) -> None:
    with Client(api, timeout_s=5) as client:
        answers = client.submit_tasks([new_task("pdf", []), new_task("full", [])])
    assert [answer.code for answer in answers] == ["", "resource-exhausted"]
    assert [task.handler for task in node.stored] == ["pdf"]


def test_the_asyncio_client_steers_too(api: str, node: MemoryNode) -> None:
    async def session() -> None:
        async with AsyncClient(api, timeout_s=5) as client:
            await client.set_limit("workers", 3)
            await client.clear_limit("workers")
            await client.pause("handler:pdf")
            await client.resume("handler:pdf")
            await client.purge("handler:pdf")
            assert (await client.limits()).history == tuple(node.changes)
            assert await client.lanes() == [LANES]
            assert await client.labels() == [LABEL]
            assert await client.output(2) is None
            await client.submit("pdf", kind="big")
            node.is_full = True
            with pytest.raises(Exhausted):
                await client.submit("pdf")

    asyncio.run(session())
    assert [one.verb for one in node.changes] == ["set", "clear", "pause", "resume", "purge"]
    assert node.stored[0].kind == "big"


@pytest.mark.parametrize(
    ("value_s", "shown"),
    [
        (0, "0"),
        (2.5e-5, "25 µs"),
        (0.0015, "1.5 ms"),
        (1.5, "1.5 s"),
        (90, "90 s"),
        (600, "10 min"),
        (86_400 * 3, "3 d"),
    ],
)
def test_seconds_are_shown_in_a_unit_for_people(value_s: float, shown: str) -> None:
    assert seconds(value_s) == shown
