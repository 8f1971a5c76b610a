"""What waits for an operator's word, on real nodes and a real broker: dead tasks, keys in doubt; and values that make many submits one."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from cluster.api import DeadFilter, DeadView, SettledView, TaskState
from cluster.async_client import AsyncClient
from cluster.bound_stores import DEAD_VALUE, UNIQUE_VALUE
from cluster.client import Client, new_task
from cluster.dead.record import encode_dead
from cluster.envelope import Envelope, encode_envelope, encode_key
from cluster.kafka.confluent import TaskProducer, read_record_keys
from cluster.local_cluster import LocalCluster
from cluster.parked import encode_parked
from cluster.routing import dead_topic, parked_topic, task_topic, task_topics
from executor import encode_arguments
from tests.integration.ledger_member import ledger_member

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

HANDLERS = ("tests.integration.settled_handlers",)
WITHIN_S = 30.0
FAR_MS = 10**14


def until(is_so: Callable[[], bool], what: str, within_s: float = WITHIN_S) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        time.sleep(0.05)


class Ground:
    """One node, its broker, a client, and the folder of effects."""

    def __init__(self, folder: Path, kafka: str) -> None:
        self.kafka, self.folder = kafka, folder
        self.prefix = f"t{uuid.uuid4().hex[:12]}"
        self.cluster = LocalCluster(folder / "cluster", 1, HANDLERS, kafka=kafka, prefix=self.prefix)
        described = self.cluster.up()
        self.api = described["nodes"][0]["api"]
        self.client = Client(self.api)
        self.effects = folder / "effects"
        self.effects.mkdir()

    def runs(self, key: int) -> int:
        file = self.effects / str(key)
        return len(file.read_bytes().splitlines()) if file.exists() else 0

    def kill_tasks(self, repaired: Path, count: int) -> list[int]:
        """Keys of so many dead tasks."""
        calls = [(str(self.effects), str(repaired))] * count
        keys = [handle.key for handle in self.client.submit_many("fails", calls)]
        self.client.wait(keys, WITHIN_S)
        return keys

    def dead(self, chosen: DeadFilter | None = None) -> list[DeadView]:
        return [one for page in self.client.dead(chosen or DeadFilter()) for one in page.tasks]

    def settle(self, verb: str, chosen: DeadFilter) -> list[SettledView]:
        return [one for page in self.client.settle_dead(verb, chosen, who="tester") for one in page.tasks]

    def stored(self, keys: Sequence[int]) -> list[int]:
        """How often each of them stands in the task topics."""
        found = read_record_keys(self.kafka, task_topics(self.prefix), timeout_s=WITHIN_S)
        return [found.count(key) for key in keys]

    def store(self, topic: str, key: bytes, value: bytes) -> None:
        producer = TaskProducer(self.kafka, acks="all", name="test")
        assert producer.produce_many([(topic, key, value)], timeout_s=20) == [None]
        producer.stop()

    def counted(self, counter: str) -> int:
        return self.client.nodes()[0].counters[counter]

    def close(self) -> None:
        self.client.close()
        self.cluster.down()


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory, kafka: str) -> Iterator[Ground]:
    started = Ground(tmp_path_factory.mktemp("settling"), kafka)
    yield started
    started.close()


@pytest.fixture(autouse=True)
def nothing_dead_before(ground: Ground) -> None:
    ground.settle("discard", DeadFilter())


def test_dead_tasks_are_listed_by_what_they_are_and_why_they_died(ground: Ground, tmp_path: Path) -> None:
    # Given
    keys = ground.kill_tasks(tmp_path / "pump", 3)
    other = ground.client.submit("fails_otherwise", str(ground.effects))
    other.wait(WITHIN_S)
    # Then
    assert {one.key for one in ground.dead()} == {*keys, other.key}
    assert {one.key for one in ground.dead(DeadFilter(handler="fails"))} == set(keys)
    assert {one.key for one in ground.dead(DeadFilter(error="NEVER well"))} == {other.key}
    assert ground.dead(DeadFilter(since_ms=FAR_MS)) == []
    [one] = ground.dead(DeadFilter(keys=(other.key,)))
    assert (one.handler, one.settled, one.arguments) == ("fails_otherwise", "", None)
    assert "ValueError" in one.error
    assert ground.counted("dead_open") == 4


def test_a_dead_task_is_retried_once_however_often_it_is_asked_for(ground: Ground, tmp_path: Path) -> None:
    # Given
    repaired = tmp_path / "pump"
    [key] = ground.kill_tasks(repaired, 1)
    repaired.touch()
    # When
    [first] = ground.settle("retry", DeadFilter(keys=(key,)))
    [again] = ground.settle("retry", DeadFilter(keys=(key,)))
    ground.client.wait([first.new_key], WITHIN_S)
    # Then
    assert first.error == ""
    assert first.new_key > key
    assert "was dealt with: retried" in again.error
    assert ground.runs(first.new_key) == 1
    assert ground.dead() == []
    [shown] = ground.dead(DeadFilter(keys=(key,)))
    assert shown.settled == f"retried as {first.new_key} by tester"
    assert ground.client.status(key).state is TaskState.DEAD


def test_a_retry_that_was_cut_off_goes_on_under_the_same_key(ground: Ground, tmp_path: Path) -> None:
    """Its node died after the binding, before or after it stored the task: the two cases differ in `confirmed`."""
    repaired = tmp_path / "pump"
    unstored, stored = ground.kill_tasks(repaired, 2)
    repaired.touch()
    # Given
    with ledger_member(ground.client, tmp_path) as member:
        first, second = member.reserve(2)
        member.bind(f"{DEAD_VALUE}{unstored}", first, FAR_MS)
        member.bind(f"{DEAD_VALUE}{stored}", second, FAR_MS)
        member.confirm(f"{DEAD_VALUE}{stored}", second)
        # When
        done = ground.settle("retry", DeadFilter(keys=(unstored, stored)))
    # Then
    assert {one.key: one.new_key for one in done} == {unstored: first, stored: second}
    ground.client.wait([first], WITHIN_S)
    assert ground.runs(first) == 1
    assert ground.stored([first, second]) == [1, 0]
    assert ground.dead() == []


def test_a_retry_that_dies_too_says_whose_retry_it_was(ground: Ground, tmp_path: Path) -> None:
    [key] = ground.kill_tasks(tmp_path / "pump", 1)
    [done] = ground.settle("retry", DeadFilter(handler="fails"))
    ground.client.wait([done.new_key], WITHIN_S)
    [one] = ground.dead()
    assert (one.key, one.retry_of) == (done.new_key, key)


def test_many_are_discarded_in_slices_and_stay_discarded_after_a_restart(
    ground: Ground, tmp_path: Path
) -> None:
    # Given
    keys = ground.kill_tasks(tmp_path / "pump", 450)
    # When
    pages = list(ground.client.settle_dead("discard", DeadFilter(handler="fails")))
    # Then
    assert len(pages) >= 3
    assert {one.key for page in pages for one in page.tasks} == set(keys)
    assert [page.looked for page in pages] == sorted(page.looked for page in pages)
    assert ground.dead() == []
    # When
    ground.cluster.down()
    ground.cluster.up()
    # Then
    assert ground.dead() == []
    assert ground.counted("dead_open") == 0


def test_a_record_that_is_no_task_is_listed_by_its_place_and_can_only_be_discarded(ground: Ground) -> None:
    # Given
    ground.store(task_topic(ground.prefix, "cpu-short", "normal"), b"stranger", b"no envelope")
    until(lambda: bool(ground.dead()), "it is listed")
    [one] = ground.dead()
    assert one.key == 0
    # When
    [retried] = ground.settle("retry", DeadFilter(places=(one.place,)))
    assert "is no task" in retried.error
    assert [view.place for view in ground.dead()] == [one.place]
    [discarded] = ground.settle("discard", DeadFilter(places=(one.place,)))
    # Then
    assert discarded.error == ""
    assert ground.dead() == []


def test_a_dead_record_whose_task_succeeded_after_all_is_none(ground: Ground) -> None:
    """Its first run's node died between the dead record and the mark; the second run succeeded."""
    handle = ground.client.submit("works", str(ground.effects))
    handle.wait(WITHIN_S)
    envelope = encode_envelope(Envelope(handler="works", arguments=encode_arguments((), {})))
    ground.store(dead_topic(ground.prefix), encode_key(handle.key), encode_dead("died", envelope))
    assert ground.dead() == []
    assert ground.counted("dead_open") == 0


