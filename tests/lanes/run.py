"""Plays one seed and tells what came of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field

from tests.lanes.books import Broken
from tests.lanes.judges import Laws
from tests.lanes.mutants import MUTANTS
from tests.lanes.plan import Plan, draw_plan
from tests.lanes.troubles import cause
from tests.lanes.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    seed: int
    name: str
    why: str | None
    at_s: float
    ended: dict[str, int]
    checks: Counter[str] = field(default_factory=Counter)
    cpu_s: float = 0.0

    @property
    def clean(self) -> bool:
        return self.why is None


def play(plan: Plan, *, mutant: str | None = None, trace: Callable[[str], None] | None = None) -> Result:
    laws = Laws()
    began_s = time.process_time()
    why: str | None = None
    with MUTANTS[mutant]() if mutant else nullcontext():
        world = World(plan, laws, cause=cause, trace=trace)
        try:
            world.run()
        except Broken as error:
            why = str(error)
        except Exception as error:
            if trace is not None:
                raise
            why = f"the core raised {error!r}"
    return Result(
        seed=plan.seed,
        name=plan.name,
        why=why,
        at_s=world.now,
        ended={status.value: count for status, count in sorted(world.outcomes.items())},
        checks=laws.counts,
        cpu_s=time.process_time() - began_s,
    )


def play_seed(seed: int, *, mutant: str | None = None, trace: Callable[[str], None] | None = None) -> Result:
    return play(draw_plan(seed), mutant=mutant, trace=trace)
