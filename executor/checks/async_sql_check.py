"""`checks.async_sql(connect)`: `checks.sql` for coroutines, with psycopg's AsyncConnection, aiosqlite or asyncpg.

The same table, the same row: a handler may be rewritten from one form to the other, and marks of both are understood by both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from executor.checks.sql_check import read_row
from executor.checks.sql_text import TABLE, SqlText, is_duplicate, is_sqlite, require_transaction
from executor.checks.trouble import unknown
from executor.context import Context
from executor.errors import AlreadyMarked
from executor.task import CheckResult


class AsyncSqlCheck:
    """`connect()` gives a new connection, or what must be awaited to get one: `lambda: psycopg.AsyncConnection.connect(DSN)`."""

    is_fencing = True
    settle_s = 0.0

    def __init__(self, connect: Callable[[], Any], *, table: str = TABLE, scope: str = "") -> None:
        self._connect = connect
        self._text = SqlText(table, scope)
        self._is_prepared = False

    def __repr__(self) -> str:
        return f"checks.async_sql(table={self._text.table!r}, scope={self._text.scope!r})"

    @asynccontextmanager
    async def transaction(self, context: Context) -> AsyncIterator[Any]:
        """A connection of `connect()` with the mark in it: committed with what the block does, rolled back if the block raises."""
        async with self._opened() as connection:
            begin = getattr(connection, "transaction", None)
            if begin is not None:  # psycopg and asyncpg
                async with begin():
                    await self.mark(connection, context)
                    yield connection
                return
            try:
                await self.mark(connection, context)
                yield connection
                await connection.commit()
            except BaseException:
                with suppress(Exception):  # what was raised first is what matters
                    await connection.rollback()
                raise

    async def mark(self, connection: Any, context: Context) -> None:
        """Writes the key in the transaction of `connection`. Raises as `checks.sql` does, AlreadyMarked above all: let it pass."""
        require_transaction(connection)
        if is_sqlite(connection):
            await connection.execute(self._text.create)
        elif not self._is_prepared:
            await self.prepare()
        try:
            await connection.execute(self._text.insert(context))
        except Exception as error:
            if is_duplicate(error):
                raise AlreadyMarked(self._text.twice(context)) from error
            raise

    async def prepare(self) -> None:
        """Makes the table if it is missing. Called by itself when first needed."""
        async with self._opened() as connection:
            await self._prepare(connection)

    async def _prepare(self, connection: Any) -> None:
        try:
            await connection.execute(self._text.create)
            await _commit(connection)
        except Exception:  # perhaps another process made it in the same moment, or we may only use it
            await _rollback(connection)
            await _first_row(connection, self._text.find(0))
            await _rollback(connection)
        self._is_prepared = True

    async def __call__(self, context: Context, /, *args: object, **kwargs: object) -> CheckResult:
        """DONE if the row is there. Any trouble with the data base is UNKNOWN."""
        try:
            async with self._opened() as connection:
                await self._prepare(connection)
                row = await _first_row(connection, self._text.find(context.key))
        except Exception as error:
            return unknown(f"the table {self._text.table} could not be asked", error)
        return read_row(row, self._text)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Any]:
        connection = await self._connect()
        try:
            yield connection
        finally:
            await connection.close()


async def _first_row(connection: Any, statement: str) -> Any:
    fetch = getattr(connection, "fetchrow", None)
    if fetch is not None:  # asyncpg has no cursors outside of transactions
        return await fetch(statement)
    cursor = await connection.execute(statement)
    return await cursor.fetchone()


async def _commit(connection: Any) -> None:
    if hasattr(connection, "commit"):  # asyncpg outside of a transaction commits each statement
        await connection.commit()


async def _rollback(connection: Any) -> None:
    if hasattr(connection, "rollback"):
        await connection.rollback()
