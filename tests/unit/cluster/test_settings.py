"""Settings: flags win over the environment, that over the TOML file; wrong ones are refused by name."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.cli.main import app
from cluster.errors import SettingsError
from cluster.settings import read_settings

pytestmark = pytest.mark.unit

FILE = 'listen = "127.0.0.1:7000"\nkafka = "from-file"\nhandlers = ["a", "b"]\ndata-dir = "d"\nworkers = 3\n'
KNOWN = {"listen", "kafka", "handlers", "data_dir", "workers"}


def test_a_file_is_read_and_lists_are_joined(tmp_path: Path) -> None:
    (tmp_path / "q.toml").write_text(FILE)
    assert read_settings(tmp_path / "q.toml", KNOWN) == {
        "listen": "127.0.0.1:7000",
        "kafka": "from-file",
        "handlers": "a,b",
        "data_dir": "d",
        "workers": "3",
    }


def test_a_switch_in_a_file_is_true_or_false(tmp_path: Path) -> None:
    (tmp_path / "q.toml").write_text("insecure = true\njoin = false\n")
    switches = {"insecure", "join"}
    assert read_settings(tmp_path / "q.toml", switches, switches) == {"insecure": "true", "join": "false"}
    (tmp_path / "q.toml").write_text(FILE + 'join = "yes"\n')
    ended = CliRunner().invoke(app, ["node", "--config", str(tmp_path / "q.toml")])
    assert ended.exit_code == 2
    assert "join must be true or false" in ended.stderr


@pytest.mark.parametrize(("value", "said"), [("true", "--join needs --peers"), ("false", "--kafka has")])
def test_a_switch_of_the_file_reaches_the_node(tmp_path: Path, value: str, said: str) -> None:
    (tmp_path / "q.toml").write_text(
        FILE.replace("from-file", "h:1" if value == "true" else "nowhere") + f"join = {value}\n"
    )
    ended = CliRunner(env={"QUORATE_KAFKA": ""}).invoke(app, ["node", "--config", str(tmp_path / "q.toml")])
    assert ended.exit_code == 2
    assert said in ended.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("listen = ", "no TOML"),
        ("lissten = 1", "lissten"),
        ("workers = true", "workers"),
        ("[kafka]\na = 1", "kafka"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "q.toml").write_text(text)
    with pytest.raises(SettingsError, match=said):
        read_settings(tmp_path / "q.toml", KNOWN)


def test_an_unreadable_file_is_refused_by_name(tmp_path: Path) -> None:
    ended = CliRunner().invoke(app, ["node", "--config", str(tmp_path / "none.toml")])
    assert ended.exit_code == 2
    assert "none.toml" in ended.stderr


@pytest.mark.parametrize(
    ("environment", "flags", "winner"),
    [
        ({}, [], "from-file"),
        ({"QUORATE_KAFKA": "from-env"}, [], "from-env"),
        ({"QUORATE_KAFKA": "e"}, ["--kafka", "flag"], "flag"),
    ],
)
def test_flags_win_over_the_environment_over_the_file(
    tmp_path: Path, environment: dict[str, str], flags: list[str], winner: str
) -> None:
    (tmp_path / "q.toml").write_text(FILE)
    ended = CliRunner(env={"QUORATE_KAFKA": ""} | environment).invoke(
        app, ["node", "--config", str(tmp_path / "q.toml"), *flags]
    )
    assert ended.exit_code == 2
    assert f"--kafka has '{winner}'" in ended.stderr
