"""Three real processes with one ledger: what was answered survives SIGKILL, no key comes twice, and every call ends in time."""

from __future__ import annotations

import asyncio
import itertools
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from consensus import KeyService, OutcomeUnknown, Refused
from consensus.group_commit import CALLS_MAX
from tests.chaos.addresses import free_addresses
from tests.chaos.line_process import ENVIRONMENT, ROOT, LineProcess

pytestmark = pytest.mark.integration
Range = tuple[int, int]


class Worker(LineProcess):
    """One life of one process. `keys` and `marked` hold what it has answered so far."""

    def __init__(self, directory: Path, listen: str, peers: Iterable[str], *, cluster: str = "test") -> None:
        self.keys: list[Range] = []
        self.marked: list[Range] = []
        script = Path(__file__).with_name("key_service_worker.py")
        errors = directory.with_name(directory.name + ".stderr")
        super().__init__(script, [cluster, str(directory), listen, *peers], errors)

    def heard(self, line: list[Any]) -> None:
        match line:
            case ["keys", first, stop]:
                self.keys.append((first, stop))
            case ["marked", first, stop]:
                self.marked.append((first, stop))

    def ready(self) -> Worker:
        self.ask("ready", 20.0, answers=("ready",))
        return self

    def statistics(self) -> list[Any]:
        """[leader, is this one the leader, state hash]"""
        return self.ask("statistics", answers=("statistics",))

    def mark_more(self, count: int) -> None:
        """Returns after `count` further answered marks."""
        self.forget_lines()
        for _ in range(count):
            self.wait("marked")


class Group:
    """Three workers, restartable under the same address and directory; remembers all lives."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._addresses = free_addresses(3)
        self.lives: list[Worker] = []
        self.workers: list[Worker] = []

    def start(self, place: int) -> Worker:
        worker = Worker(self._directory / f"n{place}", self._addresses[place], self._addresses)
        self.lives.append(worker)
        self.workers[place : place + 1] = [worker]
        worker.wait("started")
        return worker

    def start_all(self) -> None:
        for place in range(3):
            self.start(place)
        for worker in self.workers:
            worker.tell("ready", 20.0)
        for worker in self.workers:
            worker.wait("ready")

    def leader(self) -> int:
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            for place, worker in enumerate(self.workers):
                if worker.process.poll() is None and worker.statistics()[1]:
                    return place
        pytest.fail("no leader within 15 s")

    def kill_all(self) -> None:
        """Ends every process without a farewell: whatever was answered until now must be on disk."""
        for worker in self.workers:
            worker.process.send_signal(signal.SIGKILL)
        for worker in self.workers:
            worker.kill()

    def check(self) -> None:
        """All promises at once, over all lives."""
        handed_out = sorted(block for life in self.lives for block in life.keys)
        for (_, stop), (first, _) in itertools.pairwise(handed_out):
            assert stop <= first, f"keys {first} to {stop - 1} were handed out twice"
        marked = [block for life in self.lives for block in life.marked]
        assert marked
        for place, worker in enumerate(self.workers):
            [missing] = worker.ask("missing", marked, answers=("missing",))
            assert missing == [], f"answered marks are missing on node {place}"
        deadline = time.monotonic() + 15
        while len(hashes := {worker.statistics()[2] for worker in self.workers}) > 1:
            assert time.monotonic() < deadline, f"the ledgers differ: {hashes}"

    def close(self) -> None:
        for life in self.lives:
            life.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Starts single workers in the same directory; none outlives the test."""
    with ExitStack() as stack:

        def start(listen: str, *, cluster: str = "test") -> Worker:
            worker = Worker(tmp_path / "n", listen, [], cluster=cluster)
            stack.callback(worker.close)
            return worker

        yield start


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    group = Group(tmp_path)
    try:
        group.start_all()
        yield group
    finally:
        group.close()


def test_a_killed_leader_costs_no_mark_and_doubles_no_key(group: Group) -> None:
    # Given three nodes at work
    for worker in group.workers:
        worker.tell("run")
    for worker in group.workers:
        worker.mark_more(5)

    # When the leader dies, the others go on, and it comes back to work
    killed = group.leader()
    group.workers[killed].kill()
    for place, worker in enumerate(group.workers):
        if place != killed:
            worker.mark_more(20)
    back = group.start(killed).ready()
    back.tell("run")
    back.mark_more(5)

    # Then nothing answered is lost, and the three agree, also after the whole group was killed at work
    group.kill_all()
    group.start_all()
    group.check()