def test_keys_in_doubt_are_shown_and_an_operator_decides(ground: Ground, tmp_path: Path) -> None:
    ground.client.pause("handler:works")  # what is parked of it stays there
    with ledger_member(ground.client, tmp_path) as member:
        # Given
        done, undone, fine = member.reserve(3)
        member.claim([(done, 0), (undone, 0), (fine, 0)])
        member.doubt([done], "the mail server does not answer")
        member.doubt([undone], "the bank does not answer")
        envelope = Envelope(handler="works", arguments=encode_arguments(("x",), {}), submitted_ms=17)
        ground.store(
            parked_topic(ground.prefix),
            encode_key(done),
            encode_parked(task_topic(ground.prefix, "cpu-short", "normal"), encode_envelope(envelope)),
        )
        # Then
        [page] = ground.client.doubts()
        assert [(one.key, one.why, one.attempt) for one in page.doubts] == [
            (done, "the mail server does not answer", 1),
            (undone, "the bank does not answer", 1),
        ]
        assert {one.session for one in page.doubts} == {member.session}
        assert page.doubts[0].session_open
        [page] = ground.client.doubts([done, fine], with_tasks=True)
        [shown] = page.doubts
        assert (shown.key, shown.handler, shown.submitted_ms) == (done, "works", 17)
        assert shown.arguments == envelope.arguments
        assert ground.counted("in_doubt") == 2
        # When
        first = ground.client.resolve_doubts([done, fine], "executed", who="tester")
        second = ground.client.resolve_doubts([undone], "retry", who="tester")
        # Then
        assert [one.error for one in (first[0], *second)] == ["", ""]
        assert f"key {fine} is not in doubt" in first[1].error
        assert ground.client.status(done).state is TaskState.DONE
        [page] = ground.client.doubts()
        assert (page.doubts, page.total) == ((), 0)
        # and the repeat of an answer that got lost is no error
        assert ground.client.resolve_doubts([done], "executed")[0].error == ""
        assert ground.client.resolve_doubts([undone], "retry")[0].error == ""
        assert "is executed" in ground.client.resolve_doubts([done], "retry")[0].error
        counters = [ground.counted(f"doubt_resolved_{word}") for word in ("executed", "retry")]
        assert counters == [1, 1]
    ground.client.resume("handler:works")


