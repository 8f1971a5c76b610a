"""`python -m tests.claims --seeds 2000 --jobs 2`, `--seed 7 --trace`, `--mutant NAME --harsh --seeds 3000 --first`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from functools import partial
from multiprocessing import get_context

from tests.claims.mutants import MUTANTS
from tests.claims.run import Result, play_seed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.claims", description=__doc__)
    parser.add_argument("--seed", type=int, help="one seed")
    parser.add_argument("--seeds", type=int, default=0, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--trace", action="store_true", help="print every word")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="switch a rule off")
    parser.add_argument("--harsh", action="store_true", help="long runs, slow words, long pauses")
    parser.add_argument("--first", action="store_true", help="stop at the first failure")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        result = play_seed(
            arguments.seed,
            mutant=arguments.mutant,
            is_harsh=arguments.harsh,
            trace=print if arguments.trace else None,
        )
        tell(result)
        return 0 if result.clean else 1
    return many(arguments)


def tell(result: Result) -> None:
    verdict = "clean" if result.clean else f"FAILED: {result.why}"
    print(f"seed {result.seed}: {verdict} ({result.acts} acts, {result.cpu_s:.2f} s of CPU)", flush=True)


def many(arguments: argparse.Namespace) -> int:
    seeds = range(arguments.start, arguments.start + arguments.seeds)
    failed: list[int] = []
    checks: Counter[str] = Counter()
    began_s, cpu_s, acts, done = time.monotonic(), 0.0, 0, 0
    with get_context("spawn").Pool(arguments.jobs) as pool:
        for result in pool.imap(
            partial(play_seed, mutant=arguments.mutant, is_harsh=arguments.harsh), seeds, chunksize=4
        ):
            done += 1
            cpu_s += result.cpu_s
            acts += result.acts
            checks += result.checks
            if not result.clean:
                failed.append(result.seed)
                tell(result)
                if arguments.first:
                    break
    print(
        f"{done} seeds in {time.monotonic() - began_s:.0f} s, {cpu_s / max(1, done):.2f} s of CPU each, {acts} acts; "
        f"{len(failed)} failed: {failed[:50]}"
    )
    print("checks: " + ", ".join(f"{law} {count}" for law, count in sorted(checks.items())))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
