"""A figure and its report: median, least and greatest of several runs, with machine and commit beside it."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

import psutil


def figure(
    values: Sequence[float], unit: str, target: float | None = None, *, at_most: bool = False, why: str = ""
) -> dict[str, Any]:
    """`values` of interleaved runs; none at all needs a `why`. `at_most`: the target is a bound from above, as for times and sizes."""
    if not values:
        return {
            "median": None,
            "min": None,
            "max": None,
            "unit": unit,
            "target": target,
            "met": None,
            "why": why,
        }
    median = statistics.median(values)
    met = None if target is None else (median <= target if at_most else median >= target)
    return {
        "median": median,
        "min": min(values),
        "max": max(values),
        "unit": unit,
        "target": target,
        "met": met,
    }


def show(figures: Mapping[str, Any], prefix: str = "") -> None:
    """A line for each figure, for people."""
    for name, one in figures.items():
        if one["median"] is None:
            print(f"{prefix + name:44} not measured: {one['why']}")
            continue
        spread = f"({one['min']:,.4g} to {one['max']:,.4g})"
        met = {True: "met", False: "NOT met", None: ""}[one["met"]]
        target = "" if one["target"] is None else f"target {one['target']:,.6g} {met}"
        print(f"{prefix + name:44} {one['median']:>14,.6g} {one['unit']:6} {spread:28} {target}")


def report(bench: str, runs: int, figures: Mapping[str, Any], peers: Mapping[str, Any]) -> str:
    """One JSON object on one line."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, timeout=10, check=False
    )
    return json.dumps(
        {
            "bench": bench,
            "commit": commit.stdout.strip() or "unknown",
            "when": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "machine": {
                "cores": os.cpu_count(),
                "memory_bytes": psutil.virtual_memory().total,
                "python": platform.python_version(),
                "kernel": platform.release(),
            },
            "runs": runs,
            "figures": figures,
            "peers": peers,
        }
    )
