"""checks.callback against a real service of short messages that has no idempotency keys."""

from __future__ import annotations

import json
import urllib.request

import pytest

from executor import Context, checks
from executor.checks import Answer, ask
from tests.integration.checks.attempts import Service, Start, task

pytestmark = pytest.mark.integration


def check_of(service: Service) -> checks.callback:
    def was_sent(context: Context) -> bool:
        url = f"{service.url}/messages?reference=shop-{context.key}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(json.load(answer))

    return checks.callback(was_sent, settle_s=5)


@pytest.mark.parametrize(("point", "expected"), [("began", Answer.NOT_DONE), ("sent", Answer.DONE)])
def test_the_check_tells_what_an_attempt_had_sent_when_it_was_killed(
    service: Service, attempt: Start, point: str, expected: Answer
) -> None:
    attempt("sms", task(7), service.url).reach(point).kill()

    assert ask(check_of(service), task(7)).answer is expected


def test_an_observing_check_cannot_exclude_what_comes_after_it_and_says_so(
    service: Service, attempt: Start
) -> None:
    check = check_of(service)
    late = attempt("sms", task(7), service.url)
    assert ask(check, task(7)).answer is Answer.NOT_DONE

    late.finish()

    assert ask(check, task(7)).answer is Answer.DONE  # who had waited settle_s had seen it
    assert (check.is_fencing, check.settle_s) == (False, 5)


def test_a_provider_that_is_down_is_unknown(service: Service, attempt: Start) -> None:
    attempt("sms", task(7), service.url).reach("sent")
    service.kill()

    assert ask(check_of(service), task(7)).answer is Answer.UNKNOWN
