"""Guarantees as they are declared: what makes no sense is refused where it is written, with what to write instead."""

from __future__ import annotations

from typing import Any

import pytest

from executor import (
    Answer,
    CheckTerms,
    CheckWhen,
    Context,
    Guarantee,
    Handler,
    HandlerError,
    Lane,
    checks,
    handler,
)
from executor.handlers.registry import registered
from executor.testing import check, run

pytestmark = pytest.mark.unit


def was_paid(order: str, context: Context) -> bool:
    return order == f"order-{context.key}"


async def was_paid_async(order: str) -> None:
    """Cannot tell."""


def pay(order: str) -> None: ...


def declared(name: str, **options: Any) -> Handler:
    handler(name=name, **options)(pay)
    return registered()[name].declaration


def test_exactly_once_without_a_check_is_refused_with_what_to_write() -> None:
    with pytest.raises(
        HandlerError, match=r"'unchecked'.*needs a check.*check=checks\.sql\(connect\).*docs/checks\.md"
    ):
        handler(name="unchecked", guarantee="exactly-once")(pay)
    assert "unchecked" not in registered()


def test_a_check_that_nobody_would_ask_is_refused() -> None:
    with pytest.raises(
        HandlerError, match=r"'pay'.*'at-most-once' never runs a task again.*leave out check="
    ):
        handler(name="pay", guarantee="at-most-once", check=was_paid)(pay)


def test_an_unknown_guarantee_lists_the_guarantees() -> None:
    with pytest.raises(
        HandlerError, match="'maybe'; use one of 'at-least-once', 'exactly-once', 'at-most-once'"
    ):
        handler(name="pay", guarantee="maybe")(pay)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"check": was_paid, "check_when": "never"}, "check_when is 'never'; use 'recovery'"),
        ({"check": was_paid, "check_timeout_s": 0}, "check_timeout_s is 0; give seconds above 0"),
        ({"check": was_paid, "check_timeout_s": float("inf")}, "check_timeout_s is inf"),
        ({"check": was_paid, "settle_s": 0}, "only observes.*give settle_s"),
        ({"check": was_paid, "settle_s": -1}, "settle_s is -1; give seconds, 0 or more"),
        ({"check": 5}, "check=5 is no check"),
        ({"settle_s": 1}, "settle_s belongs to a check, and it has none"),
        ({"check_when": "always"}, "check_when belongs to a check, and it has none"),
    ],
)
def test_a_check_that_makes_no_sense_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(HandlerError, match=text):
        handler(name="refused", **options)(pay)


def test_names_of_checks_are_not_given_to_handlers() -> None:
    with pytest.raises(HandlerError, match="'check of pay': names that begin with 'check of '"):
        handler(name="check of pay")(pay)


def test_what_is_known_of_a_check_follows_from_what_was_written() -> None:
    observing = declared("observing", guarantee="exactly-once", check=was_paid_async, settle_s=4)
    assert observing.guarantee is Guarantee.EXACTLY_ONCE
    assert observing.check == CheckTerms(is_fencing=False, settle_s=4.0, timeout_s=30.0, is_async=True)
    fencing = declared(
        "fencing", check=checks.callback(was_paid, is_fencing=True), check_when="always", check_timeout_s=2.0
    )
    assert fencing.guarantee is None
    assert fencing.check == CheckTerms(when=CheckWhen.ALWAYS, is_fencing=True, settle_s=0.0, timeout_s=2.0)
    by_name = declared("by_name", check="no.such.module:function")  # imported when it is asked
    assert by_name.check is not None
    assert not by_name.check.is_async


def test_a_check_is_a_handler_of_its_own() -> None:
    paying = declared(
        "paying", check=was_paid, check_timeout_s=2.0, timeout_s=60.0, lane="io-long", max_running=3
    )
    asked = paying.check_handler()
    assert asked == Handler(
        name="check of paying", lane=Lane.IO_SHORT, timeout_s=2.0, max_running=3, retry=None
    )
    assert Handler(name="plain").check_handler() is None


def test_a_submit_may_ask_for_more_only_where_the_handler_says_nothing() -> None:
    checked = declared("checked", check=was_paid)
    once = declared("once", guarantee="exactly-once", check=was_paid)
    plain = Handler(name="plain")
    assert plain.promises() is Guarantee.AT_LEAST_ONCE
    assert plain.promises(default=Guarantee.AT_MOST_ONCE) is Guarantee.AT_MOST_ONCE
    assert plain.promises(wanted=Guarantee.AT_MOST_ONCE) is Guarantee.AT_MOST_ONCE
    assert checked.promises(wanted=Guarantee.EXACTLY_ONCE) is Guarantee.EXACTLY_ONCE
    assert (
        once.promises(default=Guarantee.AT_MOST_ONCE, wanted=Guarantee.EXACTLY_ONCE) is Guarantee.EXACTLY_ONCE
    )
    for which in ({"wanted": Guarantee.EXACTLY_ONCE}, {"default": Guarantee.EXACTLY_ONCE}):
        with pytest.raises(HandlerError, match=r"'plain'.*needs a check"):
            plain.promises(**which)
    with pytest.raises(HandlerError, match="'once' is exactly-once, so a task of it cannot be at-least-once"):
        once.promises(wanted=Guarantee.AT_LEAST_ONCE)


# In the user's own tests.


@handler(name="tried", guarantee="exactly-once", check=was_paid, settle_s=1)
def tried(order: str) -> None: ...


@handler(name="tried_async", check=was_paid_async)
async def tried_async(order: str) -> None: ...


def endless(order: str) -> None:
    while True:
        pass


@handler(name="tried_endless", check=endless)
def tried_endless(order: str) -> None: ...


def test_a_check_is_tried_like_a_handler() -> None:
    assert run(tried, "order-7", key=7).value is None
    assert check(tried, "order-7", key=7) == (Answer.DONE, "")
    assert check(tried, "order-7", key=8) == (Answer.NOT_DONE, "")
    assert check(tried_async, "order-7").answer is Answer.UNKNOWN
    assert check(tried_endless, "order-7", timeout_s=0.05) == (
        Answer.UNKNOWN,
        "the check did not answer within 0.05 s",
    )
    assert "TypeError" in check(tried, "order-7", "too many").why
    with pytest.raises(HandlerError, match="'was_paid' has no check"):
        check(was_paid, "order-7")
