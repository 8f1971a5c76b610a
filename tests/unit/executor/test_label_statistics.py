"""Decayed sums and histogram: against a naive twin that keeps every run with its weight, and the edges one by one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.labels.statistics import EDGES_S, Statistics, bucket
from executor.task import Sample

pytestmark = pytest.mark.unit

walls_s = st.floats(1e-7, 5_000.0)
samples = st.builds(
    lambda wall_s, share: Sample(
        wall_s=wall_s,
        cpu_s=wall_s * share,
        blocked_s=wall_s * (1 - share),
        run_queue_s=wall_s * share / 2,
        io_s=wall_s / 3,
        memory_bytes=round(4096 * (share - 0.5)),
    ),
    walls_s,
    st.floats(0.0, 1.0),
)
batches = st.lists(st.tuples(st.floats(0.0, 500.0), st.lists(samples, max_size=10)), max_size=12)


def wall(wall_s: float) -> Sample:
    return Sample(wall_s=wall_s, cpu_s=wall_s)


class NaiveTwin:
    """Every run with what is left of its weight."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, Sample]] = []
        self.last_s = 0.0
        self.seconds = self.runs = 0.0

    def add(self, added: list[Sample], now: float) -> None:
        if not added:
            return
        self.seconds += now - self.last_s
        self.runs += len(added)
        half_lives = min(self.seconds / 60, self.runs / 200)
        self.seconds = min(self.seconds - 60 * half_lives, 6.0)
        self.runs = min(self.runs - 200 * half_lives, 20.0)
        self.last_s = now
        fade = 2.0**-half_lives
        self.rows = [(weight * fade, sample) for weight, sample in self.rows] + [(1.0, s) for s in added]

    def weight(self) -> float:
        return sum(weight for weight, _ in self.rows)

    def mean(self, column: int) -> float:
        return sum(weight * sample[column] for weight, sample in self.rows) / max(1.0, self.weight())

    def longer_than(self, edge_s: float) -> float:
        return sum(weight for weight, sample in self.rows if sample.wall_s > edge_s)


@given(batches)
def test_sums_and_quantiles_are_those_of_all_runs_weighed_one_by_one(
    given_batches: list[tuple[float, list[Sample]]],
) -> None:
    statistics, twin, now = Statistics(), NaiveTwin(), 0.0
    for pause_s, added in given_batches:
        now += pause_s
        statistics.add(added, len(added), now)
        twin.add(added, now)
        assert statistics.weight == pytest.approx(twin.weight())
        assert statistics.mean_s == pytest.approx(twin.mean(0))
        assert statistics.cpu_s == pytest.approx(twin.mean(1))
        assert statistics.blocked_s == pytest.approx(twin.mean(2), rel=1e-6, abs=1e-12)
        assert statistics.run_queue_s == pytest.approx(twin.mean(3), rel=1e-6, abs=1e-12)
        assert statistics.io_s == pytest.approx(twin.mean(4), rel=1e-6, abs=1e-12)
        assert statistics.memory_bytes == pytest.approx(twin.mean(5), rel=1e-6, abs=1e-6)
        assert statistics.square_s2 == pytest.approx(
            sum(weight * sample.wall_s**2 for weight, sample in twin.rows) / max(1.0, twin.weight())
        )
        assert statistics.share_above(0.1) * max(1.0, twin.weight()) == pytest.approx(
            twin.longer_than(0.1), rel=1e-6, abs=1e-9
        )
        p95_s = statistics.quantile_s(0.95)
        if twin.rows:
            # At most a twentieth is longer than p95, and more than that is longer than half of it: it is the nearest edge.
            assert p95_s == EDGES_S[-1] or twin.longer_than(p95_s) <= 0.05 * twin.weight() * (1 + 1e-6)
            assert p95_s == EDGES_S[0] or twin.longer_than(p95_s / 2) >= 0.05 * twin.weight() * (1 - 1e-6)


@given(walls_s)
def test_a_run_is_in_the_bucket_of_the_first_edge_that_is_not_shorter(wall_s: float) -> None:
    naive = next((number for number, edge_s in enumerate(EDGES_S) if wall_s <= edge_s), len(EDGES_S) - 1)
    assert bucket(wall_s) == naive


def test_every_threshold_is_an_edge() -> None:
    for threshold_s in (0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2):
        assert threshold_s in EDGES_S
        assert EDGES_S[bucket(threshold_s)] == threshold_s


def test_p95_of_few_runs_is_the_longest_of_them() -> None:
    statistics = Statistics()
    statistics.add([wall(0.001)] * 18 + [wall(0.3)], 19, 0.0)
    assert statistics.quantile_s(0.95) == 0.4
    statistics.add([wall(0.001)] * 2, 2, 0.0)
    assert statistics.quantile_s(0.95) < 0.002


