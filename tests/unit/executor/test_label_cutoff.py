"""The relative law: the worked example of the design, and what must hold for any load."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.labels.cutoff import CUTOFFS_S, Load, delay_s, next_cutoff, slowdown
from executor.pools.reserve import reserve

pytestmark = pytest.mark.unit


def exponential(rate_s: float, mean_s: float, p95_s: float) -> Load:
    is_long = tuple(p95_s > cutoff_s for cutoff_s in CUTOFFS_S)
    return Load(rate_s=rate_s, mean_s=mean_s, square_s2=2 * mean_s**2, is_long=is_long)


THUMB, PDF, TRAIN = (
    exponential(100, 0.012, 0.05),
    exponential(10, 0.150, 0.8),  # 450 ms, in the bucket up to 800
    exponential(0.6, 4.0, 12.8),
)
EXAMPLE = [THUMB, PDF, TRAIN]

loads = st.lists(
    st.builds(
        lambda rate_s, mean_s, step, spread: Load(
            rate_s=rate_s,
            mean_s=mean_s,
            square_s2=spread * mean_s**2,
            is_long=tuple(step > number for number in range(len(CUTOFFS_S))),
        ),
        st.floats(0.01, 500.0),
        st.floats(1e-6, 20.0),
        st.integers(0, len(CUTOFFS_S)),
        st.floats(1.0, 50.0),
    ),
    max_size=6,
)


def test_the_example_has_the_reserves_and_delays_of_the_design() -> None:
    assert reserve(slots=8, short=1.2, long=3.9) == 3
    assert reserve(slots=8, short=2.7, long=2.4) == 5
    assert delay_s([THUMB], 3) == pytest.approx(0.0012, rel=0.05)
    assert delay_s([PDF, TRAIN], 5) == pytest.approx(1.24, rel=0.01)
    assert delay_s([THUMB, PDF], 5) == pytest.approx(0.0085, rel=0.02)
    assert delay_s([TRAIN], 3) == pytest.approx(4.4, rel=0.01)
    assert slowdown(EXAMPLE, CUTOFFS_S.index(0.1), 8) == pytest.approx(0.84, abs=0.005)
    assert slowdown(EXAMPLE, CUTOFFS_S.index(0.8), 8) == pytest.approx(0.65, abs=0.005)


def test_the_cut_off_of_the_example_climbs_to_800_ms_and_stays() -> None:
    path, cutoff_s = [], 0.1
    while (move := next_cutoff(EXAMPLE, cutoff_s, 8)) is not None:
        cutoff_s = move[0]
        path.append(cutoff_s)
        assert len(path) < 10
    assert path == [0.2, 0.4, 0.8]


def test_in_a_flood_long_work_is_not_called_short() -> None:
    # Given three slots for long work, always busy, and a few short tasks beside.
    flood = [exponential(2.7, 1.0, 1.6), exponential(10.0, 0.005, 0.0125), exponential(0.001, 60.0, 200.0)]
    # Then no line is tried, though with one of 1.6 s both lanes would keep up.
    assert slowdown(flood, CUTOFFS_S.index(1.6), 4) < math.inf
    assert all(next_cutoff(flood, cutoff_s, 4) is None for cutoff_s in CUTOFFS_S[:-1])


def test_no_line_is_tried_above_which_nothing_is_long() -> None:
    # Given only one handler, which is better off with all slots than with those for long work.
    alone = [exponential(5.0, 0.15, 0.8)]
    assert slowdown(alone, CUTOFFS_S.index(0.8), 3) < 0.5 * slowdown(alone, CUTOFFS_S.index(0.1), 3)
    # Then it stays long all the same: short ones may come at any time.
    assert next_cutoff(alone, 0.1, 3) is None


def test_when_tasks_hardly_wait_the_line_goes_back_to_where_it_began() -> None:
    idle, path, cutoff_s = [exponential(0.1, 0.01, 0.05)], [], 1.6
    while (move := next_cutoff(idle, cutoff_s, 8)) is not None:
        cutoff_s = move[0]
        path.append(cutoff_s)
    assert path == [0.8, 0.4, 0.2, 0.1]
    assert next_cutoff([], 0.025, 8) == (0.05, "tasks hardly wait: mean slowdown 0.000")


def test_nothing_moves_where_tasks_hardly_wait() -> None:
    idle = [exponential(0.1, 0.01, 0.05), exponential(0.01, 0.3, 0.8)]
    assert next_cutoff(idle, 0.1, 8) is None
    assert next_cutoff([], 0.1, 8) is None


def test_the_line_comes_down_when_short_tasks_wait_behind_longer_ones() -> None:
    loads = [exponential(200.0, 0.002, 0.0125), exponential(8.0, 0.3, 0.8)]
    assert next_cutoff(loads, 0.8, 4) is not None
    assert next_cutoff(loads, 0.1, 4) is None


@given(loads, st.integers(2, 64), st.sampled_from(CUTOFFS_S))
def test_a_move_is_one_step_towards_a_line_that_is_a_tenth_better(
    some: list[Load], slots: int, cutoff_s: float
) -> None:
    move = next_cutoff(some, cutoff_s, slots)
    if move is None:
        return
    step, to = CUTOFFS_S.index(cutoff_s), CUTOFFS_S.index(move[0])
    found = [slowdown(some, other, slots) for other in range(len(CUTOFFS_S))]
    assert abs(to - step) == 1
    assert math.isfinite(found[to])
    assert math.isfinite(found[step])
    if found[step] < 0.05:
        assert abs(to - CUTOFFS_S.index(0.1)) < abs(step - CUTOFFS_S.index(0.1))
    else:
        assert min(found[to:] if to > step else found[: to + 1]) <= 0.9 * found[step]
        # What was kept apart stays so.
        assert any(load.is_long[to] for load in some) or not any(load.is_long[step] for load in some)


@given(st.floats(0.0, 30.0), st.integers(1, 20))
def test_one_server_waits_as_long_as_pollaczek_and_khinchine_say(rate_s: float, times: int) -> None:
    load = exponential(rate_s, 0.03, 0.1)
    rho = rate_s * 0.03
    naive = rho / (1 - rho) * 0.03 if rho < 1 else math.inf
    assert delay_s([load], 1) == pytest.approx(naive)
    # And more servers never make it longer.
    assert delay_s([load], times + 1) <= delay_s([load], times)
