"""What stands in the dead topic, as values and as bytes: dead records, and settlements of them (pure).

A *dead record* is msgpack `[reason, bytes of the record, details]`; the details were not there at first. A *settlement* is a msgpack map
under the same key, written when an operator has dealt with it: retried under a new key, or discarded. It stands in the same topic, so
that both travel, are kept and are restored together, and after the record in its partition. A dead key is final, so one settlement is.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgpack

REASON_CHARACTERS_MAX = 20_000
ATTEMPTS_MAX = 100  # the newest of a history; a record must stay below the size of a message
WHO_CHARACTERS_MAX = 200


class Attempt(NamedTuple):
    """One run that failed, as it stands in the history of a record."""

    attempt: int
    at_ms: int
    node: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadRecord:
    """`value`: the record that died, as it stood in `topic` ("" if nobody said). `attempts`: how it came to that, the oldest first."""

    reason: str
    value: bytes
    attempts: tuple[Attempt, ...] = ()
    topic: str = ""


class Verb(enum.StrEnum):
    """What an operator does about a dead task."""

    RETRY = "retry"
    DISCARD = "discard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """`place`: of the record in this topic, "PARTITION:OFFSET"; the only name of one that is no task."""

    verb: Verb
    place: str
    who: str
    at_ms: int
    new_key: int = 0

    def sentence(self) -> str:
        what = f"retried as {self.new_key}" if self.verb is Verb.RETRY else "discarded"
        return f"{what} by {self.who}"


def encode_dead(reason: str, value: bytes, *, attempts: Sequence[Attempt] = (), topic: str = "") -> bytes:
    details: dict[str, Any] = {}
    if attempts:
        details["attempts"] = [list(one) for one in attempts[-ATTEMPTS_MAX:]]
    if topic:
        details["topic"] = topic
    return bytes(msgpack.packb([reason[:REASON_CHARACTERS_MAX], value, details]))


def encode_settlement(settlement: Settlement) -> bytes:
    fields = {
        "settled": settlement.verb.value,
        "place": settlement.place,
        "who": settlement.who[:WHO_CHARACTERS_MAX],
        "at_ms": settlement.at_ms,
        "new_key": settlement.new_key,
    }
    return bytes(msgpack.packb(fields))


def decode_dead(value: bytes) -> DeadRecord | Settlement:
    """Foreign bytes come back as a dead record whose reason says so."""
    try:
        fields = msgpack.unpackb(value)
        match fields:
            case {"settled": str(verb), "place": str(place), "who": str(who), "at_ms": int(at_ms), **rest}:
                new_key: Any = rest.get("new_key", 0)
                return Settlement(verb=Verb(verb), place=place, who=who, at_ms=at_ms, new_key=int(new_key))
            case [reason, record]:
                return DeadRecord(reason=str(reason), value=bytes(record))
            case [reason, record, dict(details)]:
                return DeadRecord(
                    reason=str(reason),
                    value=bytes(record),
                    attempts=read_attempts(details.get("attempts", ())),
                    topic=str(details.get("topic", "")),
                )
    except Exception:  # msgpack raises several unrelated classes
        pass
    return DeadRecord(reason="the dead record cannot be read", value=value)


def read_attempts(told: Any) -> tuple[Attempt, ...]:
    """Those of `told` that are `[attempt, at_ms, node, error]`."""
    if not isinstance(told, list):
        return ()
    return tuple(
        Attempt(*one)
        for one in told
        if isinstance(one, list) and [type(field) for field in one] == [int, int, str, str]
    )
