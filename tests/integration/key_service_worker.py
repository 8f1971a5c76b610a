"""One `KeyService` in a process of its own, driven by lines of JSON on stdin, answering with lines of JSON on stdout.

`key_service_worker.py CLUSTER DIRECTORY LISTEN [PEER ...]`. Commands: ["ready", timeout_s], ["statistics"], ["reserve", count, timeout_s],
["missing", [[first, stop], ...]], ["run"] (reserve and execute without end, reporting each answered step).
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

from consensus import ConsensusError, KeyService, OutcomeUnknown

BLOCK_KEYS = 20
THREADS = 3


def say(event: str, *values: Any) -> None:
    sys.stdout.write(json.dumps([event, *values]) + "\n")  # one write: lines of several threads do not mix
    sys.stdout.flush()


def run(service: KeyService) -> None:
    while True:
        try:
            block = service.reserve(BLOCK_KEYS, timeout_s=2.0)
        except ConsensusError as error:
            say("failed", type(error).__name__)
            continue
        say("keys", block.start, block.stop)
        while True:
            try:
                service.execute(block, timeout_s=2.0)
            except ConsensusError as error:
                say("failed", type(error).__name__)  # marking is safe to repeat
            else:
                break
        say("marked", block.start, block.stop)


def obey(service: KeyService, command: list[Any]) -> None:
    began = time.monotonic()
    match command:
        case ["ready", timeout_s]:
            service.wait_ready(timeout_s)
            say("ready", service.session)
        case ["statistics"]:
            statistics = service.statistics()
            say("statistics", statistics.leader, statistics.is_leader, statistics.state_hash)
        case ["reserve", count, timeout_s]:
            try:
                block = service.reserve(count, timeout_s=timeout_s)
                say("reserved", block.start, block.stop)
            except ConsensusError as error:
                say("refused", type(error).__name__, time.monotonic() - began)
        case ["execute", first, stop, timeout_s]:
            try:
                service.execute(range(first, stop), timeout_s=timeout_s)
                say("executed", first, stop)
            except ConsensusError as error:
                say("refused", type(error).__name__, time.monotonic() - began)
        case ["missing", ranges]:
            while True:
                try:
                    service.barrier(timeout_s=5.0)
                    break
                except OutcomeUnknown:
                    continue
            keys = [key for first, stop in ranges for key in range(first, stop)]
            found = service.executed(keys)
            say("missing", [key for key, there in zip(keys, found, strict=True) if not there])
        case ["run"]:
            for _ in range(THREADS):
                threading.Thread(target=run, args=(service,), daemon=True).start()


def main() -> None:
    cluster, directory, listen, *peers = sys.argv[1:]
    service = KeyService(listen, peers, directory, cluster=cluster, snapshot_every_s=0.5, lease_s=3.0)
    try:
        service.start()
    except ConsensusError as error:
        say("error", type(error).__name__, str(error))
        return
    say("started")
    for line in sys.stdin:
        obey(service, json.loads(line))
    service.stop()


if __name__ == "__main__":
    main()
