"""What stands in the dead topic is read back as it was written, also what nodes wrote before; foreign bytes get a reason."""

from __future__ import annotations

import msgpack
import pytest

from cluster.dead.record import (
    ATTEMPTS_MAX,
    REASON_CHARACTERS_MAX,
    Attempt,
    DeadRecord,
    Settlement,
    Verb,
    decode_dead,
    encode_dead,
    encode_settlement,
)

pytestmark = pytest.mark.unit

ATTEMPTS = (
    Attempt(attempt=1, at_ms=17, node="n1", error="E"),
    Attempt(attempt=2, at_ms=18, node="n2", error="F"),
)


def test_a_dead_record_is_read_back_with_its_attempts() -> None:
    assert decode_dead(encode_dead("why", b"value", attempts=ATTEMPTS, topic="q.x.low")) == DeadRecord(
        reason="why", value=b"value", attempts=ATTEMPTS, topic="q.x.low"
    )


def test_a_dead_record_without_details_as_it_was_written_at_first_is_still_read() -> None:
    assert decode_dead(msgpack.packb(["why", b"value"])) == DeadRecord(reason="why", value=b"value")


def test_reason_and_history_are_bounded_and_the_newest_attempts_stay() -> None:
    many = [Attempt(attempt=n, at_ms=n, node="n", error="") for n in range(ATTEMPTS_MAX + 5)]
    dead = decode_dead(encode_dead("x" * (REASON_CHARACTERS_MAX + 1), b"", attempts=many))
    assert isinstance(dead, DeadRecord)
    assert len(dead.reason) == REASON_CHARACTERS_MAX
    assert dead.attempts == tuple(many[5:])


@pytest.mark.parametrize("verb", list(Verb))
def test_a_settlement_is_read_back(verb: Verb) -> None:
    settlement = Settlement(verb=verb, place="3:17", who="me@here", at_ms=5, new_key=9)
    assert decode_dead(encode_settlement(settlement)) == settlement


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xc1",
        msgpack.packb(5),
        msgpack.packb(["why"]),
        msgpack.packb({"settled": "eaten", "place": "1:1", "who": "x", "at_ms": 1}),
        msgpack.packb({"settled": "retry"}),
    ],
)
def test_foreign_bytes_are_a_dead_record_that_says_so(value: bytes) -> None:
    dead = decode_dead(value)
    assert isinstance(dead, DeadRecord)
    assert dead.value == value
    assert "cannot be read" in dead.reason


def test_attempts_that_are_none_are_left_out() -> None:
    told = [["a", 1, "n", "e"], [1, 2, "n", "e"], 7]
    dead = decode_dead(msgpack.packb(["why", b"", {"attempts": told}]))
    assert isinstance(dead, DeadRecord)
    assert dead.attempts == (Attempt(attempt=1, at_ms=2, node="n", error="e"),)
