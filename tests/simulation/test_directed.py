"""Each story of `directed.py` is clean with the repairs, and breaks as soon as its own repair is switched off."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.simulation

ROOT = Path(__file__).parents[2]
BREAKS = {  # story -> what its mutant breaks
    "A1": "I3",
    "A2": "I5",
    "A3": "I5",
    "A4": "I4",
    "A5": "I4",
    "A6": "I17",
    "A7": "I14",
    "A7b": "I14",
    "A8": "I1",
    "B2": "I15",
    "B6": "I15",
    "B10": "I3",
    "C3": "I6",
    "E1": "I16",
}


def play(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: strings must hash alike, and a mutant stays in the process that it ran in."""
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("story", BREAKS)
def test_the_repaired_node_gets_through_the_story(story: str) -> None:
    run = play("--case", story)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(("story", "invariant"), BREAKS.items())
def test_without_its_repair_the_story_ends_badly(story: str, invariant: str) -> None:
    run = play("--case", story, "--mutant", story)
    assert run.returncode == 1, run.stderr
    broken = re.search(r"(\S+) is broken", run.stdout)
    assert broken is not None, run.stdout + run.stderr
    assert broken[1] == invariant
