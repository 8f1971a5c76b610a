"""What a bench reports: medians with their spread, a verdict on the target, and never a figure left out."""

from __future__ import annotations

import json
import queue
import threading
from concurrent.futures import Future

import pytest

from bench import failover, ledger
from bench.callers import Answered, closed_loop, percentile, windowed
from bench.failover_tasks import Failover, judge_failover
from bench.measurement import figure, report
from bench.peers.etcd import MISSING, put_requests

pytestmark = pytest.mark.unit

LEDGER_FIGURES = {  # the row of FIGURES
    "marks_per_s",
    "claims_per_s_64",
    "claim_p50_ms_1",
    "claim_p99_ms_1",
    "ratio_to_etcd_puts_64",
    "ratio_to_stock_pysyncobj",
    "snapshot_bytes_1e9",
    "restart_s_1e9",
    "rss_bytes_1e9",
}
FAILOVER_FIGURES = {
    "ledger_answers_again_s",
    "ledger_answers_again_s_max",
    "submits_answered_again_s",
    "executions_resumed_s",
    "lost",
    "doubled_exactly_once",
}


def test_a_figure_is_the_median_with_its_spread() -> None:
    one = figure([3.0, 1.0, 2.0], "1/s", 1.5)
    assert (one["median"], one["min"], one["max"], one["met"]) == (2.0, 1.0, 3.0, True)


def test_a_time_meets_its_target_from_below() -> None:
    assert figure([2.0], "s", 3.0, at_most=True)["met"] is True
    assert figure([4.0], "s", 3.0, at_most=True)["met"] is False


def test_a_figure_without_values_says_why() -> None:
    one = figure([], "s", 3.0, why="no disk")
    assert (one["median"], one["met"], one["why"]) == (None, None, "no disk")


def test_a_percentile_is_a_value_that_was_measured() -> None:
    ordered = [float(value) for value in range(1, 101)]
    assert (percentile(ordered, 50), percentile(ordered, 99), percentile([7.0], 99)) == (51.0, 100.0, 7.0)


def test_the_longest_gap_is_found_whoever_was_answered() -> None:
    answered = Answered.of(2.0, [1.0, 0.1, 1.1], [0.2, 0.1, 0.3], failed=0)
    assert answered.longest_gap_s == pytest.approx(0.9)
    assert answered.latencies_s == [0.1, 0.2, 0.3]


def test_a_caller_has_one_call_on_the_way_and_failures_are_counted() -> None:
    running = threading.Semaphore(2)
    calls = iter(range(10_000_000))

    def call() -> None:
        assert running.acquire(blocking=False)
        try:
            if next(calls) % 2:
                raise RuntimeError
        finally:
            running.release()

    answered = closed_loop(call, threads=2, seconds=0.02)
    assert answered.latencies_s
    assert abs(answered.failed - len(answered.latencies_s)) <= 1


def test_a_window_is_kept_full_and_no_fuller() -> None:
    sent: queue.SimpleQueue[Future[None]] = queue.SimpleQueue()
    most = [0]

    def answer() -> None:
        first_window = [sent.get() for _ in range(3)]  # hangs unless three are on the way unanswered
        most[0] = len(first_window) + sent.qsize()
        for future in first_window:
            future.set_result(None)
        while True:
            sent.get().set_result(None)

    def send() -> Future[None]:
        future: Future[None] = Future()
        sent.put(future)
        return future

    threading.Thread(target=answer, daemon=True).start()
    assert windowed(send, window=3, seconds=0.02).failed == 0
    assert most == [3]


def test_the_ledger_reports_each_figure_of_its_row_without_etcd() -> None:
    # Given the runs of a machine without etcd
    own, stock, nothing = ledger.Values(list), ledger.Values(list), ledger.Values(list)
    for name in ("claims_per_s_64", "claim_p50_ms_1"):
        own[name].append(10.0)
    stock["calls_per_s_64"].append(5.0)

    # When they are reported
    figures = ledger.own_figures(own, nothing, stock)
    peers = ledger.peer_figures({"": stock}, {"": nothing})
    said = json.loads(report("ledger", 1, figures, peers))

    # Then nothing is left out and what is missing says why
    assert said["figures"].keys() >= LEDGER_FIGURES
    assert said["figures"]["ratio_to_stock_pysyncobj"]["median"] == 2.0
    assert said["figures"]["ratio_to_etcd_puts_64"]["why"] == MISSING
    assert said["peers"]["stock_pysyncobj"]["calls_per_s_64"]["unit"] == "1/s"
    assert said.keys() == {"bench", "commit", "when", "machine", "runs", "figures", "peers"}


def test_failover_reports_each_figure_of_its_row_without_a_broker() -> None:
    figures = failover.figures_of([0.2, 0.9]) | failover.task_figures([], "no broker: no Java")
    assert figures.keys() >= FAILOVER_FIGURES
    assert figures["ledger_answers_again_s_max"]["median"] == 0.9
    assert figures["lost"]["why"] == "no broker: no Java"


def test_a_failover_is_judged_by_what_was_asked_after_the_kill() -> None:
    # Given a kill at second 10; key 4 waits for the dead node's partition, key 3 runs twice, key 5 never
    asked_at = {1: 9.9, 2: 10.0, 3: 10.1, 4: 10.2, 5: 10.3, 6: 12.0}
    runs = [(1, 9.95), (2, 10.5), (3, 10.6), (3, 10.7), (4, 13.0), (6, 12.1)]
    answers = [(9.9, 9.91), (9.99, 10.01), (10.0, 10.4), (10.1, 10.3)]

    # When it is judged
    found = judge_failover(answers, asked_at, runs, killed_at=10.0, tasks_per_s=1.0)

    # Then answers to what was asked before do not count, and the slowest partition does
    assert found.submits_answered_again_s == pytest.approx(0.3)
    assert found.executions_resumed_s == pytest.approx(3.0)
    assert found.executions_pause_s == pytest.approx(1.5)
    assert (found.lost, found.run_twice) == (1, 1)


def test_a_lost_task_misses_the_target() -> None:
    one = Failover(
        tasks_per_s=1.0,
        submits_answered_again_s=0.1,
        executions_resumed_s=0.1,
        executions_pause_s=0.1,
        lost=1,
        run_twice=0,
    )
    assert failover.task_figures([one], "")["lost"]["met"] is False


def test_etcd_is_asked_to_put_another_key_each_time() -> None:
    requests = put_requests(b"v")
    first, second = next(requests), next(requests)
    assert first != second
    assert first[0] == 0x0A  # field 1, bytes: the key
    assert first[2:].startswith(b"claim/")
    assert first[-3:] == b"\x12\x01v"  # field 2, bytes: the value
