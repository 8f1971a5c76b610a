"""The table of waits that the design rests on comes out again, rule by rule, at load 0.85 on 8 places."""

from __future__ import annotations

import pytest

from tests.lanes.table import bimodal

pytestmark = [pytest.mark.simulation, pytest.mark.timeout(300)]

SECONDS = 200.0


def test_short_work_does_not_wait_for_long_work_though_some_of_it_is_mislabelled() -> None:
    one_queue = bimodal("one queue", seconds=SECONDS).short_p99_s
    reserve = bimodal("reserve", seconds=SECONDS).short_p99_s
    everything = bimodal("+ 4 spares", seconds=SECONDS).short_p99_s
    assert one_queue > 1.0
    assert reserve < 0.02
    assert everything < 0.05


def test_wrong_labels_are_the_danger_and_each_rule_against_them_counts() -> None:
    none = bimodal("2 % of long labelled short", seconds=4 * SECONDS, seed=2).short_p99_s
    re_badged = bimodal("+ re-badge", seconds=4 * SECONDS, seed=2).short_p99_s
    spares = bimodal("+ 4 spares", seconds=4 * SECONDS, seed=2).short_p99_s
    assert none > 2 * re_badged > 2 * spares
