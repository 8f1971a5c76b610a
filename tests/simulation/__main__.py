"""Runs seeds: `python -m tests.simulation --seed 7 --trace`, `--seeds 2000 --jobs 2`, `--seed 7 --shrink`, `--mutant A1 --seeds 500`."""

from __future__ import annotations

import argparse
import os
import sys
import time

if os.environ.get("PYTHONHASHSEED") != "0":  # sets of strings iterate by hash: a seed must mean one run
    os.environ["PYTHONHASHSEED"] = "0"
    os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])

from tests.simulation.directed import STORIES
from tests.simulation.faults import draw_plan
from tests.simulation.many import fresh_seeds, run_many
from tests.simulation.mutants import MUTANTS
from tests.simulation.run import Result, run_plan, run_story, shrink

TELL_EVERY_S = 10.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="one seed")
    parser.add_argument("--seeds", type=int, default=0, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first of them")
    parser.add_argument("--fresh", type=int, default=0, help="so many more, derived from --of")
    parser.add_argument("--of", default="", help="a commit, or any text")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--trace", action="store_true", help="print what happens")
    parser.add_argument(
        "--shrink", action="store_true", help="leave out faults while the same invariant breaks"
    )
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="switch a repair off")
    parser.add_argument("--first", action="store_true", help="stop at the first failure")
    parser.add_argument("--case", choices=sorted(STORIES), help="a directed story instead of a seed")
    arguments = parser.parse_args()
    if arguments.case:
        result = run_story(arguments.case, mutant=arguments.mutant, trace=arguments.trace)
        tell(result)
        return 0 if result.clean else 1
    if arguments.seed is not None:
        return one(arguments)
    seeds = list(range(arguments.start, arguments.start + arguments.seeds))
    return many(seeds + fresh_seeds(arguments.of, arguments.fresh), arguments)


def one(arguments: argparse.Namespace) -> int:
    plan, mutant = draw_plan(arguments.seed), arguments.mutant
    print(
        f"seed {plan.seed}: {plan.nodes} nodes, {plan.clients} clients, kinds {', '.join(k.value for k in plan.kinds)}"
    )
    if arguments.shrink:
        plan, result = shrink(plan, mutant=mutant, tell=print)
        for fault in plan.faults:
            print(f"  {fault}")
        if arguments.trace:
            result = run_plan(plan, mutant=mutant, trace=True)
    else:
        result = run_plan(plan, mutant=mutant, trace=arguments.trace)
    tell(result)
    return 0 if result.clean else 1


def tell(result: Result) -> None:
    verdict = "clean" if result.clean else f"FAILED at {result.at_s:.3f} s: {result.why}"
    heard = ", ".join(f"{count} {what}" for what, count in sorted(result.heard.items()))
    print(
        f"seed {result.seed}: {verdict} (digest {result.digest}, {result.steps} steps, {result.messages} messages, "
        f"{result.effects} entries, {result.terms} terms; calls: {heard}; {result.cpu_s:.2f} s of CPU)",
        flush=True,
    )


def many(seeds: list[int], arguments: argparse.Namespace) -> int:
    failed: list[Result] = []
    done, cpu_s, started, told = 0, 0.0, time.monotonic(), time.monotonic()
    for result in run_many(seeds, mutant=arguments.mutant, jobs=arguments.jobs):
        done += 1
        cpu_s += result.cpu_s
        if not result.clean:
            failed.append(result)
            tell(result)
            if arguments.first:
                break
        if time.monotonic() - told > TELL_EVERY_S:
            told = time.monotonic()
            print(f"{done} of {len(seeds)} seeds, {len(failed)} failed, {told - started:.0f} s", flush=True)
    print(
        f"{done} seeds in {time.monotonic() - started:.0f} s, {cpu_s / max(1, done):.2f} s of CPU each; "
        f"{len(failed)} failed: {[result.seed for result in failed]}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
