"""The two shapes of load on a ledger: threads that wait for each answer, and batches with several on the way."""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

PERCENTILES = (50, 99)
END_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What one load got: `latencies_s` of the answered calls, sorted; `longest_gap_s` between two answers of anybody."""

    elapsed_s: float
    latencies_s: list[float]
    longest_gap_s: float
    failed: int

    @classmethod
    def of(
        cls, elapsed_s: float, moments: Iterable[float], latencies_s: Iterable[float], failed: int
    ) -> Answered:
        """`moments` of the answers, in any order."""
        gaps = (later - earlier for earlier, later in pairwise(sorted(moments)))
        return cls(
            elapsed_s=elapsed_s,
            latencies_s=sorted(latencies_s),
            longest_gap_s=max(gaps, default=elapsed_s),
            failed=failed,
        )

    def as_json(self) -> dict[str, Any]:
        count = len(self.latencies_s)
        return {
            "answered": count,
            "failed": self.failed,
            "per_s": count / self.elapsed_s,
            "longest_gap_ms": self.longest_gap_s * 1000,
            **{f"p{p}_ms": percentile(self.latencies_s, p) * 1000 for p in PERCENTILES if count},
        }


def percentile(ordered: list[float], percent: float) -> float:
    """The nearest rank of a sorted list."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def closed_loop(call: Callable[[], object], *, threads: int, seconds: float) -> Answered:
    """`threads` callers, each with one call on the way, for `seconds`, and once at least. One that raises is counted as failed."""
    ends = [array("d") for _ in range(threads)]
    latencies = [array("d") for _ in range(threads)]
    failed = [0] * threads
    start = threading.Barrier(threads + 1)

    def run(number: int) -> None:
        mine, took = ends[number], latencies[number]
        start.wait()
        now = time.perf_counter()
        until = now + seconds
        while True:
            began = now
            try:
                call()
            except Exception:
                failed[number] += 1
                now = time.perf_counter()
            else:
                now = time.perf_counter()
                mine.append(now)
                took.append(now - began)
            if now >= until:
                return

    runners = [
        threading.Thread(target=run, args=(number,), name=f"caller-{number}", daemon=True)
        for number in range(threads)
    ]
    for runner in runners:
        runner.start()
    start.wait()
    began = time.perf_counter()
    for runner in runners:
        runner.join(seconds + END_WITHIN_S)
    elapsed_s = time.perf_counter() - began
    return Answered.of(elapsed_s, chain(*ends), chain(*latencies), sum(failed))


def windowed(send: Callable[[], Future[Any]], *, window: int, seconds: float) -> Answered:
    """One thread keeps `window` calls on the way for `seconds`; a latency is from sending to the answer."""
    latencies: list[float] = []
    moments: list[float] = []
    failed = 0
    began = time.perf_counter()
    until = began + seconds
    sent_at: dict[Future[Any], float] = {}
    while sent_at or time.perf_counter() < until:
        while len(sent_at) < window and time.perf_counter() < until:
            sent_at[send()] = time.perf_counter()
        done, _ = wait(sent_at, timeout=END_WITHIN_S, return_when=FIRST_COMPLETED)
        if not done:
            raise RuntimeError(f"no answer of {len(sent_at)} calls for {END_WITHIN_S:g} s")
        now = time.perf_counter()
        for future in done:
            if future.exception() is None:
                latencies.append(now - sent_at[future])
                moments.append(now)
            else:
                failed += 1
            del sent_at[future]
    return Answered.of(time.perf_counter() - began, moments, latencies, failed)
