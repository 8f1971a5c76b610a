"""The SQL of `checks.sql`, and what must be known of a connection without knowing its driver.

Every value in a statement is an integer, a checked scope or a checked table name, so no placeholders are needed, whose form differs
from driver to driver. Drivers are told apart only where it matters: SQLite has one writer, and what commits by itself marks nothing.
"""

from __future__ import annotations

import re
from typing import Any

from executor.checks.identity import require_scope
from executor.context import Context
from executor.errors import HandlerError

TABLE = "quorate_marks"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?\Z")


class SqlText:
    """The statements for one table and scope."""

    def __init__(self, table: str, scope: str) -> None:
        if not _NAME.match(table):
            raise HandlerError(
                f"checks.sql: {table!r} is no plain table name; use letters, digits, underscores"
            )
        self.table = table
        self.scope = require_scope(scope)
        self.create = (
            f"CREATE TABLE IF NOT EXISTS {table} (scope VARCHAR(64) NOT NULL, task_key BIGINT NOT NULL, attempt BIGINT NOT NULL, "
            "marked_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL, PRIMARY KEY (scope, task_key))"
        )

    def insert(self, context: Context) -> str:
        return (
            f"INSERT INTO {self.table} (scope, task_key, attempt) "
            f"VALUES ('{self.scope}', {context.key:d}, {context.attempt:d})"
        )

    def find(self, key: int) -> str:
        return f"SELECT attempt FROM {self.table} WHERE scope = '{self.scope}' AND task_key = {key:d}"

    def twice(self, context: Context) -> str:
        """For people: why the handler must not go on."""
        return f"key {context.key} is in {self.table} already: another attempt of this task was faster"


def is_duplicate(error: BaseException) -> bool:
    """The row is there already. PEP 249 has a class for it, asyncpg another; each driver has its own of that name."""
    names = {each.__name__ for each in type(error).__mro__}
    return bool(names & {"IntegrityError", "UniqueViolationError"})


def is_sqlite(connection: Any) -> bool:
    return "sqlite" in type(connection).__module__


def require_transaction(connection: Any) -> None:
    """Raises HandlerError for a connection that commits each statement by itself: there the mark would stand without the effect."""
    if _commits_itself(connection):
        raise HandlerError(
            "mark() needs the handler's own transaction, but this connection commits each statement by itself: "
            "switch autocommit off, or begin a transaction first"
        )


def _commits_itself(connection: Any) -> bool:
    asyncpg_says = getattr(connection, "is_in_transaction", None)
    if callable(asyncpg_says):
        return not asyncpg_says()
    if is_sqlite(connection):
        commits = (
            getattr(connection, "isolation_level", "") is None
            or getattr(connection, "autocommit", None) is True
        )
        return commits and not getattr(connection, "in_transaction", False)
    if getattr(connection, "autocommit", False) is not True:
        return False
    status = getattr(getattr(connection, "info", None), "transaction_status", 0)
    return int(status) == 0  # psycopg's IDLE: no transaction was begun by hand either
