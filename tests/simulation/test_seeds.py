"""A hundred runs of a minute each, half of them new with each commit; and the same seed is the same run.

Each runs in a process of its own kind (`python -m tests.simulation`), because a seed means one run only where strings hash alike. A failure
prints its seed: `make simulate SEED=n` plays it again, with `ARGS=--trace` step by step, with `ARGS=--shrink` with fewer faults.
"""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

pytestmark = [pytest.mark.simulation, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
FIXED_SEEDS = 50
FRESH_SEEDS = 50


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def commit() -> str:
    """Names this state of the project; without git, the day."""
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return git.stdout.strip() if git.returncode == 0 else datetime.now(UTC).date().isoformat()


def test_a_hundred_seeds_break_no_promise() -> None:
    run = simulate("--seeds", str(FIXED_SEEDS), "--fresh", str(FRESH_SEEDS), "--of", commit(), "--jobs", "2")
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{FIXED_SEEDS + FRESH_SEEDS} seeds" in run.stdout


def test_the_same_seed_is_the_same_run_in_another_process() -> None:
    first, second = (re.search(r"digest (\S+),", simulate("--seed", "3").stdout) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first[1] == second[1]


def test_a_repair_that_is_switched_off_is_found() -> None:
    run = simulate("--mutant", "C2b", "--seeds", "20", "--jobs", "1", "--first")
    assert run.returncode == 1
    assert re.search(r"I[68] is broken", run.stdout)


def test_the_unmodified_library_fails() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.simulation.stock", "--seeds", "30", "--first"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1, run.stdout + run.stderr
    assert re.search(r"seed \d+: I\d+", run.stdout)
