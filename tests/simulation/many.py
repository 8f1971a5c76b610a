"""Many seeds over a few processes. A process is replaced now and then, so that memory stays flat over thousands of runs."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Iterator, Sequence

from tests.simulation.faults import draw_plan
from tests.simulation.run import Result, run_plan

RUNS_A_PROCESS = 50


def fresh_seeds(text: str, count: int) -> list[int]:
    """Others for each commit, the same for everybody who tests it."""
    digests = (hashlib.sha256(f"{text}/{number}".encode()).digest() for number in range(count))
    return [int.from_bytes(digest[:5], "big") for digest in digests]


def run_many(seeds: Sequence[int], *, mutant: str | None, jobs: int, apart: bool = False) -> Iterator[Result]:
    """In the order in which they end. `apart`: never in this process (a mutant stays in the process that ran it)."""
    work = [(seed, mutant) for seed in seeds]
    jobs = min(jobs, len(work))
    if jobs <= 1 and not apart:
        yield from map(_run, work)
        return
    with multiprocessing.get_context("spawn").Pool(jobs, maxtasksperchild=RUNS_A_PROCESS) as pool:
        yield from pool.imap_unordered(_run, work)


def _run(work: tuple[int, str | None]) -> Result:
    seed, mutant = work
    return run_plan(draw_plan(seed), mutant=mutant)
