"""One `KeyService` and its callers in a process of its own; every call is recorded, every run is told to the witness.

`history_worker.py SETTINGS`, one object of JSON: see `Settings`. Commands, lines of JSON on stdin: ["load", first_key, began_ns],
["stop"], ["probe", timeout_s], ["read", first, stop], ["hash"]. Says ["leading", term] and ["following"] when that changes.

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
        self, service: KeyService, recorder: Recorder, settings: Settings, number: int, stop: threading.Event
    ) -> None:
        self._service, self._recorder, self._stop = service, recorder, stop
        self._rng = random.Random(f"{settings.seed} {settings.listen} {number}")
        self._witness = Witness(settings.witness, timeout_s=CALL_S)
        self._attempts: dict[int, int] = {}

    def run(self, first_key: int, began_ns: int) -> None:
        while not self._stop.is_set():
            # mostly one of the newest keys; else any, so that what a dead session held is claimed again
            newest = first_key + WINDOW_KEYS + (time.monotonic_ns() - began_ns) * KEYS_PER_S // 10**9
            oldest = first_key if self._rng.random() < 0.15 else newest - WINDOW_KEYS
            key = self._rng.randrange(oldest, newest)
            try:
                self._one(key)
            except (ConsensusError, WitnessSilent):
                continue  # recorded; the next call is another one
            self._stop.wait(self._rng.expovariate(1 / THINK_S))
        self._witness.close()

    def _one(self, key: int) -> None:
        chance = self._rng.random()
        if chance < 0.08:
            self._reserve(self._rng.randint(1, BLOCK_KEYS_MAX))
        elif chance < 0.4:
            self._read(key)
        elif key % UNCLAIMED_EVERY == 0:
            self._execute({"keys": [key]})
        else:
            self._claim_and_run(key)

    def _reserve(self, count: int) -> None:
        def ask() -> list[int]:
            block = self._service.reserve(count, timeout_s=CALL_S)
            return [block.start, block.stop]

        self._recorder.call("reserve", {"count": count}, ask)

    def _read(self, key: int) -> None:
        def ask() -> list[bool]:
            self._service.barrier(timeout_s=CALL_S)
            return self._service.executed([key])

        self._recorder.call("is_executed", {"keys": [key]}, ask)

    def _claim_and_run(self, key: int) -> None:
        after = self._attempts.get(key, 0) if self._rng.random() < 0.5 else 0

        def ask() -> list[list[Any]]:
            answers = self._service.claim([(key, after)], timeout_s=CALL_S)
            return [[answer.kind.name.lower(), answer.attempt, answer.session] for answer in answers]

        [[kind, attempt, _]] = self._recorder.call("claim", {"pairs": [[key, after]]}, ask)
        self._attempts[key] = attempt
        if kind not in ("go", "recover"):
            return
        self._witness.tell(f"{key} {attempt}")
        self._stop.wait(self._rng.expovariate(1 / RUN_S))
        chance = self._rng.random()
        if chance < 0.4:
            self._execute({"pairs": [[key, attempt]]})
        elif chance < 0.75:
            self._end("fail", key, attempt)
        elif chance < 0.9:
            self._end("release", key, attempt)

    def _execute(self, arguments: dict[str, Any]) -> None:
        keys = arguments.get("keys") or [tuple(pair) for pair in arguments["pairs"]]

        def ask() -> list[str]:
            return [answer.value for answer in self._service.execute(keys, timeout_s=CALL_S)]

        self._recorder.call("execute", arguments, ask)

    def _end(self, operation: str, key: int, attempt: int) -> None:
        end = self._service.fail if operation == "fail" else self._service.release
        self._recorder.call(
            operation, {"pairs": [[key, attempt]]}, lambda: end([(key, attempt)], timeout_s=CALL_S)
        )


def watch_leadership(service: KeyService) -> None:
    leading = False
    while True:
        statistics = service.statistics()
        if statistics.is_leader != leading:
            leading = statistics.is_leader
            say(*(("leading", statistics.term) if leading else ("following",)))
        time.sleep(LOOK_S)


class Worker:
    def __init__(self, service: KeyService, settings: Settings) -> None:
        self._service, self._settings = service, settings
        self._recorder = Recorder(
            Path(settings.history), node=settings.listen, session=lambda: service.session
        )
        self._stop = threading.Event()
        self._callers: list[threading.Thread] = []

    def obey(self, command: list[Any]) -> None:
        match command:
            case ["load", first_key, began_ns]:
                for number in range(self._settings.callers):
                    caller = Caller(self._service, self._recorder, self._settings, number, self._stop)
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
            case ["reserve", count]:
                block = self._recorder.call("reserve", {"count": count}, lambda: self._reserve(count))
                say("reserved", *block)
            case ["read", first, stop]:
                keys = list(range(first, stop))
                self._recorder.call("is_executed", {"keys": keys}, lambda: self._read(keys))
                say("read")
            case ["hash"]:
                statistics = self._service.statistics()
                say("hash", statistics.last_applied, statistics.state_hash)

    def _reserve(self, count: int) -> list[int]:
        block = self._service.reserve(count, timeout_s=20.0)
        return [block.start, block.stop]

    def _read(self, keys: list[int]) -> list[bool]:
        self._service.barrier(timeout_s=20.0)
        return self._service.executed(keys)


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
    threading.Thread(target=watch_leadership, args=(service,), daemon=True).start()
    for line in sys.stdin:
        worker.obey(json.loads(line))
    service.stop()


if __name__ == "__main__":
    main()
