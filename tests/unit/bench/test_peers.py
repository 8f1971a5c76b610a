"""The load that peers and we get alike, and how a peer's rate is read from its workers."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from bench.open_loop import open_loop
from bench.peers import environments
from bench.peers.counting import count_run, runs
from bench.peers.environments import PeerMissing
from bench.peers.python_peers import PEERS, ROOT, steady_rate

pytestmark = pytest.mark.unit


def test_an_open_loop_keeps_its_rate_when_an_answer_takes_longer_than_a_period() -> None:
    # Given calls that take ten periods, and threads enough
    moments: list[float] = []

    def submit() -> None:
        moments.append(time.monotonic())
        threading.Event().wait(0.05)

    # When 40 are sent, 200 a second
    sent = open_loop(submit, per_s=200, seconds=0.2, threads=20)

    # Then the last was called when it was due, not after those before
    assert (sent.count, sent.failed, len(moments)) == (40, 0, 40)
    assert max(moments) - min(moments) == pytest.approx(39 / 200, abs=0.1)
    assert sent.took_p50_ms >= 50


def test_calls_that_fail_are_counted_and_the_first_is_told() -> None:
    calls = iter(range(100))

    def submit() -> None:
        if next(calls) % 2:
            raise ValueError("refused")

    sent = open_loop(submit, per_s=1000, seconds=0.01, threads=1)
    assert (sent.count, sent.failed, sent.why) == (10, 5, "ValueError('refused')")
    with pytest.raises(RuntimeError, match="none of 10 tasks"):
        open_loop(lambda: 1 / 0, per_s=1000, seconds=0.01, threads=1)


def test_runs_are_counted_by_process_and_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_COUNTS", str(tmp_path))
    for _ in range(3):
        count_run()
    (tmp_path / "another process").write_bytes((4).to_bytes(8, "little"))
    (tmp_path / "one that is starting").touch()
    assert runs(tmp_path) == 7


def test_a_rate_leaves_out_the_start_of_the_workers() -> None:
    # Given a worker that needs two seconds to start and then runs 100 a second
    seen = [(0.0, 0), (2.0, 0), (2.5, 50), (3.0, 100), (7.0, 500)]
    assert steady_rate(seen) == pytest.approx(100.0)
    with pytest.raises(PeerMissing, match="too few"):
        steady_rate([(0.0, 0), (1.0, 10)])


def test_each_peer_has_a_file_of_its_own_and_exact_requirements() -> None:
    for peer in PEERS.values():
        assert (ROOT / peer.module.replace(".", "/")).with_suffix(".py").exists()
        assert all("==" in requirement for requirement in peer.requirements)


def test_what_cannot_be_installed_says_so_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUORATE_CACHE", str(tmp_path))
    monkeypatch.setattr(environments.sys, "executable", str(tmp_path / "no-python"))
    for _ in range(2):
        with pytest.raises(PeerMissing, match=r"nothing==1 could not be installed: .*no-python"):
            environments.environment("nothing", ["nothing==1"])
