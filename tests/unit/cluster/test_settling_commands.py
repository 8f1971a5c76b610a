"""`quorate dead|doubt` and `submit --unique`, over a real gRPC server in front of a node in memory."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator, Sequence

import pytest
from typer.testing import CliRunner

from cluster.api import (
    AttemptView,
    DeadFilter,
    DeadPage,
    DeadView,
    DoubtsPage,
    DoubtView,
    NewTask,
    ResolvedView,
    SettledPage,
    SettledView,
    Submitted,
)
from cluster.async_client import AsyncClient
from cluster.cli.main import app
from cluster.client import Client, caller, new_task
from cluster.rpc.server import ApiServer
from executor import encode_arguments

pytestmark = pytest.mark.unit

RUN = AttemptView(attempt=1, at_ms=1000, node="n1", error="Boom: no mail\ntrace")


def dead_task(key: int, place: str, **fields: object) -> DeadView:
    values: dict[str, object] = {
        "key": key,
        "place": place,
        "handler": "send",
        "kind": "big",
        "submitted_ms": 1000,
        "died_ms": 2000 + key,
        "error": "Boom: no mail\ntrace",
        "attempts": (RUN,),
        "arguments": encode_arguments(("a@b",), {"n": 1}),
    }
    return DeadView(**{**values, **fields})  # type: ignore[arg-type]


DEAD = (
    dead_task(1, "0:5"),
    dead_task(2, "0:6", retry_of=1),
    dead_task(3, "1:0", settled="discarded by ann"),
    dead_task(0, "1:1", handler="", kind="", attempts=(), arguments=None, error="no Quorate task"),
)
DOUBT = DoubtView(
    key=7,
    why="mail server away",
    attempt=2,
    after=1,
    session=4,
    node="h:1",
    session_open=False,
    handler="send",
    kind="",
    arguments=encode_arguments(("a@b",), {}),
    submitted_ms=1000,
    attempts=(RUN,),
)
BARE = DoubtView(key=8, why="bank away", attempt=1, after=0, session=5, node="", session_open=True)


class MemoryNode:
    """The part of a node's API that is asked here: a page a call, one dead task a page."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.bound: dict[str, int] = {}

    def submit(self, tasks: Sequence[NewTask], *, timeout_s: float) -> list[Submitted]:
        self.asked += [(task.unique, task.unique_for_s) for task in tasks]
        first = [self.bound.setdefault(task.unique, task.key) for task in tasks]
        return [Submitted(key=key, was_bound=key != task.key) for key, task in zip(first, tasks, strict=True)]

    def reserve(self, count: int, *, timeout_s: float) -> range:
        return range(50 + len(self.bound), 50 + len(self.bound) + count)

    def dead(
        self, chosen: DeadFilter, *, cursor: str, limit: int, with_arguments: bool, timeout_s: float
    ) -> DeadPage:
        self.asked.append(chosen)
        number = int(cursor or "0")
        is_named = bool(chosen.keys or chosen.places)
        tasks = tuple(
            one
            for one in DEAD[number : number + 1]
            if (one.key in chosen.keys or one.place in chosen.places if is_named else not one.settled)
        )
        goes_on = str(number + 1) if number + 1 < len(DEAD) else ""
        return DeadPage(tasks=tasks, cursor=goes_on, looked=number + 1, total=len(DEAD))

    def settle_dead(
        self, verb: str, chosen: DeadFilter, *, cursor: str, limit: int, who: str, timeout_s: float
    ) -> SettledPage:
        page = self.dead(chosen, cursor=cursor, limit=limit, with_arguments=False, timeout_s=timeout_s)
        self.asked[-1] = (verb, chosen, who)
        tasks = tuple(
            SettledView(
                key=one.key,
                place=one.place,
                new_key=one.key + 100 if verb == "retry" and one.key else 0,
                error="it is no task" if verb == "retry" and not one.key else "",
            )
            for one in page.tasks
        )
        return SettledPage(tasks=tasks, cursor=page.cursor, looked=page.looked, total=page.total)

    def doubts(self, keys: Sequence[int], *, after: int, with_tasks: bool, timeout_s: float) -> DoubtsPage:
        all_of_them = [one for one in (DOUBT, BARE) if (not keys or one.key in keys) and one.key > after]
        return DoubtsPage(
            doubts=tuple(all_of_them[:1]), total=2, next=all_of_them[0].key if len(all_of_them) > 1 else 0
        )

    def resolve_doubts(
        self, keys: Sequence[int], decision: str, *, who: str, timeout_s: float
    ) -> list[ResolvedView]:
        self.asked.append((list(keys), decision, who))
        return [
            ResolvedView(key=key, error="" if key in (7, 8) else f"key {key} is not in doubt") for key in keys
        ]


