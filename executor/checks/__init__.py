"""Did it happen? Checks of exactly-once handlers: `@handler(guarantee="exactly-once", check=checks.sql(connect))`. See docs/checks.md."""

from executor.checks.answer import Check
from executor.checks.asking import ask, ask_async
from executor.checks.async_sql_check import AsyncSqlCheck as async_sql
from executor.checks.callback_check import CallbackCheck as callback
from executor.checks.callback_check import as_check
from executor.checks.email_check import EmailCheck as email
from executor.checks.file_check import FileCheck as file
from executor.checks.http_check import HttpCheck as http
from executor.checks.sql_check import SqlCheck as sql
from executor.errors import AlreadyMarked
from executor.task import Answer, CheckResult

__all__ = [
    "AlreadyMarked",
    "Answer",
    "Check",
    "CheckResult",
    "as_check",
    "ask",
    "ask_async",
    "async_sql",
    "callback",
    "email",
    "file",
    "http",
    "sql",
]
