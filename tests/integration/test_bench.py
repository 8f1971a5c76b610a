"""The benches run: each load once, as short as it can be, on small ledgers. What they measure is not judged here."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from bench import charts, failover, flood_charts, latency, ledger
from bench.big_ledger import big_ledger, put_on_disk
from bench.grounds import ExecutorGround
from bench.node_group import NodeGroup
from bench.peers.grpc_calls import Calls
from bench.peers.python_peers import noop_tasks_per_s, start_latencies
from bench.scenarios import LONG_TASKS, SCENARIOS, let_loose

pytestmark = pytest.mark.integration

TINY = ledger.Plan(runs=1, claims_s=0.2, other_s=0.1, idle_s=0.1, stall_s=0.1)


def test_three_nodes_answer_every_load_of_the_ledger_bench(tmp_path: Path) -> None:
    values = ledger.Values(list)
    ledger.measure_own(TINY, tmp_path / "own", values)
    assert values["failed_calls"] == [0]
    assert min(values["claims_per_s_64"] + values["claims_per_s_64_follower"]) > 0
    assert min(values["marks_per_s"] + values["marks_per_s_interleaved"]) > 0
    assert not (tmp_path / "own").exists()


def test_stock_pysyncobj_answers_the_same_load(tmp_path: Path) -> None:
    values = ledger.Values(list)
    ledger.measure_stock(TINY, tmp_path / "stock", "immediate", values)
    assert values["calls_per_s_64"][0] > 0


def test_nodes_start_from_a_ledger_that_was_put_on_disk(tmp_path: Path) -> None:
    group = NodeGroup(ledger.OWN, tmp_path / "big", str(ledger.SNAPSHOT_NEVER_S))
    sections = big_ledger(dense=1000, scattered=100)
    for address in group.addresses:
        put_on_disk(sections, directory=group.data_directory(address), node=address, founders=group.addresses)
    with group:
        counts = {node.ask("counts")["executed"] for node in group.nodes.values()}
    assert counts == {1100}


def test_a_killed_leader_is_followed_by_an_answer(tmp_path: Path) -> None:
    [silence] = failover.own_silences(1, tmp_path / "failover")
    assert 0 < silence < failover.ANSWER_WITHIN_S


def test_calls_over_grpc_are_counted_when_they_succeed_and_when_they_fail() -> None:
    # Given a server that refuses every second request
    seen: list[bytes] = []

    def put(request: bytes, context: grpc.ServicerContext) -> bytes:
        seen.append(request)
        if len(seen) % 2 == 0:
            context.abort(grpc.StatusCode.UNAVAILABLE, "no leader")
        return b"\x0a\x00"

    with ThreadPoolExecutor(1) as workers:
        server = grpc.server(workers)
        handler = grpc.unary_unary_rpc_method_handler(put)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("bench.Calls", {"Put": handler}),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()

        # When four callers send for a moment
        calls = Calls(f"127.0.0.1:{port}", "/bench.Calls/Put", iter([b"request"] * 100_000))
        answered = calls.run(callers=4, seconds=0.2)
        server.stop(None).wait()

    # Then each request has ended, half of them well
    assert len(answered.latencies_s) + answered.failed == len(seen)
    assert abs(len(answered.latencies_s) - answered.failed) <= 1
    assert set(seen) == {b"request"}


def test_each_task_of_the_latency_bench_starts_once_submitted(kafka: str, tmp_path: Path) -> None:
    plan = latency.Plan(runs=1, seconds=0.3, nodes=(1,), peers=())
    values = latency.Values(list)
    latency.measure_own(plan, 1, tmp_path / "latency", kafka, values)
    assert values["start_p99_ms_200"][0] >= values["start_p50_ms_200"][0] > 0
    assert values["start_p50_ms_1000"][0] > 0
    assert not (tmp_path / "latency").exists()


def test_a_flood_on_the_executor_alone_is_judged_and_drawn(tmp_path: Path) -> None:
    with ExecutorGround() as ground:
        run = let_loose(ground, SCENARIOS["bimodal"], tmp_path / "moments", short_s=0.5)
    assert len(run.flood.shorts) == len(run.flood.briefs) == 5
    assert 1 <= len(run.flood.longs) <= LONG_TASKS
    assert sum(run.samples[-1].processes.values()) >= 1
    said = flood_charts.draw_flood(run, "bimodal", tmp_path)
    assert said == charts.NOT_INSTALLED or (tmp_path / "flood-waits-bimodal.svg").exists()


@pytest.mark.slow
def test_a_peer_runs_tasks_in_an_environment_of_its_own() -> None:
    rate = noop_tasks_per_s("huey", quick=True)
    assert isinstance(rate, float), rate
    assert rate > 100
    assert len(start_latencies("huey", [50], 0.5)[50]) == 25
