"""checks.http against a real HTTP service: its answer, its silence, and what it excludes."""

from __future__ import annotations

import asyncio
import time

import pytest

from executor import checks
from executor.checks import Answer, ask, ask_async
from tests.integration.checks.attempts import Service, Start, task

pytestmark = pytest.mark.integration
PLACE = "{idempotency_key}"
TOKEN = "t0p-s3cret-token"


@pytest.mark.parametrize(("point", "expected"), [("began", Answer.NOT_DONE), ("sent", Answer.DONE)])
def test_the_check_tells_what_an_attempt_had_sent_when_it_was_killed(
    service: Service, attempt: Start, point: str, expected: Answer
) -> None:
    attempt("charge", task(7), service.url).reach(point).kill()

    assert ask(checks.http(f"{service.url}/charges/{PLACE}"), task(7)).answer is expected


def test_a_request_that_comes_after_the_check_has_no_second_effect(service: Service, attempt: Start) -> None:
    check = checks.http(f"{service.url}/charges/{PLACE}")
    late = attempt("charge", task(7), service.url)
    assert ask(check, task(7)).answer is Answer.NOT_DONE
    assert attempt("charge", task(7, 2), service.url).finish() == ""

    assert late.finish() == ""

    assert service.effects() == ["charge quorate-7"]
    assert ask(check, task(7)).answer is Answer.DONE


@pytest.mark.parametrize("how", ["silent", "dripping"])
def test_a_service_that_does_not_come_to_an_end_is_unknown_in_time(service: Service, how: str) -> None:
    check = checks.http(f"{service.url}/sick/{how}?{PLACE}", timeout_s=0.5)
    began_s = time.monotonic()

    answer, why = ask(check, task(7))

    assert answer is Answer.UNKNOWN
    assert why == f"{service.url}/sick/{how} did not answer within 0.5 s"
    assert time.monotonic() - began_s < 5


@pytest.mark.parametrize(
    "how", ["cut", "gone", "nonsense", "moved", "huge", "500", "401", "403", "202", "204", "410", "429"]
)
def test_whatever_else_a_service_says_is_unknown(service: Service, how: str) -> None:
    check = checks.http(f"{service.url}/sick/{how}?{PLACE}", read=lambda status, body: status == 200 or None)
    by_status = checks.http(f"{service.url}/sick/{how}?{PLACE}")

    assert ask(check, task(7)).answer is Answer.UNKNOWN
    if how not in ("cut", "huge"):  # these have a good status, and nothing else was asked for
        answer, why = ask(by_status, task(7))
        assert answer is Answer.UNKNOWN
        status = {"moved": "302"}.get(how, how)
        assert ("did not answer:" if how in ("gone", "nonsense") else f"answered {status}") in why


def test_a_service_that_is_down_or_paused_is_unknown(service: Service, attempt: Start) -> None:
    check = checks.http(f"{service.url}/charges/{PLACE}", timeout_s=0.5)
    attempt("charge", task(7), service.url).reach("sent")
    service.pause()
    assert ask(check, task(7)).answer is Answer.UNKNOWN
    service.resume()
    assert ask(check, task(7)).answer is Answer.DONE
    service.kill()
    assert ask(check, task(7)).answer is Answer.UNKNOWN
    assert ask(checks.http(f"http://no-such-host.invalid/{PLACE}"), task(7)).answer is Answer.UNKNOWN


def test_statuses_are_mapped_as_told(service: Service) -> None:
    check = checks.http(f"{service.url}/sick/410?{PLACE}", done=[204], not_done=[404, 410])
    other = checks.http(f"{service.url}/sick/204?{PLACE}", done=[204])

    assert ask(check, task(7)) == (Answer.NOT_DONE, f"{service.url}/sick/410 answered 410")
    assert ask(other, task(7)).answer is Answer.DONE


def test_a_function_reads_a_status_that_is_in_the_body(service: Service, attempt: Start) -> None:
    def read(status: int, body: bytes) -> bool | None:
        return True if b'"done"' in body else None

    check = checks.http(f"{service.url}/status/{PLACE}", read=read)
    assert ask(check, task(7)).answer is Answer.UNKNOWN
    attempt("charge", task(7), service.url).reach("sent")
    assert ask(check, task(7)).answer is Answer.DONE
    broken = checks.http(f"{service.url}/status/{PLACE}", read=lambda status, body: bool(1 / 0))
    assert ask(broken, task(7)).answer is Answer.UNKNOWN


def test_credentials_are_sent_and_never_shown(service: Service, attempt: Start) -> None:
    attempt("charge", task(7), service.url).reach("sent")
    headers = {"Authorization": f"Bearer {TOKEN}"}
    right = checks.http(f"{service.url}/private/{PLACE}?api_key={TOKEN}", headers=lambda: headers)
    telling = checks.http(
        f"{service.url}/private/{PLACE}",
        headers=headers,
        read=lambda status, body: checks.CheckResult(Answer.UNKNOWN, f"Authorization: Bearer {TOKEN}"),
    )
    broken = checks.http(f"{service.url}/private/{PLACE}", headers={"Authorization": f"Bearer {TOKEN}\nX: y"})

    assert ask(right, task(7)).answer is Answer.DONE
    for check in (right, telling, broken):
        answer, why = ask(check, task(7))
        assert TOKEN not in why + repr(check) + repr(vars(check).get("_shown"))
        assert check is right or answer is Answer.UNKNOWN


def test_credentials_do_not_follow_a_redirect(service: Service) -> None:
    check = checks.http(f"{service.url}/sick/moved?{PLACE}", headers={"Authorization": f"Bearer {TOKEN}"})
    assert ask(check, task(7)) == (Answer.UNKNOWN, f"{service.url}/sick/moved answered 302")


def test_an_event_loop_turns_while_a_service_is_silent(service: Service) -> None:
    check = checks.http(f"{service.url}/sick/silent?{PLACE}", timeout_s=5)

    async def story() -> tuple[checks.CheckResult, int]:
        turns = 0
        asked = asyncio.create_task(ask_async(check, task(7), timeout_s=0.3))
        while not asked.done():
            await asyncio.sleep(0.01)
            turns += 1
        service.kill()  # so that the thread ends now
        return asked.result(), turns

    (answer, why), turns = asyncio.run(story())
    assert answer is Answer.UNKNOWN
    assert why == "the check did not answer within 0.3 s"
    assert turns > 5
