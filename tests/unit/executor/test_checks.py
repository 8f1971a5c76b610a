"""Checks without the world: what they take, what they say, what they never show."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from executor import Context, HandlerError, TaskCancelled, TimeLimitExceeded, checks
from executor.checks import Answer, CheckResult, as_check, ask, ask_async
from executor.checks.answer import read_answer
from executor.checks.sql_text import is_duplicate
from executor.checks.trouble import WHY_CHARS_MAX, scrubbed
from executor.errors import HandlerLoadError

pytestmark = pytest.mark.unit

CONTEXT = Context(key=42, attempt=3, handler="pay")
EMAIL: dict[str, Any] = {"user": "u", "password": "hush-hush", "domain": "example.com"}


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (True, Answer.DONE),
        (False, Answer.NOT_DONE),
        (None, Answer.UNKNOWN),
        (Answer.NOT_DONE, Answer.NOT_DONE),
        (CheckResult(Answer.DONE, "seen"), Answer.DONE),
        (1, Answer.UNKNOWN),
        (0, Answer.UNKNOWN),
        ("done", Answer.UNKNOWN),
        ([], Answer.UNKNOWN),
        (("done", ""), Answer.UNKNOWN),
    ],
)
def test_only_clear_words_are_an_answer(said: object, answer: Answer) -> None:
    assert read_answer(said).answer is answer


async def _later(said: object) -> object:
    await asyncio.sleep(0)
    return said


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    "check",
    [
        checks.callback(lambda: True),
        checks.callback(lambda: _later(True)),  # type: ignore[arg-type, return-value]
        checks.callback(lambda context: context.key == 42),
    ],
)
def test_a_check_may_be_a_function_or_a_coroutine_asked_either_way(check: checks.callback) -> None:
    assert ask(check, CONTEXT) == asyncio.run(ask_async(check, CONTEXT)) == CheckResult(Answer.DONE)


def test_a_function_has_the_parameters_of_its_handler() -> None:
    seen: list[object] = []
    check = checks.callback(lambda to, *, text, context: seen.extend([to, text, context.attempt]))

    ask(check, CONTEXT, ["me"], {"text": "hi"})

    assert seen == ["me", "hi", 3]
    answer, why = ask(check, CONTEXT, ["me"], {})
    assert answer is Answer.UNKNOWN
    assert "text" in why


def test_an_exception_is_unknown_and_says_what_it_was() -> None:
    check = checks.callback(lambda: _raise(ConnectionError("no route, password=hush")))
    for result in (ask(check, CONTEXT), asyncio.run(ask_async(check, CONTEXT))):
        assert result == (Answer.UNKNOWN, "the check failed: ConnectionError: no route, password=***")


@pytest.mark.parametrize("strike", [TimeLimitExceeded, TaskCancelled])
def test_what_the_runner_strikes_with_passes(strike: type[BaseException]) -> None:
    with pytest.raises(strike):
        ask(checks.callback(lambda: _raise(strike())), CONTEXT)


def test_a_coroutine_that_is_late_is_unknown() -> None:
    async def never() -> bool:
        await asyncio.Event().wait()
        return True

    result = asyncio.run(ask_async(checks.callback(never), CONTEXT, timeout_s=0.01))
    assert result == (Answer.UNKNOWN, "the check did not answer within 0.01 s")


def test_a_timeout_of_the_checks_own_is_not_taken_for_ours() -> None:
    check = checks.callback(lambda: _raise(TimeoutError("the provider's")))
    assert "the provider's" in asyncio.run(ask_async(check, CONTEXT, timeout_s=30)).why


@pytest.mark.parametrize("given", ["os.path:isdir", lambda: True, checks.file("/srv/{key}")])
def test_a_name_a_function_or_a_check_may_stand_at_check(given: object) -> None:
    assert isinstance(as_check(given), checks.Check)


@pytest.mark.parametrize("given", [3, None, "nonsense", ":x", "x:"])
def test_anything_else_at_check_is_refused(given: object) -> None:
    with pytest.raises(HandlerError):
        as_check(given)


@pytest.mark.parametrize("name", ["no_such_module:f", "os:no_such_function", "os:sep"])
def test_a_function_that_cannot_be_found_is_unknown_when_asked_and_an_error_when_loaded(name: str) -> None:
    check = checks.callback(name)
    assert ask(check, CONTEXT).answer is Answer.UNKNOWN
    with pytest.raises(HandlerLoadError, match=name):
        check.load()


def test_the_name_of_a_task_outside_never_has_the_attempt() -> None:
    email = checks.email("imap.example.com", scope="shop", **EMAIL)
    http = checks.http("https://x/{idempotency_key}", scope="shop", header="X-Key")
    for attempt in (1, 2):
        context = Context(key=42, attempt=attempt, handler="pay")
        assert email.message_id(context) == "<quorate-shop-42@example.com>"
        assert http.headers(context) == {"X-Key": "quorate-shop-42"}
        assert checks.file("/srv/{key}.pdf", scope="shop").path(context).name == "shop-42.pdf"
    assert checks.http("https://x/{idempotency_key}").idempotency_key(CONTEXT) == "quorate-42"


def test_which_fence_and_which_observe() -> None:
    fencing = [
        checks.sql(lambda: None),
        checks.async_sql(lambda: None),
        checks.file("/srv/{key}"),
        checks.http("https://x/{idempotency_key}"),
        checks.callback(print, is_fencing=True),
    ]
    observing = [
        checks.email("imap.example.com", **EMAIL),
        checks.callback(print),
        checks.http("https://x/{idempotency_key}", is_fencing=False, settle_s=5),
    ]
    assert [(each.is_fencing, each.settle_s) for each in fencing] == [(True, 0)] * 5
    assert all(not each.is_fencing and each.settle_s > 0 for each in observing)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: checks.sql(lambda: None, table="marks; DROP TABLE x"), "no plain table name"),
        (lambda: checks.sql(lambda: None, scope="it's"), "scope"),
        (lambda: checks.sql(lambda: None, scope="x\n"), "scope"),
        (lambda: checks.file("marks/{key}"), "absolute path"),
        (lambda: checks.file("/srv/report.pdf"), r"needs \{key\}"),
        (lambda: checks.file("/srv/{key}/report.pdf"), r"needs \{key\}"),
        (lambda: checks.http("https://x/charges"), "idempotency_key"),
        (lambda: checks.http("file:///etc/{idempotency_key}"), "http or https"),
        (lambda: checks.http("https://user:hush@x/{idempotency_key}"), "no user and password"),
        (lambda: checks.http("https://x/{idempotency_key}", done=[404]), "both"),
        (lambda: checks.http("https://x/{idempotency_key}", is_fencing=False), "give settle_s"),
        (lambda: checks.http("https://x/{idempotency_key}", timeout_s=0), "timeout_s"),
        (lambda: checks.http("https://x/{idempotency_key}", timeout_s=float("inf")), "timeout_s"),
        (lambda: checks.email("h", **{**EMAIL, "domain": "a b"}), "no domain"),
        (lambda: checks.email("h", security="ssl", **EMAIL), "tls, plain"),
        (lambda: checks.email("h", mailbox="Entwürfe", **EMAIL), "ASCII"),
        (lambda: checks.email("h", settle_s=0, **EMAIL), "give settle_s"),
        (lambda: checks.callback(print, settle_s=-1), "settle_s"),
        (lambda: checks.callback(print, settle_s=0), "give settle_s"),
    ],
)
def test_a_wrong_declaration_is_refused_with_a_sentence(make: Callable[[], object], says: str) -> None:
    with pytest.raises(HandlerError, match=says) as caught:
        make()
    assert "hush" not in str(caught.value)


def test_no_check_shows_what_it_was_told_in_confidence() -> None:
    shown = [
        checks.http("https://x/{idempotency_key}?api_key=hush", headers={"Authorization": "hush"}),
        checks.email("imap.example.com", **EMAIL),
        checks.sql(lambda: "hush"),
    ]
    assert "hush" not in repr(shown)
    assert "imap.example.com" in repr(shown)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("postgresql://me:p@ss@db/x refused", "postgresql://***@db/x refused"),
        ("host=db password=hush user=me", "host=db password=*** user=me"),
        ("host=db password='hush hush' user=me", "host=db password=*** user=me"),
        ('{"access_token": "hush"}', '{"access_token": ***}'),
        ("Authorization: Bearer hush", "Authorization: ***"),
        ("GET /x?api_key=hush&y=1", "GET /x?api_key=***&y=1"),
        ("password authentication failed for user me", "password authentication failed for user me"),
        ("told: s3cr/et and s3cr%2Fet", "told: *** and ***"),
        ("two\nlines", "two lines"),
    ],
)
def test_no_password_is_left_in_what_a_check_says(text: str, left: str) -> None:
    assert scrubbed(text, ["s3cr/et", ""]) == left


def test_what_a_check_says_is_short_and_can_be_sent() -> None:
    assert len(scrubbed("x" * 10_000)) == WHY_CHARS_MAX
    assert scrubbed("\ud800").encode() == b"?"


def test_only_the_error_of_a_row_that_is_there_is_a_duplicate() -> None:
    class UniqueViolationError(Exception):
        """asyncpg's."""

    assert is_duplicate(sqlite3.IntegrityError())
    assert is_duplicate(UniqueViolationError())
    assert not is_duplicate(sqlite3.OperationalError("database is locked"))
