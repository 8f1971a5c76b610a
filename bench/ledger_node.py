"""One node of the measured ledger: a KeyService whose process does what the bench asks, line by line (see node_group.py)."""

from __future__ import annotations

import itertools
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from bench.callers import closed_loop, windowed
from consensus import ConsensusError, KeyService

CLUSTER = "bench"
BLOCK_KEYS = 1 << 20  # the largest that the ledger hands out at once
BATCH_KEYS = 4096
CALL_TIMEOUT_S = 10.0
READY_WITHIN_S = 60.0
NODES = 3  # interleaved marks: a node that owns a third of the partitions marks every third key
PROBE_EVERY_S = 0.01  # of the probes that find out when the ledger answers again: the error of that time


class Node:
    """One method a command."""

    def __init__(self, service: KeyService) -> None:
        self._service = service
        self._probing = threading.Event()
        self._answers: list[tuple[float, float]] = []  # probes: asked at, answered at

    def obey(self, command: dict[str, Any]) -> dict[str, Any]:
        do: Callable[..., dict[str, Any]] = getattr(self, command.pop("do"))
        return do(**command)

    def ready(self) -> dict[str, Any]:
        self._service.wait_ready(READY_WITHIN_S)
        return {"session": self._service.session}

    def leader(self) -> dict[str, Any]:
        return {"leader": self._service.statistics().leader}

    def counts(self) -> dict[str, Any]:
        return {"executed": self._service.statistics().executed_count}

    def claims(self, threads: int, seconds: float) -> dict[str, Any]:
        """Single claims from so many threads of this process."""
        keys = itertools.count(self._block().start)  # `next` is one step under the GIL: no key twice

        def claim() -> None:
            self._service.claim([(next(keys), 0)], timeout_s=CALL_TIMEOUT_S)

        before = self._service.statistics().commit_index
        answered = closed_loop(claim, threads=threads, seconds=seconds).as_json()
        entries = self._service.statistics().commit_index - before
        return answered | {"calls_per_entry": answered["answered"] / max(1, entries)}

    def marks(self, window: int, seconds: float, interleaved: bool) -> dict[str, Any]:
        """Batches of executed keys, `window` calls on the way."""
        batches = self._batches(interleaved)

        def execute() -> Future[Any]:
            return self._service.execute_future(next(batches), timeout_s=CALL_TIMEOUT_S)

        answered = windowed(execute, window=window, seconds=seconds)
        marked = len(answered.latencies_s) * BATCH_KEYS
        return answered.as_json() | {"marks_per_s": marked / answered.elapsed_s}

    def probe(self) -> dict[str, Any]:
        """From now on one claim every few milliseconds, whether or not those before were answered."""
        self._answers = []
        self._probing.set()
        threading.Thread(
            target=self._probe, args=(self._block().start, self._answers), name="probes", daemon=True
        ).start()
        return {}

    def probed(self, since: float) -> dict[str, Any]:
        """The first answer to a probe that was asked after `since`, on the clock that all processes share; None: none yet."""
        answered = [at for asked, at in list(self._answers) if asked >= since]
        return {"answered_at": min(answered, default=None)}

    def probe_end(self) -> dict[str, Any]:
        self._probing.clear()
        return {}

    def _probe(self, first_key: int, answers: list[tuple[float, float]]) -> None:
        for key in itertools.count(first_key):
            if not self._probing.is_set():
                return
            asked = time.monotonic()

            def note(future: Future[Any], asked: float = asked) -> None:
                if future.exception() is None:
                    answers.append((asked, time.monotonic()))

            self._service.claim_future([(key, 0)], timeout_s=CALL_TIMEOUT_S).add_done_callback(note)
            time.sleep(PROBE_EVERY_S)

    def _block(self) -> range:
        return self._service.reserve(BLOCK_KEYS, timeout_s=CALL_TIMEOUT_S)

    def _batches(self, interleaved: bool) -> Iterator[list[int]]:
        """Without end; the next block is asked for while the last is used, as a node does."""
        following = self._service.reserve_future(BLOCK_KEYS, timeout_s=CALL_TIMEOUT_S)
        while True:
            block = following.result(CALL_TIMEOUT_S)
            following = self._service.reserve_future(BLOCK_KEYS, timeout_s=CALL_TIMEOUT_S)
            step = NODES if interleaved else 1
            for part in (range(block.start + offset, block.stop, step) for offset in range(step)):
                for first in range(0, len(part) - BATCH_KEYS + 1, BATCH_KEYS):
                    yield list(part[first : first + BATCH_KEYS])


def main() -> None:
    listen, peers, directory, snapshot_every_s = sys.argv[1:]
    service = KeyService(
        listen, peers.split(","), directory, cluster=CLUSTER, snapshot_every_s=float(snapshot_every_s)
    )
    service.start()
    node = Node(service)
    for line in sys.stdin:
        try:
            answer = node.obey(json.loads(line))
        except (ConsensusError, TimeoutError, RuntimeError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
    service.stop()


if __name__ == "__main__":
    main()