def test_what_is_old_fades_by_time_when_runs_are_many_and_by_runs_when_they_are_few() -> None:
    busy, quiet = Statistics(), Statistics()
    # Given a past of long runs.
    busy.add([wall(1.0)] * 10_000, 10_000, 0.0)
    quiet.add([wall(1.0)] * 1_000, 1_000, 0.0)
    # When 10,000 short ones come within a minute, and when 200 come within a week.
    for number in range(100):
        busy.add([wall(0.001)] * 100, 100, 0.6 * (number + 1))
    for number in range(200):
        quiet.add([wall(0.001)], 1, 3_000.0 * number)
    # Then half of the past is left in both.
    assert busy.share_above(0.5) == pytest.approx(5_000 / (5_000 + 10_000 / (2 * math.log(2))), rel=0.02)
    assert quiet.share_above(0.5) == pytest.approx(500 / (500 + 100 / math.log(2)), rel=0.02)


def test_runs_in_bursts_fade_as_fast_as_runs_one_by_one() -> None:
    bursts, even = Statistics(), Statistics()
    for statistics in (bursts, even):
        statistics.add([wall(1.0)] * 100, 100, 0.0)
    for second in range(600):
        bursts.add([wall(0.01)], 1, float(second))
        for _ in range(9):
            bursts.add([wall(0.01)], 1, float(second))
        for part in range(10):
            even.add([wall(0.01)], 1, second + part / 10)
    assert bursts.share_above(0.5) == pytest.approx(even.share_above(0.5), rel=0.1)


def test_the_first_run_after_a_pause_does_not_wipe_out_what_was_before() -> None:
    statistics = Statistics()
    for number in range(1_000):
        statistics.add([wall(1.0)], 1, number / 100)
    weight = statistics.weight
    statistics.add([wall(1.0)], 1, 100_000.0)
    assert statistics.weight > 0.9 * weight


def test_a_long_run_counts_before_it_has_ended_and_then_only_once() -> None:
    statistics = Statistics()
    statistics.add([wall(0.01)] * 3, 3, 0.0)
    # When one runs for 0.2 s and is not over.
    statistics.start_long(0.2)
    # Then it is part of what is expected.
    assert statistics.quantile_s(0.95) == 0.2
    assert statistics.mean_s == pytest.approx(0.23 / 4)
    assert statistics.weight == 4
    # When a short one ends, it is not that one; when one of 7 s ends, it is.
    assert not statistics.end_long(0.01)
    assert statistics.end_long(7.0)
    statistics.add([wall(7.0)], 1, 7.0)
    assert statistics.weight == pytest.approx(4, rel=0.1)
    assert not statistics.end_long(7.0)


def test_open_long_runs_are_bounded() -> None:
    statistics = Statistics()
    for number in range(1_000):
        statistics.start_long(0.2 + number)
    assert statistics.weight == 64
    statistics.forget_open()
    assert statistics.is_empty


def test_the_estimate_is_the_third_quartile_of_few_runs_and_the_mean_of_many() -> None:
    statistics = Statistics()
    assert statistics.estimate_s is None
    statistics.add([wall(0.001), wall(0.002), wall(0.003), wall(1.0)], 4, 0.0)
    assert statistics.estimate_s == 0.003
    statistics.add([wall(0.002)] * 16, 16, 0.0)
    assert statistics.estimate_s == pytest.approx(statistics.mean_s)


def test_after_a_restart_only_the_last_runs_are_true() -> None:
    statistics = Statistics()
    statistics.add([wall(0.001)] * 5_000, 80_000, 0.0)
    statistics.add([wall(2.0)] * 3, 3, 1.0)
    assert statistics.mean_s < 0.01
    statistics.restart(3)
    assert statistics.mean_s == pytest.approx(2.0)
    assert statistics.weight == 3
    assert statistics.runs == 80_003


def test_the_weights_stay_numbers_however_long_it_runs() -> None:
    statistics = Statistics()
    for number in range(2_500):
        statistics.add([wall(0.01)] * 100, 100, 100.0 * number)
    assert statistics.weight == pytest.approx(100 / (1 - 2 ** (-1 / 2)), rel=1e-6)
    assert statistics.mean_s == pytest.approx(0.01)


def test_a_batch_without_samples_counts_its_runs_only() -> None:
    statistics = Statistics()
    statistics.add([], 64, 0.0)
    assert (statistics.runs, statistics.samples, statistics.quantile_s(0.95)) == (64, 0, 0.0)
