"""The proof of the simulator: every mutant must be found, and by a seed that is clean without it.

`python -m tests.simulation.proof --seeds 500` prints one row a mutant; `--names A1 B2` takes some only.
"""

from __future__ import annotations

import os
import sys

if os.environ.get("PYTHONHASHSEED") != "0":
    os.environ["PYTHONHASHSEED"] = "0"
    os.execv(sys.executable, [sys.executable, "-m", "tests.simulation.proof", *sys.argv[1:]])

import argparse

from tests.simulation.many import run_many
from tests.simulation.mutants import MUTANTS
from tests.simulation.run import Result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", nargs="*", default=list(MUTANTS), choices=list(MUTANTS))
    parser.add_argument("--seeds", type=int, default=500)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    print("| mutant | how the repair is switched off | seeds needed | what broke |\n|---|---|---|---|")
    missed = 0
    for name in arguments.names:
        tried, found = hunt(name, range(arguments.start, arguments.start + arguments.seeds), arguments.jobs)
        missed += found is None
        broke = (
            "not found"
            if found is None
            else f"{found.invariant} (seed {found.seed}): {found.why.splitlines()[0]}"
        )
        print(f"| {name} | {MUTANTS[name].what} | {tried} | {broke} |", flush=True)
    return 1 if missed else 0


def hunt(name: str, seeds: range, jobs: int) -> tuple[int, Result | None]:
    """How many seeds it took, and the run that shows the mutant but for it would be clean."""
    tried = 0
    for result in run_many(seeds, mutant=name, jobs=jobs, apart=True):
        tried += 1
        if not result.clean and next(run_many([result.seed], mutant=None, jobs=1, apart=True)).clean:
            return tried, result
    return tried, None


if __name__ == "__main__":
    sys.exit(main())
