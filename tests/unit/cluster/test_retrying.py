"""What stands in Kafka of a run that failed."""

from __future__ import annotations

import pytest

from cluster.arrivals import Arrivals
from cluster.dead.record import ATTEMPTS_MAX, decode_dead, encode_dead
from cluster.delay.delayed import Delayed, decode_delayed, encode_delayed
from cluster.envelope import RECORD_BYTES_MAX, Envelope, decode_envelope, encode_envelope, encode_key
from cluster.errors import RecordError
from cluster.flow_events import Delivered, Place
from cluster.gate import OPEN_GATE
from cluster.retrying import ATTEMPTS_KEPT_MAX, MORE_BYTES_MAX, Dead, Retried, Retrying
from executor import Fault, Handler, Retry

pytestmark = pytest.mark.unit

NOW_MS = 1_700_000_000_000
MESSAGE_BYTES_MAX = 1_048_588  # the broker's default
BROKEN = Fault(("builtins.ValueError", "builtins.Exception"))


def retrying(policy: Retry | None = None, node: str = "node1") -> Retrying:
    handlers = {"h": Handler(name="h", retry=policy)}
    return Retrying("t", handlers=handlers, node=node, random=lambda: 1.0)


def retried(verdict: Retried | Dead) -> tuple[Delayed, Envelope]:
    assert isinstance(verdict, Retried)
    delayed = decode_delayed(verdict.forward.value)
    return delayed, decode_envelope(delayed.value)


def test_a_retry_is_the_record_with_its_attempt_its_history_and_its_hour() -> None:
    record = Envelope(handler="h", kind="k", arguments=b"a", submitted_ms=5, options={"retry_of": 3})
    verdict = retrying(Retry(base_s=2)).judge(
        record, "high", BROKEN, "ValueError: x\nmore", NOW_MS, attempt=1
    )
    delayed, envelope = retried(verdict)
    assert isinstance(verdict, Retried)
    assert verdict.forward.topic == "t.delay.near"
    assert (delayed.due_ms, delayed.priority) == (NOW_MS + 2000, "high")
    assert (envelope.after, envelope.kind, envelope.arguments, envelope.submitted_ms) == (1, "k", b"a", 5)
    assert envelope.options == {
        "retry_of": 3,
        "history": [[1, NOW_MS, "node1", "ValueError: x"]],
        "failures": {"": 1},
    }


def test_a_longer_wait_goes_to_a_rung() -> None:
    verdict = retrying(Retry(base_s=70)).judge(
        Envelope(handler="h", arguments=b""), "low", BROKEN, "x", NOW_MS, attempt=1
    )
    assert isinstance(verdict, Retried)
    assert verdict.forward.topic == "t.delay.60s"


def test_after_the_last_attempt_all_of_them_are_told() -> None:
    desk, record = retrying(Retry(max_attempts=3)), Envelope(handler="h", arguments=b"")
    for attempt in (1, 2):
        verdict = desk.judge(record, "low", BROKEN, f"boom {attempt}", NOW_MS + attempt, attempt=attempt)
        record = retried(verdict)[1]
    dead = desk.judge(record, "low", BROKEN, "boom 3\ntrace", NOW_MS + 3, attempt=3)
    assert isinstance(dead, Dead)
    assert dead.reason == "3 attempts failed; the last: boom 3\ntrace"
    assert [tuple(each) for each in dead.attempts] == [
        (attempt, NOW_MS + attempt, "node1", f"boom {attempt}") for attempt in (1, 2, 3)
    ]


def test_a_handler_without_retries_says_only_its_error() -> None:
    dead = retrying(None).judge(
        Envelope(handler="h", arguments=b""), "low", BROKEN, "boom", NOW_MS, attempt=1
    )
    assert isinstance(dead, Dead)
    assert dead.reason == "boom"


def test_a_handler_that_this_node_does_not_know_is_tried_again_as_others_may() -> None:
    record = Envelope(handler="newer", arguments=b"")
    assert isinstance(retrying().judge(record, "low", Fault(), "no handler", NOW_MS, attempt=1), Retried)


