"""checks.sql against a SQLite file and a real PostgreSQL: the row answers for the effect, and of two attempts one is refused."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from executor import HandlerError, TaskCancelled, checks
from executor.checks import AlreadyMarked, Answer, ask
from tests.integration.checks.attempts import Attempt, Start, task
from tests.integration.checks.parts import driver
from tests.integration.checks.postgres_server import PostgresServer

pytestmark = pytest.mark.integration


class Store:
    """One data base: a check that asks it, attempts that write to it, the effects in it."""

    def __init__(self, kind: str, place: str, connect: Callable[[], Any], attempt: Start) -> None:
        self.kind, self.place, self.connect, self._attempt = kind, place, connect, attempt
        self.check = checks.sql(connect)
        self.run("DROP TABLE IF EXISTS quorate_marks")
        self.run("DROP TABLE IF EXISTS effects")
        self.run("CREATE TABLE effects (task_key BIGINT, attempt BIGINT)")

    def attempt(self, key: int, number: int) -> Attempt:
        return self._attempt(self.kind, task(key, number), self.place)

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(self.connect()) as connection:
            cursor = connection.cursor()
            cursor.execute(statement)
            rows = cursor.fetchall() if cursor.description else []
            connection.commit()
            return [tuple(row) for row in rows]

    def answer(self, key: int) -> Answer:
        return ask(self.check, task(key, 2)).answer

    def effects(self, key: int) -> list[int]:
        """The attempts whose effect is there."""
        return [row[0] for row in self.run(f"SELECT attempt FROM effects WHERE task_key = {key}")]


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path, attempt: Start) -> Store:
    if request.param == "sqlite":
        path = str(tmp_path / "shop.db")
        return Store("sqlite", path, lambda: sqlite3.connect(path, timeout=20), attempt)
    server: PostgresServer = request.getfixturevalue("postgres_server")
    psycopg = driver("psycopg")
    return Store("postgres", server.dsn, lambda: psycopg.connect(server.dsn), attempt)


@pytest.mark.parametrize(
    ("point", "expected", "effects"),
    [("began", Answer.NOT_DONE, []), ("marked", Answer.NOT_DONE, []), ("committed", Answer.DONE, [1])],
)
def test_the_check_tells_what_an_attempt_had_done_when_it_was_killed(
    store: Store, point: str, expected: Answer, effects: list[int]
) -> None:
    store.attempt(7, 1).reach(point).kill()

    assert store.answer(7) is expected
    assert store.effects(7) == effects
    assert store.answer(8) is Answer.NOT_DONE


def test_an_attempt_that_comes_after_the_check_is_refused_with_its_effect(store: Store) -> None:
    late = store.attempt(7, 1)
    assert store.answer(7) is Answer.NOT_DONE
    assert store.attempt(7, 2).finish() == ""

    assert late.finish().startswith("AlreadyMarked: key 7 is in quorate_marks already")
    assert store.effects(7) == [2]
    assert store.answer(7) is Answer.DONE


def test_an_attempt_whose_transaction_was_open_at_the_check_excludes_the_next(store: Store) -> None:
    # Given an attempt that was paused before its commit, and a second one that the check let run
    late = store.attempt(7, 1).reach("marked")
    assert store.answer(7) is Answer.NOT_DONE
    second = store.attempt(7, 2).go()  # waits in the data base for the first

    late.reach("committed")

    assert "AlreadyMarked" in str(second.wait("over", timeout_s=30)[0])
    assert store.effects(7) == [1]


def test_an_attempt_killed_before_its_commit_lets_the_next_pass(store: Store) -> None:
    late = store.attempt(7, 1).reach("marked")
    second = store.attempt(7, 2).go()

    late.kill()

    second.wait("at", timeout_s=30)
    assert second.finish() == ""
    assert store.effects(7) == [2]


def test_what_the_handler_raised_is_not_hidden_by_a_lost_connection(store: Store) -> None:
    def pay() -> None:
        with store.check.transaction(task(1)) as connection:
            connection.close()
            raise TaskCancelled

    with pytest.raises(TaskCancelled):
        pay()
    assert store.answer(1) is Answer.NOT_DONE


def test_scopes_keep_two_clusters_apart_in_one_table(store: Store) -> None:
    shop, depot = checks.sql(store.connect, scope="shop"), checks.sql(store.connect, scope="depot")
    with shop.transaction(task(1)):
        pass

    assert [ask(each, task(1)).answer for each in (shop, depot)] == [Answer.DONE, Answer.NOT_DONE]


def test_mark_stands_in_a_transaction_of_the_handlers_own(store: Store) -> None:
    with contextlib.closing(store.connect()) as connection:
        store.check.mark(connection, task(1))
        connection.rollback()
    assert store.answer(1) is Answer.NOT_DONE
    with contextlib.closing(store.connect()) as connection:
        store.check.mark(connection, task(1))
        connection.commit()
        with pytest.raises(AlreadyMarked):
            store.check.mark(connection, task(1, 2))
    assert store.answer(1) is Answer.DONE


def test_a_swallowed_refusal_is_not_committed_by_except_exception(store: Store) -> None:
    def careless() -> None:
        with store.check.transaction(task(1)) as connection:
            try:
                store.check.mark(connection, task(1))
            except Exception:
                pytest.fail("an ordinary except saw it")

    with pytest.raises(AlreadyMarked):
        careless()
    assert store.answer(1) is Answer.NOT_DONE


def test_a_sqlite_connection_that_commits_by_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    check = checks.sql(lambda: sqlite3.connect(path))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        with pytest.raises(HandlerError, match="switch autocommit off"):
            check.mark(connection, task(1))
        connection.execute("BEGIN")
        check.mark(connection, task(1))
        connection.execute("COMMIT")
    assert ask(check, task(1)).answer is Answer.DONE


def test_a_postgres_connection_that_commits_by_itself_is_refused(postgres_server: PostgresServer) -> None:
    psycopg = driver("psycopg")
    check = checks.sql(lambda: psycopg.connect(postgres_server.dsn), table="commits_itself")
    with psycopg.connect(postgres_server.dsn, autocommit=True) as connection:
        with pytest.raises(HandlerError, match="switch autocommit off"):
            check.mark(connection, task(1))
        with connection.transaction():
            check.mark(connection, task(1))
    assert ask(check, task(1)).answer is Answer.DONE


def test_a_locked_table_is_unknown(postgres_server: PostgresServer) -> None:
    psycopg = driver("psycopg")
    check = checks.sql(
        lambda: psycopg.connect(postgres_server.dsn, options="-c statement_timeout=200ms"), table="locked"
    )
    check.prepare()
    with psycopg.connect(postgres_server.dsn) as other:
        other.execute("LOCK TABLE locked IN ACCESS EXCLUSIVE MODE")
        answer, why = ask(check, task(1))

    assert answer is Answer.UNKNOWN
    assert "QueryCanceled" in why
    assert ask(check, task(1)).answer is Answer.NOT_DONE


def test_a_postgres_that_is_down_is_unknown_and_shows_no_password(postgres_server: PostgresServer) -> None:
    psycopg = driver("psycopg")
    dsn = f"{postgres_server.dsn} password=hush-hush"
    check = checks.sql(lambda: psycopg.connect(dsn), table="down")
    with check.transaction(task(1)):
        pass

    postgres_server.stop()
    try:
        answer, why = ask(check, task(1))
    finally:
        postgres_server.start()

    assert answer is Answer.UNKNOWN
    assert "quorate_marks" not in why
    assert "down" in why
    assert "hush" not in why + repr(check)
    assert ask(check, task(1)).answer is Answer.DONE


def test_a_sqlite_file_that_is_not_there_is_unknown(tmp_path: Path) -> None:
    check = checks.sql(lambda: sqlite3.connect(f"file:{tmp_path}/gone.db?mode=rw", uri=True))
    assert ask(check, task(1)).answer is Answer.UNKNOWN


def test_a_sqlite_file_that_another_writes_for_too_long_is_unknown(tmp_path: Path) -> None:
    check = checks.sql(lambda: sqlite3.connect(tmp_path / "shop.db", timeout=0.1))
    check.prepare()
    with contextlib.closing(sqlite3.connect(tmp_path / "shop.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        answer, why = ask(check, task(1))

    assert answer is Answer.UNKNOWN
    assert "database is locked" in why
    assert ask(check, task(1)).answer is Answer.NOT_DONE


def test_who_may_not_make_tables_uses_one_that_is_there(postgres_server: PostgresServer) -> None:
    psycopg = driver("psycopg")
    checks.sql(lambda: psycopg.connect(postgres_server.dsn), table="made_before").prepare()
    with psycopg.connect(postgres_server.dsn) as connection:
        connection.execute("CREATE ROLE clerk LOGIN")
        connection.execute("GRANT SELECT, INSERT ON made_before TO clerk")
    check = checks.sql(lambda: psycopg.connect(postgres_server.dsn, user="clerk"), table="made_before")

    with check.transaction(task(1)):
        pass

    assert ask(check, task(1)).answer is Answer.DONE
    forbidden = checks.sql(lambda: psycopg.connect(postgres_server.dsn, user="clerk"), table="never_made")
    assert ask(forbidden, task(1)).answer is Answer.UNKNOWN


@pytest.fixture
def clean(postgres_server: PostgresServer) -> str:
    """A PostgreSQL with a table of effects."""
    psycopg = driver("psycopg")
    with psycopg.connect(postgres_server.dsn) as connection:
        connection.execute("DROP TABLE IF EXISTS effects")
        connection.execute("CREATE TABLE effects (task_key BIGINT, attempt BIGINT)")
    return str(postgres_server.dsn)


def test_many_processes_that_make_the_table_at_once_all_pass(clean: str, attempt: Start) -> None:
    psycopg = driver("psycopg")
    with psycopg.connect(clean) as connection:
        connection.execute("DROP TABLE IF EXISTS quorate_marks")
    started = [attempt("postgres", task(key), clean) for key in range(1, 5)]
    for each in started:
        each.go()
    for each in started:
        each.wait("at")

    assert [each.finish() for each in started] == [""] * 4
