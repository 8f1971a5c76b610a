"""cluster.json: what a local cluster remembers of its ports and processes (shell).

A pid is believed only together with its start time: after a reboot it may be somebody else's.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import psutil

from cluster.errors import SettingsError

START_TIME_SLACK_S = 1.0  # resolution of the kernel's start time

NodeState = dict[str, Any]


def read_state(directory: Path) -> dict[str, Any]:
    """cluster.json. Raises `SettingsError` when it is missing or not ours."""
    path = directory / "cluster.json"
    try:
        state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if state["format"] != 1:
            raise SettingsError(f"{path} has format {state['format']}: made by a newer version")
        return state
    except OSError:
        raise SettingsError(
            f"{directory} holds no local cluster: start one with `quorate up --dir`"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise SettingsError(f"{path} is damaged: move it away and run `quorate up` again") from None


def api_addresses(directory: Path) -> str:
    """For `Client`: all nodes of the local cluster in `directory`."""
    return ",".join(node["api"] for node in read_state(directory)["nodes"])


def named(state: dict[str, Any], name: str) -> NodeState:
    """Raises `SettingsError` that lists the names."""
    for node in state["nodes"]:
        if node["name"] == name:
            found: NodeState = node
            return found
    known = ", ".join(node["name"] for node in state["nodes"])
    raise SettingsError(f"no node {name!r} here: known are {known}")


def is_running(node: NodeState) -> bool:
    """The process that we started, not another one under its pid, nor its corpse."""
    if not node["pid"]:
        return False
    try:
        process = psutil.Process(node["pid"])
        same = abs(process.create_time() - node["create_time"]) < START_TIME_SLACK_S
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def last_words(node: NodeState) -> str:
    """The last line of the node's log, for an error."""
    path = Path(node["data_dir"]) / "node.log"
    try:
        with path.open("rb") as log:
            log.seek(max(0, os.path.getsize(path) - 4096))
            lines = log.read().decode(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return f"{lines[-1] if lines else 'it said nothing'} (log: {path})"