@pytest.fixture
def node() -> MemoryNode:
    return MemoryNode()


@pytest.fixture
def api(node: MemoryNode, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    server = ApiServer(node, address)  # type: ignore[arg-type]
    server.start()
    monkeypatch.setenv("QUORATE_API", address)
    yield address
    server.stop(0)


def run(*words: str, answer: str = "") -> tuple[int, str, str]:
    ended = CliRunner().invoke(app, list(words), input=answer)
    return ended.exit_code, ended.stdout, ended.stderr


def test_pages_survive_the_wire_unchanged(api: str) -> None:
    with Client(api) as client:
        by_name = DeadFilter(keys=(1, 2, 3), places=("1:1",))
        assert [one for page in client.dead(by_name) for one in page.tasks] == list(DEAD)
        assert [one for page in client.doubts() for one in page.doubts] == [DOUBT, BARE]


def test_the_asyncio_client_does_the_same(api: str, node: MemoryNode) -> None:
    async def all_of_it() -> None:
        async with AsyncClient(api) as client:
            assert [one.key async for page in client.dead(DeadFilter()) for one in page.tasks] == [1, 2, 0]
            done = [one async for page in client.settle_dead("retry", DeadFilter()) for one in page.tasks]
            assert [one.new_key for one in done] == [101, 102, 0]
            assert [one.key async for page in client.doubts() for one in page.doubts] == [7, 8]
            assert [one.error for one in await client.resolve_doubts([7], "retry")] == [""]
            first = await client.submit("send", 1, unique="order:42", unique_for_s=60)
            again = await client.submit("send", 1, unique="order:42")
            assert first.key == again.key

    asyncio.run(all_of_it())
    assert node.asked[-2:] == [("order:42", 60.0), ("order:42", 86_400.0)]


def test_dead_tasks_are_listed_newest_first_and_only_so_many(api: str) -> None:
    code, said, _ = run("dead", "list")
    assert code == 0
    assert said.index("2 ") < said.index("1 ") < said.index("1:1")
    for word in ("3 of 3 dead tasks", "send big", "Boom: no mail", "(no task)"):
        assert word in said, word
    assert "trace" not in said
    listed = json.loads(run("dead", "list", "--limit", "1", "--json")[1])
    assert listed["count"] == 3
    assert [one["key"] for one in listed["tasks"]] == [2]


def test_filters_reach_the_node(api: str, node: MemoryNode) -> None:
    run(
        "dead",
        "list",
        "1",
        "1:1",
        "--handler",
        "send",
        "--error",
        "mail",
        "--since",
        "1970-01-01T00:00:10+00:00",
    )
    assert node.asked[0] == DeadFilter(
        keys=(1,), places=("1:1",), handler="send", error="mail", since_ms=10_000
    )
    run("dead", "list", "--since", "2h")
    assert isinstance(node.asked[-1], DeadFilter)
    assert node.asked[-1].since_ms > 10**12


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("dead", "list", "--since", "soon"), "--since"),
        (("dead", "list", "0"), "no key"),
        (("dead", "show", "x"), "no key"),
        (("dead", "retry"), "which dead tasks"),
        (("dead", "discard", "--yes"), "which dead tasks"),
        (("doubt", "resolve", "7"), "--executed or --retry"),
        (("doubt", "resolve", "7", "--executed", "--retry"), "--executed or --retry"),
        (("doubt", "resolve", "--retry"), "which keys"),
        (("submit", "--file", "x", "--unique", "v"), "--unique"),
    ],
)
def test_what_is_not_said_clearly_is_refused_in_a_sentence(
    api: str, node: MemoryNode, words: tuple[str, ...], told: str
) -> None:
    code, _, said = run(*words)
    assert code == 2
    assert told in said
    assert node.asked == []


