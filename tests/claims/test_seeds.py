"""Hundreds of histories with faults, half of them new with each day; a blow before every step of short ones; and rules switched off.

A failure prints its seed: `python -m tests.claims --seed n --trace` plays it again, with `--harsh` if it was one of those.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest

from cluster.claims.values import Guarantee
from consensus import ClaimKind, ExecuteAnswer
from tests.claims.mutants import MUTANTS
from tests.claims.plan import Blow
from tests.claims.run import RAISED, every_step, play_seed

pytestmark = [pytest.mark.simulation, pytest.mark.timeout(300)]

FIXED_SEEDS = range(250)
FRESH_SEEDS = 100
STEP_SEEDS = range(6)
MUTANT_SEEDS = range(2000)  # most mutants need fewer than 50, the rarest some 700
RARE = {"begins-under-the-next-session"}  # one history in some thousands: too dear for each run
MUST_BE_MET = {  # histories that never come there prove nothing about it
    *(f"claim {kind.name}" for kind in ClaimKind),
    *(f"execute {answer.name}" for answer in ExecuteAnswer),
    "fail or release own",
    "fail or release not own",
    "in doubt",
    "live claimed runs",
}


def test_hundreds_of_histories_keep_every_law() -> None:
    today = datetime.now(UTC).date().toordinal() * 1_000_000
    seeds = (*FIXED_SEEDS, *range(today, today + FRESH_SEEDS))
    results = [play_seed(seed, is_harsh=is_harsh) for seed in seeds for is_harsh in (False, True)]
    assert [(result.seed, result.why) for result in results if not result.clean] == []
    met = sum((result.checks for result in results), Counter[str]())
    assert met.keys() >= MUST_BE_MET, f"never met: {MUST_BE_MET - met.keys()}"


@pytest.mark.parametrize("blow", Blow)
@pytest.mark.parametrize("guarantee", Guarantee)
def test_a_blow_before_any_step_breaks_no_law(guarantee: Guarantee, blow: Blow) -> None:
    for seed in STEP_SEEDS:
        results = every_step(seed, guarantee, blow)
        assert results
        assert [(seed, step, each.why) for step, each in enumerate(results, 1) if not each.clean] == []


def test_a_seed_is_one_history() -> None:
    first: list[str] = []
    second: list[str] = []
    play_seed(21, trace=first.append)
    play_seed(21, trace=second.append)
    assert first == second


@pytest.mark.parametrize("mutant", sorted(MUTANTS.keys() - RARE))
def test_a_judge_finds_a_rule_that_is_switched_off(mutant: str) -> None:
    found = (
        play_seed(seed, mutant=mutant, is_harsh=is_harsh).why
        for seed in MUTANT_SEEDS
        for is_harsh in (True, False)
    )
    first = next((why for why in found if why is not None), None)
    assert first is not None
    assert not first.startswith(RAISED), first
