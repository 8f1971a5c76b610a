"""Plays one seed and tells what came of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field

from cluster.claims.values import Guarantee
from tests.claims.judges import Broken
from tests.claims.mutants import MUTANTS
from tests.claims.plan import Blow, Plan, draw_plan, harsh_plan, single_blow
from tests.claims.world import World

RAISED = "raised"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    seed: int
    why: str | None
    acts: int
    steps: int
    checks: Counter[str] = field(default_factory=Counter)
    cpu_s: float = 0.0

    @property
    def clean(self) -> bool:
        return self.why is None


def play(plan: Plan, *, mutant: str | None = None, trace: Callable[[str], None] | None = None) -> Result:
    began_s = time.process_time()
    why: str | None = None
    with MUTANTS[mutant]() if mutant else nullcontext():
        world = World(plan, trace=trace, is_mutant=mutant is not None)
        try:
            world.run()
        except Broken as error:
            why = str(error)
        except Exception as error:
            if trace is not None:
                raise
            why = f"{RAISED} {error!r}"
    return Result(
        seed=plan.seed,
        why=why,
        acts=world.acts,
        steps=world.steps,
        checks=world.witness.checks + world.ledger.met,
        cpu_s=time.process_time() - began_s,
    )


def play_seed(
    seed: int,
    *,
    mutant: str | None = None,
    is_harsh: bool = False,
    trace: Callable[[str], None] | None = None,
) -> Result:
    return play(harsh_plan(seed) if is_harsh else draw_plan(seed), mutant=mutant, trace=trace)


def every_step(seed: int, guarantee: Guarantee, blow: Blow) -> list[Result]:
    """A blow before each step of one short history, one after the other."""
    undisturbed = play(single_blow(seed, guarantee, 0, blow))
    return [play(single_blow(seed, guarantee, step, blow)) for step in range(1, undisturbed.steps + 1)]
