"""Bad input on the command line: one sentence on stderr, exit 2 when refused, 3 when nobody answers."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.cli.main import app
from cluster.cli.task_file import TaskFile
from cluster.errors import Refused, SettingsError
from cluster.local_cluster import LocalCluster

pytestmark = pytest.mark.unit

NODE = ["node", "--listen", "h:1", "--kafka", "h:2", "--handlers", "m", "--data-dir", "d"]


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["submit", "add", "--args", "{", "--api", "h:1"], "--args is no JSON"),
        (["submit", "add", "--args", "3", "--api", "h:1"], "list or an object"),
        (["submit", "--api", "h:1"], "NAME"),
        (["submit", "add"], "QUORATE_API"),
        (["submit", "add", "--api", "nowhere"], "host:port"),
        (["submit", "--file", "missing.jsonl", "--api", "h:1"], "missing.jsonl"),
        (["status", "1", "--api", "h:1", "--dir", "d"], "--dir"),
        (["nodes", "--dir", "empty"], "quorate up"),
        (["down", "--dir", "empty"], "quorate up"),
        ([*NODE, "--acks", "2"], "--acks"),
        ([*NODE, "--api", "h:1"], "--listen"),
        ([*NODE, "--prefix", "a b"], "--prefix"),
        ([*NODE, "--peers", "nonsense"], "--peers"),
        ([*NODE, "--sync", "never"], "--sync"),
        ([*NODE, "--join"], "--peers"),
        ([*NODE, "--join", "--peers", "h:1"], "--peers"),
        ([*NODE, "--insecure", "--tls-dir", "d"], "--tls-dir"),
        (["member", "list"], "QUORATE_API"),
    ],
)
def test_a_wrong_request_ends_with_2_and_one_sentence(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QUORATE_API", raising=False)
    ended = CliRunner().invoke(app, arguments)
    assert ended.exit_code == 2, ended.output
    assert said in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [["submit", "add", "--wrong"], ["status", "x"], ["status", "0"], ["nonsense"]]
)
def test_an_unknown_option_or_a_key_that_is_no_number_ends_with_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, arguments).exit_code == 2


def test_no_answering_node_ends_with_3() -> None:
    ended = CliRunner().invoke(app, ["nodes", "--api", free_address()])
    assert ended.exit_code == 3
    assert "no node answers" in ended.stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2 is no JSON"),
        ("[]", "line 2: expected an object"),
        ('{"args": []}', "line 2 names no handler"),
        ('{"handler": "x", "args": 1}', "line 2: args must be"),
        ('{"handler": "x", "delay": 1}', "line 2 has 'delay'"),
    ],
)
def test_a_wrong_line_refuses_the_whole_file_by_its_number(line: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_text('{"handler": "x"}\n' + line + "\n")
    with pytest.raises(Refused, match=said):
        TaskFile(path)
    assert not (tmp_path / "tasks.jsonl.quorate").exists()


def test_a_journal_of_other_content_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_text('{"handler": "x"}\n')
    with TaskFile(path):
        pass
    path.write_text('{"handler": "y"}\n')
    with pytest.raises(Refused, match="other content"):
        TaskFile(path)


def test_a_torn_last_record_of_the_journal_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_text('{"handler": "x"}\n')
    with TaskFile(path) as tasks:
        state = tasks.state_path
    whole = state.read_text()
    state.write_text(whole + json.dumps({"drawn": 0, "keys": [1]}) + "\n" + '{"acknow')
    assert TaskFile(path).acknowledged == 0
    assert state.read_text().endswith('"keys": [1]}\n')


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 9}'])
def test_a_damaged_cluster_file_is_a_clear_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text(content)
    with pytest.raises(SettingsError, match=r"cluster\.json"):
        LocalCluster.attach(tmp_path)
