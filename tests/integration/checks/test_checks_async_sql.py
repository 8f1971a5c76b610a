"""checks.async_sql with psycopg, aiosqlite and asyncpg: the same row as checks.sql, for coroutines."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from executor import HandlerError, checks
from executor.checks import AlreadyMarked, Answer, ask, ask_async
from tests.integration.checks.attempts import task
from tests.integration.checks.parts import driver
from tests.integration.checks.postgres_server import PostgresServer

pytestmark = pytest.mark.integration
EFFECTS = "CREATE TABLE IF NOT EXISTS effects (task_key BIGINT)"


@pytest.fixture(params=["aiosqlite", "psycopg", "asyncpg"])
def connect(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Any]:
    """Gives a new asynchronous connection."""
    if request.param == "aiosqlite":
        aiosqlite = driver("aiosqlite")
        return lambda: aiosqlite.connect(tmp_path / "shop.db")
    server: PostgresServer = request.getfixturevalue("postgres_server")
    if request.param == "psycopg":
        psycopg = driver("psycopg")
        return lambda: psycopg.AsyncConnection.connect(server.dsn)
    asyncpg = driver("asyncpg")
    return lambda: asyncpg.connect(host=str(server.folder), user="quorate", database="postgres")


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(main)


def test_the_mark_and_the_effect_are_committed_together_once(connect: Callable[[], Any]) -> None:
    check = checks.async_sql(connect, scope=uuid.uuid4().hex)

    async def pay(attempt: int, *, fails: bool = False) -> None:
        async with check.transaction(task(1, attempt)) as connection:
            await connection.execute(EFFECTS)
            await connection.execute("INSERT INTO effects VALUES (1)")
            if fails:
                raise ConnectionError("on the way")

    async def story() -> list[Answer]:
        answers = [(await ask_async(check, task(1))).answer]
        with pytest.raises(ConnectionError):
            await pay(1, fails=True)
        answers.append((await ask_async(check, task(1))).answer)
        await pay(2)
        answers.append((await ask_async(check, task(1))).answer)
        with pytest.raises(AlreadyMarked):
            await pay(3)
        return answers

    assert run(story()) == [Answer.NOT_DONE, Answer.NOT_DONE, Answer.DONE]
    assert ask(check, task(1)).answer is Answer.DONE  # from a process or thread too


def test_an_open_transaction_of_an_earlier_attempt_excludes_the_next(postgres_server: PostgresServer) -> None:
    psycopg = driver("psycopg")
    check = checks.async_sql(lambda: psycopg.AsyncConnection.connect(postgres_server.dsn), scope="late")

    async def story() -> Answer:
        async with check.transaction(task(1, 1)):
            assert (await ask_async(check, task(1))).answer is Answer.NOT_DONE
            second = asyncio.create_task(_enter(check, 2))
            async with await psycopg.AsyncConnection.connect(postgres_server.dsn, autocommit=True) as watch:
                while not (
                    await (
                        await watch.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
                    ).fetchone()
                ):
                    assert not second.done()
        with pytest.raises(AlreadyMarked):
            await second
        return (await ask_async(check, task(1))).answer

    assert run(story()) is Answer.DONE


async def _enter(check: checks.async_sql, attempt: int) -> None:
    async with check.transaction(task(1, attempt)):
        pass


def test_a_connection_without_a_transaction_is_refused(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    asyncpg, aiosqlite = driver("asyncpg"), driver("aiosqlite")
    psycopg = driver("psycopg")

    async def story() -> None:
        for opened in (
            asyncpg.connect(host=str(postgres_server.folder), user="quorate", database="postgres"),
            psycopg.AsyncConnection.connect(postgres_server.dsn, autocommit=True),
            aiosqlite.connect(tmp_path / "x.db", isolation_level=None),
        ):
            connection = await opened
            check = checks.async_sql(lambda: None)
            with pytest.raises(HandlerError, match="own transaction"):
                await check.mark(connection, task(1))
            await connection.close()

    run(story())


def test_marks_of_both_forms_are_understood_by_both(tmp_path: Path) -> None:
    aiosqlite = driver("aiosqlite")
    path = tmp_path / "shop.db"
    plain = checks.sql(lambda: sqlite3.connect(path))
    coroutines = checks.async_sql(lambda: aiosqlite.connect(path))
    with plain.transaction(task(1)):
        pass
    assert run(ask_async(coroutines, task(1))).answer is Answer.DONE
    assert run(ask_async(plain, task(2))).answer is Answer.NOT_DONE


def test_a_data_base_that_is_down_or_silent_is_unknown(tmp_path: Path) -> None:
    psycopg = driver("psycopg")
    down = checks.async_sql(lambda: psycopg.AsyncConnection.connect(f"host={tmp_path}", connect_timeout=2))
    assert run(ask_async(down, task(1))).answer is Answer.UNKNOWN

    async def never() -> None:
        await asyncio.Event().wait()

    answer, why = run(ask_async(checks.async_sql(never), task(1), timeout_s=0.1))
    assert answer is Answer.UNKNOWN
    assert why == "the check did not answer within 0.1 s"
