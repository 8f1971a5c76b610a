"""`checks.sql(connect)`: the handler writes its key into a table, in the same transaction as its effect.

Either both are in the data base or neither, so the row answers for the effect. The key is unique in the table: of two attempts, one commits
and the other is refused together with its effect, however late it comes. So the check excludes late effects by itself: it is fencing.

    paid = checks.sql(lambda: psycopg.connect(DSN))

    def pay(order, context):
        with paid.transaction(context) as connection:
            connection.execute("INSERT INTO payments ..")

Any DB-API driver will do; it is the user's own. For coroutines: `checks.async_sql`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

from executor.checks.sql_text import TABLE, SqlText, is_duplicate, is_sqlite, require_transaction
from executor.checks.trouble import unknown
from executor.context import Context
from executor.errors import AlreadyMarked
from executor.task import Answer, CheckResult


class SqlCheck:
    """`connect()` gives a new DB-API connection to the data base of the effect; it should have a connect and a statement time-out."""

    is_fencing = True
    settle_s = 0.0

    def __init__(self, connect: Callable[[], Any], *, table: str = TABLE, scope: str = "") -> None:
        self._connect = connect
        self._text = SqlText(table, scope)
        self._is_prepared = False

    def __repr__(self) -> str:
        return f"checks.sql(table={self._text.table!r}, scope={self._text.scope!r})"

    @contextmanager
    def transaction(self, context: Context) -> Iterator[Any]:
        """A connection of `connect()` with the mark in it: committed with what the block does, rolled back if the block raises.

        Raises AlreadyMarked like `mark`.
        """
        with closing(self._connect()) as connection:
            try:
                self.mark(connection, context)
                yield connection
                connection.commit()
            except BaseException:
                with suppress(
                    Exception
                ):  # a connection that is lost has rolled back; what was raised first is what matters
                    connection.rollback()
                raise

    def mark(self, connection: Any, context: Context) -> None:
        """Writes the key in the transaction of `connection`, which the handler commits together with its effect.

        Raises AlreadyMarked if the key is there: let it pass, so that the transaction is rolled back. Waits while another attempt has
        an open transaction with the same key. Raises HandlerError for a connection that commits by itself.
        """
        require_transaction(connection)
        if is_sqlite(connection):
            # One writer: a second connection would wait for this transaction, so the table is made in it, where that is undone with it.
            _execute(connection, self._text.create)
        elif not self._is_prepared:
            self.prepare()
        try:
            _execute(connection, self._text.insert(context))
        except Exception as error:
            if is_duplicate(error):
                raise AlreadyMarked(self._text.twice(context)) from error
            raise

    def prepare(self) -> None:
        """Makes the table if it is missing. Called by itself when first needed; call it where tables are made if the handler may not."""
        with closing(self._connect()) as connection:
            self._prepare(connection)

    def _prepare(self, connection: Any) -> None:
        try:
            _execute(connection, self._text.create)
            connection.commit()
        except Exception:  # perhaps another process made it in the same moment, or we may only use it
            connection.rollback()
            _execute(connection, self._text.find(0))
            connection.rollback()
        self._is_prepared = True

    def __call__(self, context: Context, /, *args: object, **kwargs: object) -> CheckResult:
        """DONE if the row is there. Any trouble with the data base is UNKNOWN."""
        try:  # what a driver raises is known to the driver only
            with closing(self._connect()) as connection:
                self._prepare(connection)
                row = _execute(connection, self._text.find(context.key)).fetchone()
        except Exception as error:
            return unknown(f"the table {self._text.table} could not be asked", error)
        return read_row(row, self._text)


def read_row(row: Any, text: SqlText) -> CheckResult:
    """The answer of what `find` gave."""
    if row is None:
        return CheckResult(Answer.NOT_DONE, f"no row in {text.table}")
    return CheckResult(Answer.DONE, f"written to {text.table} by attempt {row[0]}")


def _execute(connection: Any, statement: str) -> Any:
    cursor = connection.cursor()
    cursor.execute(statement)
    return cursor
