"""One `KeyService` and its callers in a process of its own; every call is recorded, every run is told to the witness.

`history_worker.py SETTINGS`, one object of JSON: see `Settings`. Commands, lines of JSON on stdin: ["load", first_key, began_ns],
["stop"], ["probe", timeout_s], ["call", operation, arguments, timeout_s], ["hash"]. It says ["leading", term] and ["following"] when
that changes.

The callers do what nodes do: claim a key, run it, mark it, or fail, or withdraw, or die with it; some keys are run without a claim.
All processes work on the same few keys at a time, so that they meet; a window of keys moves on with the clock that they share, so that
no key collects more unanswered calls than a judge can follow.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consensus import ConsensusError, KeyService
from tests.chaos.history import Recorder
from tests.chaos.recorded_service import RecordedService
from tests.chaos.witness import Witness, WitnessSilent

WINDOW_KEYS = 6
KEYS_PER_S = 10
THINK_S = 0.005  # the mean between two calls of one caller
RUN_S = 0.04  # the mean of a claimed run, so that faults hit between claim and mark
CALL_S = 1.5
LEASE_S = 2.0  # with its margin shorter than the longest pauses
UNCLAIMED_EVERY = 4  # keys that are run without a claim
BLOCK_KEYS_MAX = 16
LOOK_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    cluster: str
    directory: str
    listen: str
    bind: str
    peers: list[str]
    history: str
    witness: str
    seed: str
    callers: int


def say(word: str, *values: Any) -> None:
    sys.stdout.write(json.dumps([word, *values]) + "\n")  # one write: lines of several threads do not mix
    sys.stdout.flush()


class Caller:
    """One thread of work. `attempts` is what it has heard about keys, so that it can claim their retries."""

    def __init__(
        self, service: RecordedService, settings: Settings, number: int, stop: threading.Event
    ) -> None:
        self._service, self._stop = service, stop
        self._rng = random.Random(f"{settings.seed} {settings.listen} {number}")
        self._witness = Witness(settings.witness, timeout_s=CALL_S)
        self._attempts: dict[int, int] = {}

    def run(self, first_key: int, began_ns: int) -> None:
        while not self._stop.is_set():
            # mostly one of the newest keys; else any, so that what a dead session held is claimed again
            newest = first_key + WINDOW_KEYS + (time.monotonic_ns() - began_ns) * KEYS_PER_S // 10**9
            oldest = first_key if self._rng.random() < 0.15 else newest - WINDOW_KEYS
            keys = sorted({self._rng.randrange(oldest, newest) for _ in range(self._rng.choice((1, 1, 2)))})
            try:
                self._one(keys)
            except (ConsensusError, WitnessSilent):
                continue  # recorded; the next call is another one
            self._stop.wait(self._rng.expovariate(1 / THINK_S))
        self._witness.close()

    def _one(self, keys: list[int]) -> None:
        chance = self._rng.random()
        if chance < 0.08:
            self._call("reserve", {"count": self._rng.randint(1, BLOCK_KEYS_MAX)})
        elif chance < 0.35:
            self._call("is_executed", {"keys": keys})
        elif unclaimed := [key for key in keys if key % UNCLAIMED_EVERY == 0]:
            self._call("execute", {"keys": unclaimed})
        else:
            self._claim_and_run(keys)

    def _claim_and_run(self, keys: list[int]) -> None:
        pairs = [(key, self._attempts.get(key, 0) if self._rng.random() < 0.5 else 0) for key in keys]
        runs = []
        for key, (kind, attempt, _) in zip(keys, self._call("claim", {"pairs": pairs}), strict=True):
            self._attempts[key] = attempt
            if kind in ("go", "recover"):
                self._witness.tell(f"{key} {attempt}")
                runs.append((key, attempt))
        if not runs:
            return
        self._stop.wait(self._rng.expovariate(1 / RUN_S))
        chance = self._rng.random()
        if chance < 0.4:
            self._call("execute", {"pairs": runs})
        elif chance < 0.75:
            self._call("fail", {"pairs": runs})
        elif chance < 0.9:
            self._call("release", {"pairs": runs})

    def _call(self, operation: str, arguments: dict[str, Any]) -> Any:
        return self._service.call(operation, arguments, CALL_S, repeat=self._rng.random() < 0.7)


def watch_leadership(service: KeyService, ended: threading.Event) -> None:
    leading = False
    while not ended.wait(LOOK_S):
        statistics = service.statistics()
        if statistics.is_leader != leading:
            leading = statistics.is_leader
            say(*(("leading", statistics.term) if leading else ("following",)))


class Worker:
    def __init__(self, service: KeyService, settings: Settings) -> None:
        self._service, self._settings = service, settings
        recorder = Recorder(Path(settings.history), node=settings.listen, session=lambda: service.session)
        self._recorded = RecordedService(service, recorder)
        self._stop = threading.Event()
        self._callers: list[threading.Thread] = []

    def obey(self, command: list[Any]) -> None:
        match command:
            case ["load", first_key, began_ns]:
                for number in range(self._settings.callers):
                    caller = Caller(self._recorded, self._settings, number, self._stop)
                    thread = threading.Thread(target=caller.run, args=(first_key, began_ns), daemon=True)
                    self._callers.append(thread)
                    thread.start()
            case ["stop"]:
                self._stop.set()
                for thread in self._callers:
                    thread.join()
                say("stopped")
            case ["probe", timeout_s]:
                began = time.monotonic()
                try:
                    self._service.wait_ready(timeout_s)
                    self._service.barrier(timeout_s=timeout_s)
                    say("alive", time.monotonic() - began)
                except ConsensusError as error:
                    say("silent", f"{type(error).__name__}: {error}")
            case ["call", operation, arguments, timeout_s]:
                try:
                    say("answer", self._recorded.call(operation, arguments, timeout_s))
                except ConsensusError as error:
                    say("no answer", type(error).__name__, str(error))
            case ["hash"]:
                statistics = self._service.statistics()
                say("hash", statistics.last_applied, statistics.state_hash)


def main() -> None:
    settings = Settings(**json.loads(sys.argv[1]))
    service = KeyService(
        settings.listen,
        settings.peers,
        settings.directory,
        cluster=settings.cluster,
        bind=settings.bind,
        snapshot_every_s=0.5,
        lease_s=LEASE_S,
        on_failure=lambda error: say("error", type(error).__name__, str(error)),
    )
    try:
        service.start()
    except ConsensusError as error:
        say("error", type(error).__name__, str(error))
        return
    worker = Worker(service, settings)
    ended = threading.Event()
    threading.Thread(target=watch_leadership, args=(service, ended), daemon=True).start()
    for line in sys.stdin:
        worker.obey(json.loads(line))
    ended.set()
    service.stop()


if __name__ == "__main__":
    main()
