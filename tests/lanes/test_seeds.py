"""Hundreds of drawn workloads, half of them new with each commit, break no law; and each law has a judge that would notice.

`python -m tests.lanes --seed n --trace` plays one again.
"""

from __future__ import annotations

import re
import subprocess
import sys
import zlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.lanes.mutants import MUTANTS
from tests.lanes.run import play_seed

pytestmark = [pytest.mark.simulation, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
FIXED_SEEDS = 66
FRESH_SEEDS = 66

# rule that is switched off -> seeds of workloads in which that shows
SHOWN_BY = {
    "no reserve": (0, 1, 2),
    "no re-badging": (1, 0, 9),
    "overruns teach nothing": (10, 21, 32, 43),
    "no spares": (9, 31, 42, 53, 8),
    "spares stay": (10, 73),
    "no ageing": (4, 15, 26, 37, 48, 13),
    "long work only when nothing short waits": (87, 98),
    "returned tasks are forgotten": (9, 20, 31),
    "no limits": (7, 18),
    "lane limits do not hold": (34, 40, 51, 62, 73),
    "blocked for ever": (6, 17),
    "memory is not guarded": (5, 16),
    "no hard time-outs": (18, 16, 7, 29),
    "unknown is not bounded": (8, 19),
    "unknown waits for known": (0, 1),
    "sent behind anything": (8, 9, 19),
    "labels move no queue": (0, 1),
    "niced runners idle": (0, 1, 2),
    "the silent are awaited": (47, 3, 14, 25, 36, 58),
    "nothing is recalled": (9, 20),
    "dead runners are not replaced": (3, 14),
}


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.lanes", "--jobs", "2", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def fresh_start() -> int:
    """A first seed that changes with each commit; without git, each day."""
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    name = git.stdout.strip() if git.returncode == 0 else datetime.now(UTC).date().isoformat()
    return 10_000 + zlib.crc32(name.encode()) % 1_000_000


@pytest.mark.parametrize(("start", "count"), [(0, FIXED_SEEDS), (fresh_start(), FRESH_SEEDS)])
def test_no_workload_breaks_a_law(start: int, count: int) -> None:
    run = simulate("--start", str(start), "--seeds", str(count))
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{count} seeds" in run.stdout
    looked_at = dict(re.findall(r"(L\d+) (\d+)", run.stdout.split("checks:")[1]))
    assert len(looked_at) == 14, f"a judge had nothing to judge: {looked_at}"


@pytest.mark.parametrize("mutant", sorted(MUTANTS))
def test_a_rule_that_is_switched_off_is_noticed(mutant: str) -> None:
    whys = [play_seed(seed, mutant=mutant).why for seed in SHOWN_BY[mutant]]
    assert any(whys), f"{mutant}: no judge complains in seeds {SHOWN_BY[mutant]}"


def test_a_seed_is_one_run() -> None:
    for seed in (2, 6, 9):
        told: list[list[str]] = [[], []]
        for lines in told:
            play_seed(seed, trace=lines.append)
        assert told[0] == told[1]
