"""Rounds of the no-op bench become figures: ratios within a round, and a reason where a peer is missing."""

from __future__ import annotations

import pytest

from bench.drain import Drained
from bench.noop import Round, figures_of
from bench.peers.python_peers import PEERS

pytestmark = pytest.mark.unit


def a_round(own: float, ceiling: float, peers: dict[str, float | str]) -> Round:
    return Round(
        one=Drained(tasks_per_s=own, cpu_us_per_task=9.0),
        three=Drained(tasks_per_s=2 * own, cpu_us_per_task=10.0),
        ceiling=ceiling,
        ceiling_tuned=2 * ceiling,
        executor=1.0,
        pool=1.0,
        peers=dict.fromkeys(PEERS, "cannot be had") | peers,
    )


def test_ratios_are_taken_within_a_round() -> None:
    # Given a machine that was four times slower in the second round
    rounds = [a_round(80_000, 100_000, {"huey": 4_000.0}), a_round(20_000, 25_000, {"huey": 1_000.0})]
    figures, _ = figures_of(rounds)
    assert figures["ratio_to_ceiling"]["min"] == figures["ratio_to_ceiling"]["max"] == 0.8
    assert figures["ratio_to_ceiling_tuned"]["median"] == 0.4
    assert figures["tasks_per_s"]["median"] == 50_000


def test_the_best_peer_is_the_fastest_that_ran_and_a_missing_one_says_why() -> None:
    rounds = [a_round(90_000, 100_000, {"huey": 4_500.0, "dramatiq": 3_000.0})]
    figures, peers = figures_of(rounds)
    assert figures["ratio_to_best_python_peer"]["median"] == 20
    assert figures["ratio_to_celery_acks_late"]["median"] is None
    assert figures["ratio_to_celery_acks_late"]["why"] == "cannot be had"
    assert peers["celery_acks_late"]["tasks_per_s"]["why"] == "cannot be had"
    assert peers["huey"]["tasks_per_s"]["median"] == 4_500