def test_the_history_is_bounded_and_the_count_is_not() -> None:
    desk, record = retrying(Retry(max_attempts=1000)), Envelope(handler="h", arguments=b"")
    for attempt in range(1, 200):
        record = retried(desk.judge(record, "low", BROKEN, "boom", NOW_MS, attempt=attempt))[1]
    assert len(record.options["history"]) == ATTEMPTS_KEPT_MAX <= ATTEMPTS_MAX
    assert [each[0] for each in record.options["history"]][:2] == [1, 199 - ATTEMPTS_KEPT_MAX + 2]
    assert record.options["failures"] == {"": 199}
    assert record.after == 199


def test_a_record_of_the_largest_size_can_be_retried_and_die() -> None:
    # Given: the largest record that can be submitted, and errors as large as they get
    arguments = b"a" * (RECORD_BYTES_MAX - 30)
    record = Envelope(handler="h", arguments=arguments, submitted_ms=NOW_MS)
    encode_envelope(record)
    with pytest.raises(RecordError):
        encode_envelope(Envelope(handler="h", arguments=arguments + b"a" * 30, submitted_ms=NOW_MS))
    names = [f"{number:03}{'m' * 190}" for number in range(50)]
    desk = retrying(
        Retry(max_attempts=1, on={name: Retry(max_attempts=9) for name in names}), node="\N{SNOWMAN}" * 1000
    )
    text = "\N{COLLISION SYMBOL}" * 20_000
    # When
    for attempt in range(1, 60):
        name = names[attempt % len(names)]
        verdict = desk.judge(record, "normal", Fault((name,)), text, NOW_MS, attempt=attempt)
        assert isinstance(verdict, Retried)
        assert len(verdict.forward.value) < MESSAGE_BYTES_MAX - 1000
        record = retried(verdict)[1]
    # Then
    dead = desk.judge(record, "normal", BROKEN, text, NOW_MS, attempt=60)
    assert isinstance(dead, Dead)
    assert (
        len(
            encode_dead(
                dead.reason, encode_envelope(record, more_bytes=MORE_BYTES_MAX), attempts=dead.attempts
            )
        )
        < MESSAGE_BYTES_MAX - 1000
    )


def test_the_dead_record_has_them_too() -> None:
    dead = retrying(None).judge(
        Envelope(handler="h", arguments=b""), "low", BROKEN, "boom", NOW_MS, attempt=1
    )
    assert isinstance(dead, Dead)
    found = decode_dead(encode_dead(dead.reason, b"v", attempts=dead.attempts))
    assert found.attempts == tuple(dead.attempts)  # type: ignore[union-attr]


def test_a_retry_that_is_read_again_is_known_as_one() -> None:
    place = Place("cpu-short", "low", "t.cpu-short.low", 0, 1)
    arrivals = Arrivals(
        "t",
        executed=lambda keys: [False] * len(keys),
        gate=lambda: OPEN_GATE,
        lane_of=None,
        room=lambda lane: 1,
    )
    first = encode_envelope(Envelope(handler="h", arguments=b""))
    again = encode_envelope(Envelope(handler="h", arguments=b"", after=4))
    with_options = encode_envelope(Envelope(handler="h", arguments=b"", after=2, options={"history": []}))
    keys = [encode_key(key) for key in (1, 2, 3)]
    (event,) = arrivals.events(place, keys, [first, again, with_options], [0, 1, 2])
    assert isinstance(event, Delivered)
    assert event.afters == {2: 4, 3: 2}


@pytest.mark.parametrize(
    "value", [None, b"", b"QD", b"QT\x01abc", b"QD\x02abc", b"QD\x01\xc1", b"QD\x01\x93\x01\x02\x03"]
)
def test_what_is_no_delayed_task_is_refused(value: bytes | None) -> None:
    with pytest.raises(RecordError, match="delayed"):
        decode_delayed(value)


def test_a_delayed_task_comes_back() -> None:
    assert decode_delayed(encode_delayed(Delayed(NOW_MS, "high", b"v"))) == Delayed(NOW_MS, "high", b"v")
