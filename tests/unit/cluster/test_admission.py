"""Admission: backlog in seconds of work over the whole cluster, and who is sent away for how long."""

from __future__ import annotations

import pytest

from cluster.admission import Admission, LaneLoad

pytestmark = pytest.mark.unit

DAY_S = 86_400.0


def load(slots: int, mean_s: float) -> dict[str, LaneLoad]:
    return {"cpu-short": LaneLoad(slots=slots, mean_s=mean_s)}


def test_backlog_is_records_times_mean_over_the_slots_of_all_nodes() -> None:
    admission = Admission()
    admission.looked({"cpu-short": 1000}, [load(2, 0.1), load(6, 0.3)])
    seen = admission.backlog("cpu-short")
    assert seen.mean_s == pytest.approx((2 * 0.1 + 6 * 0.3) / 8)
    assert seen.seconds == pytest.approx(1000 * 0.25 / 8)


def test_a_node_that_measured_nothing_lends_its_slots_but_not_its_ignorance() -> None:
    admission = Admission()
    admission.looked({"cpu-short": 100}, [load(1, 2.0), load(3, 0.0)])
    assert admission.backlog("cpu-short").seconds == pytest.approx(100 * 2.0 / 4)


def test_above_the_bound_a_submit_may_come_back_when_the_surplus_is_gone() -> None:
    admission = Admission()
    admission.looked({"cpu-short": 100}, [load(1, 1.0)])
    assert admission.admit("cpu-short", 1, 100.0) is None
    assert admission.admit("cpu-short", 1, 71.0) == pytest.approx(30.0)
    assert admission.admit("cpu-short", 1, 100.9) == 1.0, "never at once"


def test_what_was_stored_since_the_last_look_counts_until_the_next_one() -> None:
    admission = Admission()
    admission.looked({"cpu-short": 0}, [load(1, 1.0)])
    assert admission.admit("cpu-short", 1000, 60.0) is None
    assert admission.admit("cpu-short", 1, 60.0) == pytest.approx(940.0)
    admission.looked({"cpu-short": 10}, [load(1, 1.0)])
    assert admission.admit("cpu-short", 1, 60.0) is None


def test_a_full_lane_sends_nobody_away_from_another() -> None:
    admission = Admission()
    admission.looked({"cpu-short": 10**6, "io-long": 1}, [load(1, 1.0)])
    assert admission.admit("cpu-short", 1, 60.0) is not None
    assert admission.admit("io-long", 1, 60.0) is None


@pytest.mark.parametrize("loads", [[], [load(0, 1.0)], [load(2, 0.0)], [{}]])
def test_what_nobody_can_judge_is_accepted(loads: list[dict[str, LaneLoad]]) -> None:
    admission = Admission()
    admission.looked({"cpu-short": 10**9}, loads)
    assert admission.admit("cpu-short", 1, 1.0) is None
    assert Admission().admit("cpu-short", 1, 1.0) is None
