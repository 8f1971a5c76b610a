"""A payment in PostgreSQL that happens once, as a function and as a coroutine: `pip install psycopg`, $SHOP_DSN.

The time-outs end a check whose data base hangs, and a second attempt that waits for the open transaction of a paused one.
"""

import os
from typing import Any

import psycopg

from executor import Context, checks, handler

OPTIONS: dict[str, Any] = {"connect_timeout": 5, "options": "-c statement_timeout=10s"}


def dsn() -> str:
    return os.environ.get("SHOP_DSN", "dbname=shop")


paid = checks.sql(lambda: psycopg.connect(dsn(), **OPTIONS))
paid_async = checks.async_sql(lambda: psycopg.AsyncConnection.connect(dsn(), **OPTIONS))


@handler
def pay(order: str, cents: int, context: Context) -> None:
    with paid.transaction(context) as connection:
        connection.execute("INSERT INTO payments VALUES (%s, %s)", (order, cents))


@handler
async def pay_async(order: str, cents: int, context: Context) -> None:
    async with paid_async.transaction(context) as connection:
        await connection.execute("INSERT INTO payments VALUES (%s, %s)", (order, cents))


@handler
def pay_in_my_own_transaction(order: str, cents: int, context: Context) -> None:
    """Where connections come from elsewhere, such as a pool or another library, `mark` is all that is needed."""
    with psycopg.connect(
        dsn(), **OPTIONS
    ) as connection:  # commits at its end, rolls back if something is raised
        paid.mark(connection, context)
        connection.execute("INSERT INTO payments VALUES (%s, %s)", (order, cents))
