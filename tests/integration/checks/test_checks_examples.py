"""The examples do what they say, against the real things, run as tasks; and a refused attempt ends well in a real worker."""

from __future__ import annotations

import importlib
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from executor import Executor, Outcome, Status, Task, checks, encode_arguments
from executor.checks import AlreadyMarked, Answer, ask
from executor.testing import run
from tests.integration.checks.attempts import Service, task
from tests.integration.checks.mail_server import ADDRESS, PASSWORD, USER, MailServer
from tests.integration.checks.parts import driver
from tests.integration.checks.postgres_server import PostgresServer

pytestmark = pytest.mark.integration
Example = Callable[..., Any]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[Example]:
    """Imports an example anew, with these environment variables."""
    known = set(sys.modules)

    def load(name: str, **environment: object) -> Any:
        for variable, value in environment.items():
            monkeypatch.setenv(variable, str(value))
        return importlib.import_module(f"examples.checks.{name}")

    yield load
    for name in set(sys.modules) - known:
        if name.startswith("examples.checks."):
            del sys.modules[name]


def shop(path: Path) -> Path:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE payments (order_number TEXT, cents INTEGER)")
    connection.close()
    return path


def test_sqlite_payment(example: Example, tmp_path: Path) -> None:
    module = example("sqlite_payment", SHOP_DB=shop(tmp_path / "shop.db"))
    assert ask(module.paid, task(7)).answer is Answer.NOT_DONE

    run(module.record_payment, "A1", 500, key=7)

    assert ask(module.paid, task(7)).answer is Answer.DONE
    with pytest.raises(AlreadyMarked):
        run(module.record_payment, "A1", 500, key=7, attempt=2)


def test_postgres_payment(example: Example, postgres_server: PostgresServer) -> None:
    psycopg = driver("psycopg")
    with psycopg.connect(postgres_server.dsn) as connection:
        connection.execute("DROP TABLE IF EXISTS payments")
        connection.execute("CREATE TABLE payments (order_number TEXT, cents INTEGER)")
    module = example("postgres_payment", SHOP_DSN=postgres_server.dsn)

    for key, pay in enumerate((module.pay, module.pay_async, module.pay_in_my_own_transaction), 9001):
        assert ask(module.paid, task(key)).answer is Answer.NOT_DONE
        run(pay, "A1", 500, key=key)
        assert ask(module.paid, task(key)).answer is Answer.DONE
        assert ask(module.paid_async, task(key)).answer is Answer.DONE
        with pytest.raises(AlreadyMarked):
            run(pay, "A1", 500, key=key, attempt=2)

    with psycopg.connect(postgres_server.dsn) as connection:
        assert connection.execute("SELECT count(*) FROM payments").fetchone() == (3,)


def test_file_report(example: Example, tmp_path: Path) -> None:
    module = example("file_report", SHOP_FOLDER=tmp_path)

    run(module.write_report, [["a", "b"], ["1", "2"]], key=7)
    run(module.print_label, ["touch", str(tmp_path / "paper")], key=8)

    assert (tmp_path / "report-7.csv").read_text() == "a;b\n1;2\n"
    assert (tmp_path / "paper").exists()
    assert ask(module.report, task(7)).answer is Answer.DONE
    assert ask(module.printed, task(8)).answer is Answer.DONE
    with pytest.raises(AlreadyMarked):
        run(module.print_label, ["false"], key=8, attempt=2)


def test_http_charge(example: Example, service: Service) -> None:
    module = example("http_charge", PAYMENTS_URL=service.url, PAYMENTS_TOKEN="t0p-s3cret-token")
    assert ask(module.charged, task(7)).answer is Answer.NOT_DONE

    for attempt in (1, 2):
        run(module.charge, "me", 500, key=7, attempt=attempt)

    assert ask(module.charged, task(7)).answer is Answer.DONE
    assert service.effects() == ["charge quorate-7"]


def test_email_invoice(example: Example, mail: MailServer) -> None:
    module = example(
        "email_invoice",
        SMTP_HOST="127.0.0.1",
        SMTP_PORT=mail.smtp_port,
        IMAP_HOST="127.0.0.1",
        IMAP_PORT=mail.imap_port,
        IMAP_SECURITY="plain",
        MAIL_ARCHIVE=ADDRESS,
        MAIL_USER=USER,
        MAIL_PASSWORD=PASSWORD,
    )
    assert ask(module.invoiced, task(7)).answer is Answer.NOT_DONE

    run(module.send_invoice, "customer@example.org", "500 cents", key=7)

    while ask(module.invoiced, task(7)).answer is Answer.NOT_DONE:
        pass  # accepted and on its way; the time limit of the test ends it
    assert ask(module.invoiced, task(7)).answer is Answer.DONE


def test_sms_callback(example: Example, service: Service) -> None:
    module = example("sms_callback", SMS_URL=service.url)
    arguments = ["+49", "hello"]
    assert ask(module.sent, task(7), arguments).answer is Answer.NOT_DONE

    run(module.send_sms, *arguments, key=7)

    assert ask(module.sent, task(7), arguments).answer is Answer.DONE
    by_name = checks.callback("examples.checks.sms_callback:was_sent")
    assert ask(by_name, task(7), arguments).answer is Answer.DONE


def run_twice(module: str, handler: str, key: int) -> list[Outcome]:
    """Two attempts of one task in a real executor, one after the other."""
    outcomes: list[Outcome] = []
    came = threading.Semaphore(0)

    def take(some: list[Outcome]) -> None:
        outcomes.extend(some)
        came.release(len(some))

    with Executor([module], workers=1, on_outcomes=take) as executor:
        executor.start()
        for attempt in (1, 2):
            arguments = encode_arguments(["A1", 500], {})
            executor.offer(
                [Task(seq=attempt, key=key, attempt=attempt, handler=handler, arguments=arguments)]
            )
            assert came.acquire(timeout=30)
    return outcomes


def test_a_refused_attempt_is_a_failed_run_that_the_check_then_calls_done(
    example: Example, tmp_path: Path
) -> None:
    module = example("sqlite_payment", SHOP_DB=shop(tmp_path / "shop.db"))

    first, second = run_twice(module.__name__, "record_payment", 7)

    assert (first.status, second.status) == (Status.DONE, Status.FAILED)
    assert str(second.error).startswith("AlreadyMarked: key 7 is in quorate_marks already")
    assert ask(module.paid, task(7)).answer is Answer.DONE


def test_a_refused_coroutine_is_a_failed_run_and_its_loop_lives_on(
    example: Example, postgres_server: PostgresServer
) -> None:
    psycopg = driver("psycopg")
    with psycopg.connect(postgres_server.dsn) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS payments (order_number TEXT, cents INTEGER)")
    module = example("postgres_payment", SHOP_DSN=postgres_server.dsn)

    first, second = run_twice(module.__name__, "pay_async", 9100)

    assert (first.status, second.status) == (Status.DONE, Status.FAILED)
    assert str(second.error).startswith("AlreadyMarked: key 9100")
    assert ask(module.paid, task(9100)).answer is Answer.DONE
