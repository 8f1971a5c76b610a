"""The demo's real job: count the syntax of one Python file and leave one row of evidence for each effect.

A row is written on every run, also on a second one: the table shows what really happened, and `cluster.audit` judges it. Files that do
not parse (the standard library ships some on purpose) are counted as -1; for them too the task succeeds.
"""

from __future__ import annotations

import ast
import contextlib
import sqlite3
import tokenize
import warnings
from pathlib import Path
from typing import NamedTuple

from executor import Context, handler

BUSY_TIMEOUT_S = (
    30.0  # all workers of all nodes write to one file: one of them waits for the others' short transactions
)
TABLE = """CREATE TABLE IF NOT EXISTS effects (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key INTEGER NOT NULL,
    path TEXT NOT NULL,
    functions INTEGER NOT NULL,
    classes INTEGER NOT NULL,
    lines INTEGER NOT NULL,
    nodes INTEGER NOT NULL
)"""


class SyntaxCounts(NamedTuple):
    functions: int
    classes: int
    lines: int
    nodes: int


UNPARSABLE = SyntaxCounts(-1, -1, -1, -1)


@handler(name="count_syntax")
def count_syntax(path: str, database: str, context: Context) -> None:
    """Raises `OSError` when the file cannot be read and `sqlite3.Error` when the row cannot be stored: the task fails."""
    counts = counts_of(Path(path))
    with contextlib.closing(open_effects(database)) as connection, connection:
        connection.execute(
            "INSERT INTO effects (key, path, functions, classes, lines, nodes) VALUES (?, ?, ?, ?, ?, ?)",
            (context.key, path, *counts),
        )


def counts_of(path: Path) -> SyntaxCounts:
    try:
        with tokenize.open(path) as file:  # honours the file's coding line
            text = file.read()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old files hold invalid escapes: not our matter
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return UNPARSABLE
    functions = classes = nodes = 0
    for node in ast.walk(tree):
        nodes += 1
        functions += isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        classes += isinstance(node, ast.ClassDef)
    return SyntaxCounts(functions, classes, text.count("\n"), nodes)


def open_effects(database: str | Path) -> sqlite3.Connection:
    """A connection to the effects, with the table in place. `synchronous=NORMAL` survives killed processes."""
    connection = sqlite3.connect(database, timeout=BUSY_TIMEOUT_S)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(TABLE)
    except BaseException:
        connection.close()
        raise
    return connection
