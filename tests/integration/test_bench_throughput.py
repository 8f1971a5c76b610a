"""The benches of throughput run, each as short as it can be. What they measure is not judged here."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import submit
from bench.ceiling import TUNED, ceiling_tasks_per_s
from bench.drain import drain

pytestmark = pytest.mark.integration


def test_a_node_drains_a_queue_that_was_filled_before(kafka: str, tmp_path: Path) -> None:
    drained = drain(kafka, tmp_path / "one", nodes=1, workers=2, tasks=20_000)
    assert drained.tasks_per_s > 0
    assert drained.cpu_us_per_task > 0


def test_the_bare_loop_runs_every_record_once(kafka: str) -> None:
    assert ceiling_tasks_per_s(kafka, 20_000) > 0
    assert ceiling_tasks_per_s(kafka, 20_000, TUNED) > 0


def test_submits_are_counted_through_the_api_and_in_the_own_process(kafka: str, tmp_path: Path) -> None:
    size = submit.Size(rounds=1, many=submit.EMBEDDED_TASKS, ones=5)
    measured = submit.measure(kafka, tmp_path, size)
    assert min(measured.api_per_s, measured.api_running_per_s, measured.embedded_per_s) > 0
    assert len(measured.one_ms) == 5
