"""What a flood is judged by: waits of short tasks, and the work that long ones got."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import lanes, latency
from bench.flood import Flood, long_work, read_flood, throughput_kept
from bench.measurement import report
from bench.moments import Event, Moment, note, read_moments

pytestmark = pytest.mark.unit

S = 1_000_000_000
LANES_FIGURES = {
    "short_wait_p50_ms",
    "short_wait_p99_ms",
    "cold_short_wait_p99_ms",
    "long_throughput_kept",
}
LATENCY_FIGURES = {"start_p50_ms_200", "start_p99_ms_200", "start_p50_ms_1000", "start_p99_ms_1000"}


def flood(longs: list[tuple[float, float | None]], *, ended: float = 10.0, submitted: int = 200) -> Flood:
    return Flood(shorts=[], briefs=[], longs=longs, longs_submitted=submitted, not_started=0, ended=ended)


def test_moments_come_back_as_they_were_noted_and_half_a_record_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "moments"
    note(str(file), Event.LONG_STARTED, 7)
    note(str(file), Event.LONG_ENDED, 7)
    file.write_bytes(file.read_bytes() + b"\x00" * 5)
    seen = read_moments(file)
    assert [(one.event, one.number) for one in seen] == [(Event.LONG_STARTED, 7), (Event.LONG_ENDED, 7)]
    assert seen[0].at_ns <= seen[1].at_ns
    assert read_moments(tmp_path / "none") == []


def test_a_wait_runs_from_the_submit_call_to_the_first_start() -> None:
    # Given short tasks submitted at 1 s and 2 s, the first of which ran twice
    moments = [
        Moment(Event.SHORT_STARTED, 11 * S, 11 * S + S // 2),
        Moment(Event.SHORT_STARTED, 12 * S, 15 * S),
        Moment(Event.SHORT_STARTED, 11 * S, 16 * S),
    ]

    # When they are read
    found = read_flood(moments, shorts=[11 * S, 12 * S], longs=0, began_ns=10 * S, ended_ns=20 * S)

    # Then each waited until it began first, and those submitted later can be looked at alone
    assert found.shorts == [(1.0, 0.5), (2.0, 3.0)]
    assert (found.waits_s(), found.waits_s(since=1.5), found.not_started) == ([0.5, 3.0], [3.0], 0)


def test_a_task_that_has_not_started_has_waited_until_the_end() -> None:
    late = Moment(Event.SHORT_STARTED, 12 * S, 21 * S)
    found = read_flood([late], shorts=[11 * S, 12 * S], longs=0, began_ns=10 * S, ended_ns=20 * S)
    assert (found.waits_s(), found.not_started) == ([8.0, 9.0], 2)


def test_long_tasks_under_way_count_by_their_part() -> None:
    one = flood([(0.0, 1.0), (1.0, 3.0), (3.0, None)])
    assert long_work(one, 1.0, typical_s=1.0) == 1.0
    assert long_work(one, 2.0, typical_s=1.0) == pytest.approx(1.5)  # half of what lasted two seconds
    assert long_work(one, 3.75, typical_s=1.0) == pytest.approx(2.5)  # they last 1.5 s in the mean


def test_throughput_is_compared_while_both_runs_had_long_tasks_left() -> None:
    # Given four tasks that alone were done after 2 s, and beside short ones only after 4
    alone = flood([(0.0, 1.0), (0.0, 1.0), (1.0, 2.0), (1.0, 2.0)], submitted=4)
    beside = flood([(0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, 4.0)], submitted=4)

    # Then idling after the end is not counted against the faster run
    assert alone.long_done_at == 2.0
    assert throughput_kept(beside, alone, typical_s=1.0) == pytest.approx(0.5)
    assert throughput_kept(alone, alone, typical_s=1.0) == 1.0


def test_a_flood_is_not_over_while_tasks_wait_even_if_none_runs() -> None:
    assert flood([(0.0, 1.0)], submitted=2).long_done_at is None


def test_lanes_and_latency_report_each_figure_of_their_rows_without_a_broker() -> None:
    figures = lanes.own_figures(lanes.Values(list), {"": "no broker: no Java"})
    assert figures.keys() >= LANES_FIGURES
    assert figures["short_wait_p99_ms"]["why"] == "no broker: no Java"
    figures = latency.own_figures(latency.Values(list), "no broker: no Java")
    assert figures.keys() >= LATENCY_FIGURES
    assert json.loads(report("latency", 1, figures, {}))["figures"]["start_p50_ms_200"]["median"] is None


def test_a_peer_that_is_missing_is_reported_with_the_reason() -> None:
    peers = latency.peer_figures({"huey": latency.Values(list)}, {"huey": "no Redis"})
    assert peers["huey"]["start_p99_ms_1000"]["why"] == "no Redis"