def test_all_submits_of_one_value_are_one_task(ground: Ground, tmp_path: Path) -> None:
    # When
    first = ground.client.submit("works", str(ground.effects), unique="order:42")
    second = ground.client.submit("works", str(ground.effects), unique="order:42")
    other = ground.client.submit("works", str(ground.effects), unique="order:43")

    async def third() -> int:
        async with AsyncClient(ground.api) as client:
            return (await client.submit("works", str(ground.effects), unique="order:42")).key

    # Then
    assert first.key == second.key == asyncio.run(third()) != other.key
    assert first.result(WITHIN_S) == first.key
    assert ground.client.submit("works", str(ground.effects), unique="order:42").key == first.key
    assert ground.runs(first.key) == 1
    assert ground.stored([first.key]) == [1]
    # and when the time of the binding is over, and it was executed
    [answer] = ground.client.submit_tasks(
        [new_task("works", [str(ground.effects)], unique="short", unique_for_s=0.2)]
    )
    ground.client.wait([answer.key], WITHIN_S)
    time.sleep(0.25)  # the time of the binding is the subject
    assert ground.client.submit("works", str(ground.effects), unique="short").key != answer.key


def test_a_value_whose_first_submitter_died_before_it_stored_is_stored_by_who_meets_it(
    ground: Ground, tmp_path: Path
) -> None:
    with ledger_member(ground.client, tmp_path) as member:
        # Given
        [first] = member.reserve(1)
        member.bind(f"{UNIQUE_VALUE}order:7", first, FAR_MS)
        before = ground.counted("unique_stored_again")
        # When
        handle = ground.client.submit("works", str(ground.effects), unique="order:7")
        # Then
        assert handle.key == first
        handle.wait(WITHIN_S)
        assert member.bind(f"{UNIQUE_VALUE}order:7", first, FAR_MS).confirmed
    assert ground.runs(first) == 1
    assert ground.counted("unique_stored_again") == before + 1


def test_a_unique_value_that_is_too_long_is_refused(ground: Ground) -> None:
    [answer] = ground.client.submit_tasks([new_task("works", ["x"], unique="v" * 1001)])
    assert answer.code == "invalid"
    assert "1000" in (answer.error or "")
