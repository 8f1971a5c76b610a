"""The demo keeps its word: a killed leader costs no task."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest


def _standard_library_files() -> int:
    root = Path(sysconfig.get_path("stdlib"))
    return sum("site-packages" not in path.parts and path.is_file() for path in root.rglob("*.py"))


@pytest.mark.integration
@pytest.mark.timeout(200)
def test_the_demo_kills_the_leader_and_loses_nothing(tmp_path: Path) -> None:
    # Given the demo's own cluster of three, with one task for each file of the standard library
    command = [
        sys.executable,
        "-m",
        "cluster.cli.main",
        "demo",
        "--json",
        "--directory",
        str(tmp_path / "demo"),
    ]

    # When it runs to its end
    finished = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)

    # Then Kafka, the ledger and the effects agree
    assert finished.returncode == 0, finished.stderr[-4000:]
    report = json.loads(finished.stdout)
    assert report["lost"] == 0
    assert report["dead"] == 0
    assert report["submitted"] == report["executed"] == _standard_library_files()
    assert report["effects"] >= report["submitted"]
    assert report["effects"] - report["doubled_effects"] == report["submitted"]
    assert report["seconds_without_leader"] > 0, "the leader was not killed"