def test_a_dead_task_is_shown_whole_also_one_that_was_dealt_with(api: str) -> None:
    code, said, _ = run("dead", "show", "2", "3", "1:1")
    assert code == 0
    for word in ("a retry of 1", "attempt 1", "on n1", "a@b", "trace", "discarded by ann", "no Quorate task"):
        assert word in said, word
    [one] = json.loads(run("dead", "show", "1", "--json")[1])
    assert one["arguments"] == {"args": ["a@b"], "kwargs": {"n": 1}}
    code, _, said = run("dead", "show", "1", "99")
    assert code == 1
    assert "no dead task: 99" in said


def test_dead_tasks_are_retried_by_key_and_what_cannot_be_is_said(api: str, node: MemoryNode) -> None:
    code, said, _ = run("dead", "retry", "1", "2")
    assert (code, said) == (0, "2 submitted again\n1 is now 101\n2 is now 102\n")
    assert node.asked[0] == ("retry", DeadFilter(keys=(1, 2)), caller())
    code, said, told = run("dead", "retry", "1", "1:1", "99", "--json")
    assert code == 1
    assert "no dead task: 99" in told
    answer = json.loads(said)
    assert [one["new_key"] for one in answer["done"]] == [101]
    assert [one["error"] for one in answer["failed"]] == ["it is no task"]


def test_many_are_settled_after_a_question(api: str, node: MemoryNode) -> None:
    code, said, _ = run("dead", "discard", "--handler", "send", "--error", "mail", answer="n\n")
    assert code == 1
    assert "Discard all dead tasks of send with 'mail' in their error?" in said
    assert node.asked == []
    code, said, _ = run("dead", "discard", "--all", "--yes", "--who", "ann")
    assert code == 0
    assert "3 discarded" in said
    assert {one[2] for one in node.asked} == {"ann"}  # type: ignore[index]


def test_keys_in_doubt_are_listed_and_shown(api: str) -> None:
    said = run("doubt", "list")[1]
    for word in ("2 of 2 keys", "7", "h:1", "4 (closed)", "mail server away", "5 (open)"):
        assert word in said, word
    assert [
        one["key"] for one in json.loads(run("doubt", "list", "--limit", "1", "--json")[1])["doubts"]
    ] == [7]
    code, said, _ = run("doubt", "show", "7", "8")
    assert code == 0
    for word in ("attempt 2 by session 4 of h:1, which is closed", "a@b", "attempt 1", "a node that is gone"):
        assert word in said, word
    code, _, told = run("doubt", "show", "9")
    assert code == 1
    assert "not in doubt: 9" in told


def test_an_operator_decides_by_key_or_by_a_part_of_the_reason(api: str, node: MemoryNode) -> None:
    assert run("doubt", "resolve", "7", "8", "--executed", "--who", "ann")[:2] == (0, "2 keys are executed\n")
    assert run("doubt", "resolve", "--why", "BANK", "--retry")[:2] == (0, "1 keys may run again\n")
    assert node.asked == [([7, 8], "executed", "ann"), ([8], "retry", caller())]
    code, said, told = run("doubt", "resolve", "7", "9", "--retry", "--json")
    assert code == 1
    assert "key 9 is not in doubt" in told
    assert json.loads(said)["keys"] == [7]


def test_a_later_submit_of_a_unique_value_prints_the_key_of_the_first(api: str, node: MemoryNode) -> None:
    first = run("submit", "send", "--unique", "order:42", "--unique-for", "60")[1]
    assert run("submit", "send", "--unique", "order:42")[1] == first
    again = json.loads(run("submit", "send", "--unique", "order:42", "--json")[1])
    assert (again["key"], again["was_bound"]) == (int(first), True)
    assert node.asked[0] == ("order:42", 60.0)


def test_tasks_of_a_call_keep_their_own_values(api: str, node: MemoryNode) -> None:
    with Client(api) as client:
        answers = client.submit_tasks(
            [
                new_task("send", [1], unique="a"),
                new_task("send", [2], unique="b"),
                new_task("send", [3], unique="a"),
            ]
        )
    assert [answer.was_bound for answer in answers] == [False, False, True]
    assert answers[0].key == answers[2].key != answers[1].key
