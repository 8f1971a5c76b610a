"""One node of unmodified pysyncobj, driven as our nodes are (see bench/node_group.py): the same load, the same process shape.

A replicated method stands for `claim`; its journal is a file, but the library never flushes it. `mode` chooses how the library sends:
`batch`, its default (entries leave once per period), or `immediate`.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

from pysyncobj import SyncObj, SyncObjConf, replicated

from bench.callers import closed_loop

CALL_TIMEOUT_S = 10.0
READY_WITHIN_S = 60.0
LOOK_EVERY_S = 0.02


class Claims(SyncObj):  # type: ignore[misc]
    def __init__(self, listen: str, others: list[str], directory: Path, mode: str) -> None:
        conf = SyncObjConf(
            appendEntriesUseBatch=mode == "batch",
            journalFile=str(directory / "journal"),
            fullDumpFile=str(directory / "dump"),
        )
        super().__init__(listen, others, conf)
        self._claims: dict[int, tuple[int, int]] = {}

    @replicated  # type: ignore[untyped-decorator]
    def claim(self, session: int, key: int) -> bool:
        if key in self._claims:
            return False
        self._claims[key] = (session, 1)
        return True


class Node:
    def __init__(self, claims: Claims) -> None:
        self._claims = claims

    def ready(self) -> dict[str, Any]:
        deadline = time.monotonic() + READY_WITHIN_S
        while not self._claims.isReady():
            if time.monotonic() > deadline:
                raise RuntimeError(f"pysyncobj was not ready within {READY_WITHIN_S:g} s")
            time.sleep(LOOK_EVERY_S)
        return {}

    def leader(self) -> dict[str, Any]:
        node = self._claims._getLeader()
        return {"leader": None if node is None else node.id}

    def claims(self, threads: int, seconds: float) -> dict[str, Any]:
        keys = itertools.count(time.time_ns())

        def claim() -> None:
            self._claims.claim(1, next(keys), sync=True, timeout=CALL_TIMEOUT_S)

        return closed_loop(claim, threads=threads, seconds=seconds).as_json()


def main() -> None:
    listen, peers, directory, mode = sys.argv[1:]
    Path(directory).mkdir(parents=True, exist_ok=True)
    claims = Claims(listen, [peer for peer in peers.split(",") if peer != listen], Path(directory), mode)
    node = Node(claims)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = getattr(node, command.pop("do"))(**command)
        except RuntimeError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)
    claims.destroy()


if __name__ == "__main__":
    main()
