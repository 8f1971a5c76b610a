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
from tests.claims.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    seed: int
    why: str | None
    acts: int
    checks: Counter[str] = field(default_factory=Counter)
    cpu_s: float = 0.0

    @property
    def clean(self) -> bool:
        return self.why is None


def play_seed(
    seed: int,
    *,
    mutant: str | None = None,
    trace: Callable[[str], None] | None = None,
    kill_at: int | None = None,
    guarantee: Guarantee | None = None,
) -> Result:
    began_s = time.process_time()
    why: str | None = None
    world = World(
        seed, trace=trace, kill_at=kill_at, guarantee=guarantee, keys=None if kill_at is None else 1
    )
    with MUTANTS[mutant]() if mutant else nullcontext():
        try:
            world.run()
        except Broken as error:
            why = str(error)
        except Exception as error:
            if trace is not None:
                raise
            why = f"raised {error!r}"
    return Result(
        seed=seed,
        why=why,
        acts=world.acts,
        checks=world.witness.checks,
        cpu_s=time.process_time() - began_s,
    )
