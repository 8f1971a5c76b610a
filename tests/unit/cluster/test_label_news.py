"""What of a node's labels is worth an entry in everybody's log."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.label_news import worth_telling
from executor import Label, Lane

pytestmark = pytest.mark.unit

SHORT = Label(
    handler="thumb",
    kind="",
    lane=Lane.CPU_SHORT,
    why="p95 <= 50 ms",
    mean_s=0.012,
    p95_s=0.05,
    cpu_s=0.01,
    samples=50,
)
LONG = replace(SHORT, lane=Lane.CPU_LONG, mean_s=0.5, samples=3)


def told(*labels: Label) -> dict[tuple[str, str], Label]:
    return {(label.handler, label.kind): label for label in labels}


def test_a_new_label_is_told_when_it_is_no_guess_any_more() -> None:
    assert worth_telling([replace(SHORT, samples=49)], {}) == []
    assert worth_telling([SHORT], {}) == [SHORT]
    assert worth_telling([replace(LONG, samples=2)], {}) == []
    assert worth_telling([LONG], {}) == [LONG]


def test_a_lane_that_changed_is_told_at_once_and_before_all_else() -> None:
    slower = replace(SHORT, handler="slower", mean_s=0.030)
    assert worth_telling([slower, LONG], told(SHORT, replace(slower, mean_s=0.010))) == [LONG, slower]


@pytest.mark.parametrize(
    ("mean_s", "is_news"), [(0.012, False), (0.0239, False), (0.024, True), (0.0061, False), (0.006, True)]
)
def test_a_mean_is_told_when_it_has_doubled_or_halved(mean_s: float, is_news: bool) -> None:
    assert bool(worth_telling([replace(SHORT, mean_s=mean_s)], told(SHORT))) == is_news


def test_means_below_a_millisecond_are_all_alike() -> None:
    brief = replace(SHORT, mean_s=2e-6)
    assert worth_telling([replace(brief, mean_s=9e-4)], told(brief)) == []


def test_a_label_with_four_times_the_runs_behind_it_is_told_again() -> None:
    assert worth_telling([replace(SHORT, samples=199)], told(SHORT)) == []
    assert worth_telling([replace(SHORT, samples=200)], told(SHORT)) == [replace(SHORT, samples=200)]


def test_a_kind_that_the_table_would_refuse_holds_up_nothing() -> None:
    assert worth_telling([replace(SHORT, kind="k" * 201), LONG], {}) == [LONG]


def test_no_more_than_a_command_is_told_at_once_and_the_rest_later() -> None:
    many = [replace(SHORT, kind=str(number)) for number in range(40)]
    first = worth_telling(many, {})
    assert first == many[:32]
    assert worth_telling(many, told(*first)) == many[32:]


@given(
    st.lists(st.tuples(st.sampled_from(Lane), st.floats(0.0, 10.0), st.integers(0, 300)), max_size=30),
)
def test_what_was_told_is_no_news_and_what_is_kept_back_hardly_differs(
    history: list[tuple[Lane, float, int]],
) -> None:
    known: dict[tuple[str, str], Label] = {}
    for lane, mean_s, samples in history:
        label = replace(SHORT, lane=lane, mean_s=mean_s, samples=samples)
        news = worth_telling([label], known)
        known |= told(*news)
        assert worth_telling([label], known) == []
        if not news and known and samples >= 50:
            [before] = known.values()
            assert before.lane is lane
            assert 0.5 < max(before.mean_s, 1e-3) / max(mean_s, 1e-3) < 2.0
