"""Two nodes with certificates, a third that joins by command, a founder that is removed; then the two that are left go on."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.client import Client

pytestmark = pytest.mark.integration
WITHIN_S = 60.0


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def quorate(*words: str) -> Any:
    """What the command prints with --json."""
    ended = subprocess.run(
        [sys.executable, "-m", "cluster.cli.main", *words, "--json"],
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


class Nodes:
    """Real node processes; each has its log in the folder."""

    def __init__(self, folder: Path, kafka: str, prefix: str) -> None:
        self.folder, self.kafka, self.prefix = folder, kafka, prefix
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.apis: dict[str, str] = {}

    def start(self, listen: str, *options: str) -> None:
        name = listen.replace(":", "-")
        self.apis.setdefault(listen, free_address())
        words = [
            "--listen",
            listen,
            "--api",
            self.apis[listen],
            "--kafka",
            self.kafka,
            "--prefix",
            self.prefix,
        ]
        words += [
            "--handlers",
            "cluster.demo_handlers",
            "--data-dir",
            str(self.folder / name),
            "--workers",
            "1",
        ]
        words += ["--tls-dir", str(self.folder / "tls"), *options]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[listen] = subprocess.Popen(
                [sys.executable, "-m", "cluster.cli.main", "node", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            )

    def await_ready(self, *listens: str) -> None:
        deadline = time.monotonic() + WITHIN_S
        with Client(",".join(self.apis[listen] for listen in listens)) as client:
            while {view.peer for view in client.nodes() if view.ready} != set(listens):
                assert time.monotonic() < deadline, self.logs()
                assert all(self.running[listen].poll() is None for listen in listens), self.logs()
                time.sleep(0.1)

    def stop(self, listen: str) -> None:
        process = self.running.pop(listen)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def logs(self) -> str:
        return "\n".join(f"{path.name}: {path.read_text()[-2000:]}" for path in self.folder.glob("*.log"))


@pytest.fixture
def nodes(tmp_path: Path, kafka: str, topic_prefix: str) -> Iterator[Nodes]:
    started = Nodes(tmp_path, kafka, topic_prefix)
    yield started
    for process in started.running.values():
        process.kill()
        process.wait()


def test_a_node_joins_by_one_command_and_a_founder_leaves_by_another(nodes: Nodes) -> None:
    # Given
    first, second, third = (free_address() for _ in range(3))
    tls = str(nodes.folder / "tls")
    quorate("certs", "ca", "--dir", tls)
    for listen in (first, second, third):
        quorate("certs", "node", listen, "--dir", tls)
    founders = f"{first},{second}"
    nodes.start(first, "--peers", founders)
    nodes.start(second, "--peers", founders)
    nodes.await_ready(first, second)
    api = f"{nodes.apis[first]},{nodes.apis[second]}"
    # When
    nodes.start(third, "--join", "--peers", founders)
    assert quorate("member", "add", third, "--api", api)["group"] == sorted([first, second, third])
    # Then
    nodes.await_ready(first, second, third)
    members = quorate("member", "list", "--api", nodes.apis[third])
    assert [member["node"] for member in members] == sorted([first, second, third])
    assert [member["is_leader"] for member in members].count(True) == 1
    # When
    left = sorted([second, third])
    assert quorate("member", "remove", first, "--api", nodes.apis[third])["group"] == left
    nodes.stop(first)
    # Then: the two are a group of their own, also after a restart
    with Client(nodes.apis[third]) as client:
        client.submit("count_syntax", __file__, str(nodes.folder / "effects.db")).wait(WITHIN_S)
    nodes.stop(second)
    nodes.stop(third)
    nodes.start(second, "--peers", founders)
    nodes.start(third, "--peers", founders)
    nodes.await_ready(second, third)
    assert [member["node"] for member in quorate("member", "list", "--api", nodes.apis[second])] == left
