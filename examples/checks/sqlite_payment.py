"""A payment in SQLite that happens once: the key of the task is written in the transaction of the payment.

`quorate node .. --handlers examples.checks.sqlite_payment`; the data base is a file on a disk that all nodes share, $SHOP_DB.
"""

import os
import sqlite3

from executor import Context, checks, handler


def connect() -> sqlite3.Connection:
    """mode=rw: a file that is not there is an error, and no new, empty data base that says "not done"."""
    path = os.environ.get("SHOP_DB", "/srv/shop/shop.db")
    return sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=5.0)


paid = checks.sql(connect)


@handler
def record_payment(order: str, cents: int, context: Context) -> None:
    with paid.transaction(context) as connection:
        connection.execute("INSERT INTO payments VALUES (?, ?)", (order, cents))
