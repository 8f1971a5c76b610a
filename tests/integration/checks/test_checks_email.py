"""checks.email against a real SMTP and IMAP server: a mail is found by the id that follows from the task's key."""

from __future__ import annotations

import imaplib
import os
import signal
import smtplib
import ssl
import time
from collections.abc import Callable
from itertools import count

import pytest

from executor import Context, checks
from executor.checks import Answer, ask
from tests.integration.checks.attempts import Start, task
from tests.integration.checks.mail_server import ADDRESS, PASSWORD, USER, MailServer

pytestmark = pytest.mark.integration
keys = count(100)


@pytest.fixture
def check(mail: MailServer) -> checks.email:
    return make(mail)


def make(mail: MailServer, **options: object) -> checks.email:
    given: dict[str, object] = {
        "port": mail.imap_port,
        "security": "plain",
        "user": USER,
        "password": PASSWORD,
        "domain": "shop.example.com",
    }
    return checks.email("127.0.0.1", **{**given, **options})  # type: ignore[arg-type]


@pytest.fixture
def context() -> Context:
    """A task of this test alone: the mailbox is shared."""
    return task(next(keys))


def eventually_done(check: checks.email, context: Context) -> None:
    """A mail that was accepted is on its way for a moment: what settle_s is for."""
    end_s = time.monotonic() + 20
    while ask(check, context).answer is not Answer.DONE:
        assert time.monotonic() < end_s, ask(check, context)


def test_the_check_tells_what_an_attempt_had_sent_when_it_was_killed(
    mail: MailServer, check: checks.email, attempt: Start, context: Context
) -> None:
    early, sent = context, task(next(keys))
    attempt("email", early, mail.smtp_port, ADDRESS).reach("began").kill()
    attempt("email", sent, mail.smtp_port, ADDRESS).reach("sent").kill()

    eventually_done(check, sent)
    assert ask(check, early).answer is Answer.NOT_DONE


def test_a_mail_that_comes_after_the_check_is_not_excluded_and_the_check_says_so(
    mail: MailServer, check: checks.email, attempt: Start, context: Context
) -> None:
    late = attempt("email", context, mail.smtp_port, ADDRESS)
    assert ask(check, context).answer is Answer.NOT_DONE

    late.finish()

    eventually_done(check, context)
    assert not check.is_fencing
    assert check.settle_s == 120


@pytest.mark.parametrize(("others", "expected"), [(1, Answer.NOT_DONE), (21, Answer.UNKNOWN)])
def test_a_mail_whose_id_only_contains_the_one_looked_for_is_another_mail(
    mail: MailServer, check: checks.email, context: Context, others: int, expected: Answer
) -> None:
    # Given a mail with an id that a search for a part of the text finds too, and one after it
    after = task(next(keys))
    wanted = check.message_id(context)
    with smtplib.SMTP("127.0.0.1", mail.smtp_port, timeout=10) as smtp:
        for message_id in [f"Re: {wanted} again"] * others + [check.message_id(after)]:
            smtp.sendmail(
                "a@example.com", ADDRESS, f"Message-ID: {message_id}\r\nSubject: x\r\n\r\nhello\r\n"
            )

    eventually_done(check, after)
    assert ask(check, context).answer is expected


def test_it_talks_tls_and_trusts_no_unknown_server(
    mail: MailServer, check: checks.email, attempt: Start, context: Context
) -> None:
    attempt("email", context, mail.smtp_port, ADDRESS).finish()
    eventually_done(check, context)
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE

    assert ask(make(mail, port=mail.imaps_port, security="tls", tls=trusting), context).answer is Answer.DONE
    answer, why = ask(make(mail, port=mail.imaps_port, security="tls"), context)
    assert answer is Answer.UNKNOWN
    assert "CERTIFICATE_VERIFY_FAILED" in why


@pytest.mark.parametrize(
    "wrong", [{"password": "wr0ng-pass-word"}, {"mailbox": "No Such Box"}, {"user": "nobody"}, {"port": 1}]
)
def test_what_the_server_refuses_is_unknown_and_shows_no_password(
    mail: MailServer, wrong: dict[str, object], context: Context
) -> None:
    check = make(mail, **wrong)

    answer, why = ask(check, context)

    assert answer is Answer.UNKNOWN
    for secret in (PASSWORD, "wr0ng-pass-word"):
        assert secret not in why + repr(check)


def test_a_password_may_come_from_a_function(mail: MailServer, context: Context) -> None:
    asked: list[Callable[[], str]] = []
    check = make(mail, password=lambda: asked.append(str) or PASSWORD)  # type: ignore[func-returns-value]
    assert ask(check, context).answer is Answer.NOT_DONE
    assert len(asked) == 1


def test_a_server_that_hangs_is_unknown_in_time(mail: MailServer, context: Context) -> None:
    check = make(mail, timeout_s=0.5)
    os.kill(mail.pid, signal.SIGSTOP)
    try:
        answer, why = ask(check, context)
    finally:
        os.kill(mail.pid, signal.SIGCONT)

    assert answer is Answer.UNKNOWN
    assert why == "mailbox 'INBOX' at 127.0.0.1 did not answer within 0.5 s"
    assert ask(make(mail), context).answer is Answer.NOT_DONE


def test_the_archive_mailbox_is_not_touched_by_being_asked(
    mail: MailServer, check: checks.email, attempt: Start, context: Context
) -> None:
    attempt("email", context, mail.smtp_port, ADDRESS).finish()
    eventually_done(check, context)

    with imaplib.IMAP4("127.0.0.1", mail.imap_port) as imap:
        imap.login(USER, PASSWORD)
        imap.select(readonly=True)
        _, unseen = imap.search(None, "UNSEEN", "HEADER", "Message-ID", f'"{check.message_id(context)}"')
    assert unseen[0] != b""


def test_a_server_that_is_down_is_unknown(mail: MailServer, check: checks.email, context: Context) -> None:
    mail.stop()
    try:
        assert ask(check, context).answer is Answer.UNKNOWN
    finally:
        mail.start()
