"""One seed, one run, one result; and the same run with faults left out, to find the few that matter."""

from __future__ import annotations

import functools
import gc
import logging
import random
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tests.simulation.cluster import Cluster
from tests.simulation.directed import plan_of, tell
from tests.simulation.faults import Fault, Plan, draw_plan
from tests.simulation.judges_raft import Violation
from tests.simulation.mutants import switch_off

SHRINK_RUNS_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """`invariant` is None for a clean run. `digest` stands for every step and message of it."""

    seed: int
    invariant: str | None
    why: str
    digest: str
    at_s: float
    steps: int
    messages: int
    effects: int
    terms: int
    cpu_s: float
    heard: dict[str, int] = field(default_factory=dict)
    trace: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        return self.invariant is None


def run_seed(seed: int, *, mutant: str | None = None, trace: bool = False) -> Result:
    return run_plan(draw_plan(seed), mutant=mutant, trace=trace)


def run_story(name: str, *, mutant: str | None = None, trace: bool = False) -> Result:
    return run_plan(plan_of(name), mutant=mutant, trace=trace, play=functools.partial(tell, name))


def run_plan(
    plan: Plan,
    *,
    mutant: str | None = None,
    trace: bool = False,
    play: Callable[[Cluster], None] = Cluster.run,
) -> Result:
    random.seed(plan.seed)  # the library draws its election timeouts from the global one
    logging.disable(logging.CRITICAL)
    started = time.process_time()
    invariant, why = None, ""
    gc.collect()  # the cycles of the run before
    gc.disable()  # a run is short
    switch_off(mutant)
    cluster = Cluster(plan, trace=trace)
    try:
        play(cluster)
    except Violation as violation:
        invariant, why = violation.invariant, str(violation)
        if violation.__cause__ is not None:
            why += "\n" + "".join(traceback.format_exception(violation.__cause__))
    finally:
        gc.enable()
        logging.disable(logging.NOTSET)
    heard: dict[str, int] = {}
    for (_, outcome), count in cluster.workload.heard.items():
        heard[outcome.value] = heard.get(outcome.value, 0) + count
    return Result(
        seed=plan.seed,
        invariant=invariant,
        why=why,
        digest=f"{cluster.digest:08x}-{cluster.network.digest:08x}",
        at_s=cluster.timeline.now_s,
        steps=cluster.steps,
        messages=cluster.network.messages,
        effects=cluster.judges.effects,
        terms=cluster.judges.old_leaders.newest_term,
        cpu_s=time.process_time() - started,
        heard=heard,
        trace=tuple(cluster.trace),
    )


def shrink(
    plan: Plan, *, mutant: str | None = None, tell: Callable[[str], None] = lambda _: None
) -> tuple[Plan, Result]:
    """Leaves out faults, halves first and then single ones, while the same invariant breaks."""
    result = run_plan(plan, mutant=mutant)
    if result.clean:
        return plan, result
    faults = [fault for fault in plan.faults if fault.at_s <= result.at_s]
    runs, size = 0, max(1, len(faults) // 2)
    while size and runs < SHRINK_RUNS_MAX:
        start, removed = 0, False
        while start < len(faults) and runs < SHRINK_RUNS_MAX:
            fewer: list[Fault] = faults[:start] + faults[start + size :]
            tried = run_plan(replace(plan, faults=tuple(fewer)), mutant=mutant)
            runs += 1
            if tried.invariant == result.invariant:
                faults, result, removed = fewer, tried, True
                tell(f"{len(faults)} faults still break {result.invariant}")
            else:
                start += size
        size = size // 2 if not removed or size > 1 else size
    return replace(plan, faults=tuple(faults)), result
