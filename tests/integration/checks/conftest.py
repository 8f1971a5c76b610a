"""The real things that checks ask, each in a process of its own, and the attempts that are killed beside them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor import Context
from tests.integration.checks.attempts import Attempt, Service, Start
from tests.integration.checks.mail_server import MailMissing, MailServer, jar
from tests.integration.checks.parts import missing
from tests.integration.checks.postgres_server import PostgresMissing, PostgresServer, binaries


@pytest.fixture
def attempt(tmp_path: Path) -> Iterator[Start]:
    """Starts attempts: `attempt("sqlite", context, path)`."""
    with contextlib.ExitStack() as stack:

        def start(handler: str, context: Context, *places: object) -> Attempt:
            started = Attempt(tmp_path / "attempt.err", handler, context, *places)
            stack.callback(started.kill)
            return started

        yield start


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    try:
        binaries()
    except PostgresMissing as error:
        missing(str(error))
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def mail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MailServer]:
    server = MailServer(tmp_path_factory.mktemp("mail") / "log")
    try:
        jar()
        server.start()
    except MailMissing as error:
        missing(str(error))
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    started = Service(tmp_path)
    yield started
    started.kill()