def test_marks_survive_the_death_of_all_three(group: Group) -> None:
    for life in range(3):
        for worker in group.workers:
            worker.tell("run")
        for worker in group.workers:
            worker.mark_more(5)
        group.kill_all()
        group.start_all()
        assert len(group.lives) == 3 * (life + 2)

    group.check()


def test_without_a_majority_calls_end_by_their_deadline_and_work_resumes_when_one_returns(
    group: Group,
) -> None:
    # Given a leader that lost both its followers
    survivor = group.leader()
    others = [place for place in range(3) if place != survivor]
    first = group.workers[survivor].ask("reserve", 10, 5.0, answers=("reserved",))
    for place in others:
        group.workers[place].kill()
    alone = group.workers[survivor]

    # When it is called, before and after it has noticed
    refusals = [alone.ask("reserve", 10, 1.5, answers=("refused", "reserved")) for _ in range(2)]
    refusals.append(alone.ask("execute", *first, 1.5, answers=("refused", "executed")))

    # Then each call ends as refused or unknown, in time
    for name, seconds in refusals:
        assert name in ("NoQuorum", "OutcomeUnknown")
        assert 1.0 < seconds < 2.4
    assert refusals[-1][0] == "NoQuorum", "a node that knows no leader proposes nothing"

    # And with a second node it works again, without doubled keys
    group.start(others[0]).ready()
    second = alone.ask("reserve", 10, 10.0, answers=("reserved",))
    third = group.workers[others[0]].ask("reserve", 10, 10.0, answers=("reserved",))
    blocks = sorted([first, second, third])
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(blocks)), blocks
    alone.ask("execute", *first, 10.0, answers=("executed",))


def test_a_directory_of_another_cluster_is_refused_by_name(
    start: Callable[..., Worker], tmp_path: Path
) -> None:
    [listen] = free_addresses(1)
    first = start(listen, cluster="red")
    first.wait("started")
    first.close()

    name, text = start(listen, cluster="blue").wait("error")

    assert name == "DataDirectoryError"
    for part in ("'red'", "'blue'", str(tmp_path / "n")):
        assert part in text


def test_a_directory_in_use_is_refused(start: Callable[..., Worker]) -> None:
    first, second = free_addresses(2)
    start(first).wait("started")

    name, text = start(second).wait("error")

    assert name == "DataDirectoryError"
    assert "in use" in text


def test_a_port_in_use_is_refused_and_the_directory_stays_usable(start: Callable[..., Worker]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        name, text = start(listen).wait("error")
    assert name == "PortInUse"
    assert listen in text

    later = start(listen)
    later.wait("started")
    later.ready()


def test_a_stalled_raft_thread_does_not_hold_its_callers(tmp_path: Path) -> None:
    [listen] = free_addresses(1)
    go_on = threading.Event()
    with KeyService(listen, [], tmp_path / "data") as service:
        service.barrier_future().add_done_callback(lambda _: go_on.wait(30))  # runs on the Raft thread
        try:
            with pytest.raises(OutcomeUnknown, match="stalled"):
                service.reserve(1, timeout_s=0.1)
            with pytest.raises(OutcomeUnknown, match="stalled"):
                asyncio.run(service.areserve(1, timeout_s=0.1))
            calls = [service.barrier_future(timeout_s=60) for _ in range(CALLS_MAX + 1)]
            with pytest.raises(Refused, match="slow down"):
                calls[-1].result(0)
        finally:
            go_on.set()

        assert all(call.exception(60) is None or isinstance(call.exception(), Refused) for call in calls)
        assert len(service.reserve(5)) == 5


def test_the_example_hands_out_other_keys_when_it_runs_again(tmp_path: Path) -> None:
    [listen] = free_addresses(1)
    command = [sys.executable, str(ROOT / "examples/key_service.py"), str(tmp_path / "data"), listen]

    blocks = []
    for _ in range(2):
        done = subprocess.run(
            command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        found = re.search(r"holds keys (\d+) to (\d+)\nexecuted: (\d+) True, \d+ False", done.stdout)
        assert found is not None, done.stdout
        blocks.append((int(found[1]), int(found[2])))

    assert blocks[0][1] - blocks[0][0] == 99
    assert blocks[0][1] < blocks[1][0], blocks
