"""What the machine says of itself, also where it says nothing or nonsense."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from executor import gauges

pytestmark = pytest.mark.unit


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A control group and a pressure file of our own; empty at first."""
    monkeypatch.setattr(gauges, "_CGROUP", tmp_path)
    monkeypatch.setattr(gauges, "_PRESSURE", tmp_path / "cpu.pressure")
    return tmp_path


@pytest.mark.parametrize(
    ("quota", "at_most"),
    [("100000 100000", 1), ("10000 100000", 1), ("max 100000", 10_000), ("nonsense", 10_000)],
)
def test_cores_are_bounded_by_affinity_and_quota(group: Path, quota: str, at_most: int) -> None:
    (group / "cpu.max").write_text(quota)
    assert gauges.cores() == min(len(os.sched_getaffinity(0)), at_most)


def test_memory_is_bounded_by_the_group_and_by_the_machine(group: Path) -> None:
    total = psutil.virtual_memory().total
    assert gauges.memory_limit_bytes() == total
    (group / "memory.max").write_text("max\n")
    assert gauges.memory_limit_bytes() == total
    (group / "memory.max").write_text("1000000\n")
    assert gauges.memory_limit_bytes() == 1_000_000
    assert 0 < gauges.own_memory_bytes() < total


def test_pressure_is_read_where_the_kernel_tells_it(group: Path) -> None:
    assert gauges.cpu_pressure() == 0.0
    (group / "cpu.pressure").write_text("some avg10=12.50 avg60=1.00 avg300=0.00 total=1\nfull avg10=0.00\n")
    assert gauges.cpu_pressure() == 12.5
    (group / "cpu.pressure").write_text("")
    assert gauges.cpu_pressure() == 0.0
