"""A whole group under test: `KeyService` processes that meet only through the proxy, their witness, and their histories.

A node keeps its address and its directory over all its lives; each life writes a history of its own. A life that ended without being
killed is a fault of the program, whatever the history says.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.addresses import free_addresses
from tests.chaos.history import RecordedCall, read_history
from tests.chaos.history_worker import Settings
from tests.chaos.line_process import LineProcess
from tests.chaos.proxy import Proxy
from tests.chaos.witness import WitnessProcess, read_log

CALL_S = 20.0
SCRIPT = Path(__file__).with_name("history_worker.py")


LEADERSHIP = threading.Condition()  # a node said that it leads, or no longer does


class Life(LineProcess):
    """One process of a node; knows whether it says to lead, without asking."""

    def __init__(self, settings: Settings, errors: Path) -> None:
        self.leads_in_term: int | None = None
        self.was_killed = False
        self.terms_led: list[int] = []
        super().__init__(SCRIPT, [json.dumps(asdict(settings))], errors)

    def heard(self, line: list[Any]) -> None:
        match line:
            case ["leading", int(term)]:
                with LEADERSHIP:
                    self.leads_in_term = term
                    self.terms_led.append(term)
                    LEADERSHIP.notify_all()
            case ["following"]:
                with LEADERSHIP:
                    self.leads_in_term = None
                    LEADERSHIP.notify_all()

    def kill(self) -> None:
        self.was_killed = True
        super().kill()


class KeyNode:
    """A `faults.Node`: one address and directory, many lives. Work begins with each life once `work` is set."""

    def __init__(self, directory: Path, settings: dict[str, Any]) -> None:
        self._directory, self._settings = directory, settings
        self.lives: list[Life] = []
        self.work: tuple[int, int] | None = None  # first key, moment in ns from which the keys move on

    @property
    def life(self) -> Life:
        return self.lives[-1]

    def start(self) -> None:
        number = len(self.lives)
        settings = Settings(
            **self._settings,
            directory=str(self._directory),
            history=str(self.history(number)),
            seed=f"{self._settings['cluster']} {number}",
        )
        self.lives.append(Life(settings, self._directory.with_suffix(".stderr")))
        if self.work is not None:
            self.life.tell("load", *self.work)

    def history(self, number: int) -> Path:
        return self._directory.with_suffix(f".history{number}")

    def kill(self) -> None:
        self.life.kill()

    def lose_disk(self) -> None:
        """Of a killed node: it comes back with nothing."""
        shutil.rmtree(self._directory)

    def pause(self) -> None:
        self.life.pause()

    def resume(self) -> None:
        self.life.resume()


class KeyGroup:
    """`count` nodes in `directory`. Use as a context: no process outlives it."""

    def __init__(self, directory: Path, count: int, *, seed: int, callers: int = 3) -> None:
        addresses = free_addresses(2 * count)
        self.addresses, binds = addresses[:count], addresses[count:]
        self.proxy = Proxy(dict(zip(self.addresses, binds, strict=True)), seed=seed)
        self.witness = WitnessProcess(directory / "witness")
        self._directory, self._seed, self._callers, self._binds = directory, seed, callers, binds
        self.nodes: list[KeyNode] = []
        self.first_key = self.keys_stop = 0

    def __enter__(self) -> KeyGroup:
        try:
            self.proxy.start()
            witness = self.witness.start()
            for place, (listen, bind) in enumerate(zip(self.addresses, self._binds, strict=True)):
                settings = {
                    "cluster": f"histories-{self._seed}",
                    "listen": listen,
                    "bind": bind,
                    "peers": self.addresses,
                    "witness": witness,
                    "callers": self._callers,
                }
                self.nodes.append(KeyNode(self._directory / f"node{place}", settings))
                self.nodes[-1].start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for node in self.nodes:
            for life in node.lives:
                life.close()
        self.witness.kill()
        self.proxy.stop()

    def leader(self) -> int | None:
        """The place of the node that says to lead in the highest term."""
        places = [
            (node.life.leads_in_term, place)
            for place, node in enumerate(self.nodes)
            if node.life.running and node.life.leads_in_term is not None
        ]
        return max(places)[1] if places else None

    def await_leader(self, *, other_than: int | None = None, timeout_s: float = 10.0) -> int:
        """Fails the test at the deadline."""

        def found() -> bool:
            return self.leader() not in (None, other_than)

        with LEADERSHIP:
            if not LEADERSHIP.wait_for(found, timeout_s):
                pytest.fail(f"no other leader within {timeout_s:g} s")
            leader = self.leader()
        assert leader is not None
        return leader

    def begin_work(self, keys: int) -> None:
        """Waits for a ledger, takes `keys` from it for everybody, and lets all callers go."""
        self.probe_all(20.0)
        self.first_key, self.keys_stop = self.call(0, "reserve", {"count": keys})
        began_ns = time.monotonic_ns()
        for node in self.nodes:
            node.work = (self.first_key, began_ns)
            node.life.tell("load", *node.work)

    def end_work(self) -> None:
        """All callers have come back from their last call."""
        for node in self.nodes:
            node.life.tell("stop")
        for node in self.nodes:
            node.life.wait("stopped")

    def probe_all(self, timeout_s: float) -> list[float]:
        """How long each node took to pass a barrier; fails when one does not."""
        for node in self.nodes:
            node.life.tell("probe", timeout_s)
        answers = [node.life.wait("alive", "silent", timeout_s=2 * timeout_s + 5.0) for node in self.nodes]
        assert all(isinstance(answer[0], float) for answer in answers), f"not all nodes came back: {answers}"
        return [float(answer[0]) for answer in answers]

    def call(self, place: int, operation: str, arguments: dict[str, Any], timeout_s: float = CALL_S) -> Any:
        """One recorded call by this node's own hand; fails without an answer."""
        command = ("call", operation, arguments, timeout_s)
        [answer] = self.nodes[place].life.ask(*command, answers=("answer",), timeout_s=timeout_s + 5.0)
        return answer

    def call_in_vain(
        self, place: int, operation: str, arguments: dict[str, Any], timeout_s: float
    ) -> tuple[str, str]:
        """The same for a call that must not be answered: the error's name and sentence."""
        life = self.nodes[place].life
        life.tell("call", operation, arguments, timeout_s)
        word, *values = life.wait_line("answer", "no answer", timeout_s=timeout_s + 5.0)
        assert word == "no answer", f"{operation} {arguments} was answered: {values}"
        name, sentence = values
        return name, sentence

    def read_all(self) -> None:
        """Every node reads every key that was worked on, behind a barrier; recorded like any other call."""
        arguments = {"keys": list(range(self.first_key, self.keys_stop))}
        for node in self.nodes:
            node.life.tell("call", "is_executed", arguments, CALL_S)
        for node in self.nodes:
            node.life.wait("answer")

    def hashes_agree(self, timeout_s: float) -> bool:
        """Whether all nodes show the same state at the same index, within the time. Renewals of sessions move the index on while
        they are asked one after the other, so what each has shown at any index counts.
        """
        deadline = time.monotonic() + timeout_s
        shown: dict[tuple[int, str], set[int]] = defaultdict(set)
        while time.monotonic() < deadline:
            for place, node in enumerate(self.nodes):
                applied, state_hash = node.life.ask("hash", answers=("hash",))
                shown[applied, state_hash].add(place)
                if len(shown[applied, state_hash]) == len(self.nodes):
                    return True
        return False

    def died_alone(self) -> list[str]:
        """A sentence for each life that ended though nobody killed it."""
        return [
            f"{listen} ended by itself with {life.process.returncode}: {life.last_words()}"
            for listen, node in zip(self.addresses, self.nodes, strict=True)
            for life in node.lives
            if not life.running and not life.was_killed
        ]

    def calls(self) -> list[RecordedCall]:
        files = [node.history(number) for node in self.nodes for number in range(len(node.lives))]
        return read_history([file for file in files if file.exists()])

    def runs(self) -> list[tuple[int, int]]:
        """(key, attempt) of every claimed run, as the witness heard of them."""
        pairs = (line.split() for line in read_log(self.witness.log))
        return [(int(key), int(attempt)) for key, attempt in pairs]

    def terms(self) -> Sequence[int]:
        """In which a node said to lead, all lives."""
        return sorted(term for node in self.nodes for life in node.lives for term in life.terms_led)
