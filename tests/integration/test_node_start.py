"""`quorate node` with something missing: one sentence on stderr, in seconds, and a code."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def node(folder: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    options = {
        "listen": free_address(),
        "api": free_address(),
        "kafka": "127.0.0.1:1",
        "handlers": "cluster.demo_handlers",
        "data-dir": str(folder / "data"),
    } | changes
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return subprocess.run(
        [sys.executable, "-m", "cluster.cli.main", "node", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_no_broker_is_said_in_one_sentence(tmp_path: Path) -> None:
    ended = node(tmp_path)
    assert ended.returncode == 3, ended.stderr
    assert "no Kafka broker answers at 127.0.0.1:1" in ended.stderr.splitlines()[-1]


def test_a_module_that_cannot_be_imported_is_named(tmp_path: Path, kafka: str) -> None:
    ended = node(tmp_path, kafka=kafka, handlers="no_such_module")
    assert ended.returncode != 0
    assert "no_such_module" in ended.stderr.splitlines()[-1]


@pytest.mark.parametrize("options", ["guarantee='at-most-once'", "guarantee='exactly-once', check=print"])
def test_a_guarantee_that_a_node_cannot_keep_yet_is_refused(tmp_path: Path, kafka: str, options: str) -> None:
    (tmp_path / "careful.py").write_text(
        f"from executor import handler\n@handler({options})\ndef pay(): pass\n"
    )
    ended = node(tmp_path, kafka=kafka, handlers="careful")
    assert ended.returncode == 2, ended.stderr
    assert "handler 'pay': guarantee '" in ended.stderr.splitlines()[-1]
    assert "not available in a cluster yet" in ended.stderr.splitlines()[-1]


def test_a_peer_port_in_use_is_named(tmp_path: Path, kafka: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = node(tmp_path, kafka=kafka, listen=address)
    assert ended.returncode != 0
    assert address in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


def test_a_wrong_setting_is_refused_by_name(tmp_path: Path) -> None:
    ended = node(tmp_path, listen="nowhere")
    assert ended.returncode == 2
    assert "--listen" in ended.stderr


def test_certificates_that_are_missing_are_named(tmp_path: Path) -> None:
    ended = node(tmp_path, **{"tls-dir": str(tmp_path / "none")})
    assert ended.returncode == 2, ended.stderr
    assert "ca.crt" in ended.stderr.splitlines()[-1]
    assert "quorate certs" in ended.stderr.splitlines()[-1]


def test_an_address_beyond_this_machine_wants_certificates(tmp_path: Path) -> None:
    ended = node(tmp_path, listen="192.0.2.1:7000")
    assert ended.returncode == 2, ended.stderr
    assert "quorate certs" in ended.stderr.splitlines()[-1]
