"""The process that submits to a peer, in the peer's environment: one JSON line in, one out (see bench/node_group.py).

Standard library and the peer only: `python -m bench.peers.submitter bench.peers.NAME`.
"""

from __future__ import annotations

import importlib
import json
import sys
import threading
import time
from typing import Any

from bench.open_loop import open_loop

FILL_THREADS = 4


class Submitter:
    def __init__(self, module: str) -> None:
        self._peer = importlib.import_module(module)
        start = getattr(self._peer, "start_submitting", None)
        if start is not None:
            start()

    def ready(self) -> dict[str, Any]:
        return {}

    def fill(self, task: str, count: int, arguments: list[list[Any]] | None = None) -> dict[str, Any]:
        """`count` tasks, as fast as a few threads can; the n-th with the n-th of `arguments`."""
        each = arguments or [[]] * count
        failures: list[str] = []

        def some(first: int) -> None:
            try:
                for one in each[first::FILL_THREADS]:
                    self._peer.submit(task, one)
            except Exception as error:
                failures.append(repr(error))

        began = time.monotonic()
        threads = [threading.Thread(target=some, args=(number,)) for number in range(FILL_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise RuntimeError(failures[0])
        return {"per_s": count / (time.monotonic() - began)}

    def open_loop(self, file: str, per_s: float, seconds: float, threads: int) -> dict[str, Any]:
        """Tasks that note when they start, each told when it was submitted; `numbers` are those moments."""
        numbers: list[int] = []

        def submit() -> None:
            number = time.monotonic_ns()
            numbers.append(number)
            self._peer.submit("note_start", [number, file])

        sent = open_loop(submit, per_s=per_s, seconds=seconds, threads=threads)
        return {**sent.as_json(), "numbers": numbers}


def main() -> None:
    submitter = Submitter(sys.argv[1])
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = getattr(submitter, command.pop("do"))(**command)
        except Exception as error:
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
