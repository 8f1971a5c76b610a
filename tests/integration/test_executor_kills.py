"""kill -9 of runners, hundreds of times, while tasks flow: none is lost, and nobody pays but what ran where it struck.

Each task writes a line when it begins and one when it ends into a file that outlives its process; these lines are the witness. Only the
last task that a killed process began may pay.
"""

from __future__ import annotations

import os
import random
import re
import threading
from collections import Counter
from pathlib import Path

import pytest

from executor import Executor, Outcome, Status, Task, encode_arguments
from tests.integration.executor_desk import await_that, kill

pytestmark = pytest.mark.integration

KILLS = int(os.environ.get("KILLS", "200"))
WAITING_TASKS = 40
HANDLERS = """
import os, time
from executor import handler

def note(path, text):
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, text.encode())
    os.close(file)

@handler(lane="cpu-short")
def work(seq, path, busy_s):
    note(path, f"begin {seq} {os.getpid()}\\n")
    end_s = time.monotonic() + busy_s
    while time.monotonic() < end_s:
        pass
    note(path, f"end {seq} {os.getpid()}\\n")
"""


class Stream:
    """Keeps tasks flowing; what died is offered again under a new seq, as its owner would do."""

    def __init__(self, module: str, witness: Path, busy_s: float) -> None:
        self.executor = Executor([module], workers=1, on_outcomes=self._take)
        self.ended: dict[int, Outcome] = {}
        self.is_flowing = True
        self._witness, self._busy_s = witness, busy_s
        self._changed = threading.Condition()
        self._offered = 0

    def begin(self) -> None:
        self.executor.start()
        with self._changed:
            for _ in range(WAITING_TASKS):
                self._offer()

    def _offer(self) -> None:
        self._offered += 1
        arguments = encode_arguments((self._offered, str(self._witness), self._busy_s), {})
        self.executor.offer([Task(self._offered, self._offered, 1, "work", arguments)])

    def _take(self, outcomes: list[Outcome]) -> None:
        with self._changed:
            for outcome in outcomes:
                assert outcome.seq not in self.ended
                self.ended[outcome.seq] = outcome
                if self.is_flowing:
                    self._offer()
            self._changed.notify_all()

    def finish(self) -> None:
        with self._changed:
            self.is_flowing = False
            assert self._changed.wait_for(lambda: len(self.ended) == self._offered, 60), "tasks are lost"

    def await_progress(self, tasks: int) -> None:
        with self._changed:
            goal = len(self.ended) + tasks
            assert self._changed.wait_for(lambda: len(self.ended) >= goal, 60), "nothing moves any more"


@pytest.mark.parametrize("busy_s", [0.0, 0.003], ids=["brief tasks in batches", "one task at a time"])
def test_two_hundred_kills_lose_nothing_and_charge_no_innocent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy_s: float
) -> None:
    (tmp_path / "handlers_under_kill.py").write_text(HANDLERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    seed = int(os.environ.get("SEED", random.randrange(10**6)))
    chance = random.Random(seed)
    stream = Stream("handlers_under_kill", tmp_path / "witness", busy_s)
    killed: set[int] = set()
    stream.begin()
    try:
        # When: any runner, busy or idle, of the reserve or of those for long work, also one that is just starting
        for _ in range(KILLS):
            pids: list[int] = []

            def find(pids: list[int] = pids) -> bool:
                pids[:] = [
                    r.pid for r in stream.executor.statistics().runners if r.pid and r.pid not in killed
                ]
                return bool(pids)

            await_that(find, f"no runner is there any more (SEED={seed})")
            victim = chance.choice(pids)
            if kill(victim):
                killed.add(victim)
            stream.await_progress(chance.randrange(1, 30))
        stream.finish()
    finally:
        stream.executor.stop(0.0)
    # Then
    lines = [line.split() for line in (tmp_path / "witness").read_text().splitlines()]
    begun = Counter((int(seq), int(pid)) for word, seq, pid in lines if word == "begin")
    ended = Counter((int(seq), int(pid)) for word, seq, pid in lines if word == "end")
    last_begun = {int(pid): int(seq) for word, seq, pid in lines if word == "begin"}
    runs = Counter(seq for seq, _ in begun)
    died = Counter[int]()
    for outcome in stream.ended.values():
        pids_of_it = [pid for seq, pid in begun if seq == outcome.seq]
        assert outcome.status in (Status.DONE, Status.DIED, Status.LOST), (seed, outcome)
        if outcome.status is Status.DIED:
            pid = int(re.findall(r"process (\d+) ended", outcome.error or "")[0])
            died[pid] += 1
            assert pid in killed, (seed, outcome)
            # Struck in its slot: it was the last to begin there, or about to write that it begins.
            assert last_begun.get(pid) == outcome.seq or (outcome.seq, pid) not in begun, (seed, outcome)
        elif outcome.status is Status.LOST:
            assert any(pid in killed and (outcome.seq, pid) in ended for pid in pids_of_it), (seed, outcome)
        else:
            assert runs[outcome.seq] == 1, (seed, outcome)
    assert all(count == 1 for count in died.values()), (seed, died)
    assert all(count == 1 for count in begun.values()), seed
