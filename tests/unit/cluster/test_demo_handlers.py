"""The demo's job counts what stands in a file and leaves one row for each run."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from cluster.demo_handlers import UNPARSABLE, SyntaxCounts, count_syntax, counts_of
from executor import Context

pytestmark = pytest.mark.unit


def _rows(database: Path) -> list[tuple[int, str, int]]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT key, path, functions FROM effects ORDER BY id").fetchall()


def test_functions_classes_lines_and_nodes_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "sample.py"
    file.write_text("class A:\n    def f(self): ...\n    async def g(self): ...\n", encoding="utf-8")
    counts = counts_of(file)
    assert counts[:3] == (2, 1, 3)
    assert counts.nodes > 5


@pytest.mark.parametrize("content", [b"def broken(:\n", b"\xff\xfe\x00", b"x = '\x00'\n"])
def test_a_file_that_does_not_parse_is_counted_as_minus_one(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "bad.py"
    file.write_bytes(content)
    assert counts_of(file) == UNPARSABLE == SyntaxCounts(-1, -1, -1, -1)


def test_a_second_run_of_the_same_key_leaves_a_second_row(tmp_path: Path) -> None:
    file, database = tmp_path / "a.py", tmp_path / "effects.sqlite"
    file.write_text("def f(): ...\n", encoding="utf-8")
    context = Context(key=7, attempt=1, handler="count_syntax")
    count_syntax(str(file), str(database), context=context)
    count_syntax(str(file), str(database), context=context)
    assert _rows(database) == [(7, str(file), 1)] * 2


def test_a_file_that_cannot_be_read_fails_the_task(tmp_path: Path) -> None:
    context = Context(key=7, attempt=1, handler="count_syntax")
    with pytest.raises(FileNotFoundError):
        count_syntax(str(tmp_path / "none.py"), str(tmp_path / "effects.sqlite"), context=context)
