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
    values: Sequence[float], unit: str, target: float | None = None, *, why: str = ""
) -> dict[str, Any]:
    """`values` of interleaved runs; none at all needs a `why`."""
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
    met = None if target is None else median >= target
    return {
        "median": median,
        "min": min(values),
        "max": max(values),
        "unit": unit,
        "target": target,
        "met": met,
    }


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
