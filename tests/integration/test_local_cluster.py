"""`quorate up` and everything that a user does next, on real processes and a real broker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

HANDLERS = """
from executor import handler


@handler
def add(a, b):
    return a + b


@handler(retry=None)
def boom():
    raise ValueError("no")
"""


def quorate(folder: Path, *arguments: str, code: int = 0) -> Any:
    """Runs the command in `folder`; returns the JSON that it printed."""
    words = [sys.executable, "-m", "cluster.cli.main", *arguments, "--json"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, timeout=150, check=False
    )
    assert ended.returncode == code, ended.stderr + ended.stdout
    return json.loads(ended.stdout) if ended.stdout.strip() else ended.stderr


def test_a_local_cluster_from_up_to_down(tmp_path: Path, kafka: str, topic_prefix: str) -> None:
    (tmp_path / "sums.py").write_text(HANDLERS)
    folder = str(tmp_path / "cluster")
    up = (
        "up",
        "--nodes",
        "3",
        "--dir",
        folder,
        "--handlers",
        "sums",
        "--kafka",
        kafka,
        "--prefix",
        topic_prefix,
    )
    try:
        first = quorate(tmp_path, *up)
        assert set(first) == {"kafka", "broker_pid", "nodes"}
        assert [set(node) for node in first["nodes"]] == [
            {"name", "pid", "peer", "api", "web", "data_dir"}
        ] * 3
        assert quorate(tmp_path, *up) == first, "a second up finds everything running"

        key = quorate(tmp_path, "submit", "add", "--args", "[1, 2]", "--dir", folder)["key"]
        assert quorate(tmp_path, "wait", str(key), "--dir", folder)[0]["state"] == "done"
        assert quorate(tmp_path, "result", str(key), "--dir", folder) == {"key": key, "result": 3}

        dead = quorate(tmp_path, "submit", "boom", "--dir", folder)["key"]
        assert "ValueError" in quorate(tmp_path, "result", str(dead), "--dir", folder, code=1)
        assert "nope" in quorate(tmp_path, "submit", "nope", "--dir", folder, code=2)

        tasks = tmp_path / "tasks.jsonl"
        tasks.write_text("".join(json.dumps({"args": [number, 1]}) + "\n" for number in range(600)))
        from_file = ("submit", "add", "--file", str(tasks), "--dir", folder)
        assert quorate(tmp_path, *from_file)["submitted"] == 600
        again = quorate(tmp_path, *from_file)
        assert (again["submitted"], again["resumed"]) == (0, 600)

        views = quorate(tmp_path, "nodes", "--dir", folder)
        assert sorted(view["name"] for view in views) == ["node1", "node2", "node3"]
        assert len({view["leader"] for view in views}) == 1
    finally:
        ended = quorate(tmp_path, "down", "--dir", folder)
    assert sorted(ended["ended"]) == ["node1", "node2", "node3"]
    assert quorate(tmp_path, "down", "--dir", folder) == {"ended": []}
