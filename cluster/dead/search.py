"""Which records of the dead topic an operator is shown: one after another is looked at, some are taken (pure).

A record is *dead* if its key was marked so in the ledger: one that was stored by a run whose node died before the mark, and that ran
again and succeeded, is none. A record that is no task has no mark; it is known by its place. What was settled is passed over, except for
those who name it by key or place. Of several records of one key one is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from cluster.api import AttemptView, DeadFilter, DeadView
from cluster.dead.record import Attempt, DeadRecord, Settlement, decode_dead, read_attempts
from cluster.envelope import RETRY_OF, Envelope, decode_envelope, decode_key
from cluster.errors import RecordError
from cluster.kafka.stored_record import StoredRecord
from cluster.routing import PRIORITIES

HISTORY = "history"  # option of an envelope: its attempts before the one that was the last
DEFAULT_PRIORITY = "normal"
SETTLED_BEFORE = "settled"  # where it does not matter how


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """`envelope` is None for a record that is no task. `priority`: of the topic where it stood."""

    view: DeadView
    envelope: Envelope | None
    priority: str = DEFAULT_PRIORITY


@dataclass(slots=True, kw_only=True)
class Search:
    """One call. `is_dead(key)`: so it was marked. `is_settled(key, place)`: as far as it is known beside the records that are looked at."""

    chosen: DeadFilter
    limit: int
    is_dead: Callable[[int], bool]
    is_settled: Callable[[int, str], bool]
    found: dict[int | str, Found] = field(default_factory=dict)  # by key, or place

    @property
    def is_full(self) -> bool:
        return len(self.found) >= self.limit

    @property
    def is_by_name(self) -> bool:
        return bool(self.chosen.keys or self.chosen.places)

    def look(self, record: StoredRecord) -> None:
        match decode_dead(record.value):
            case Settlement() as settlement:
                self._settled(record, settlement)
            case DeadRecord() as dead:
                self._dead(record, dead)

    def _settled(self, record: StoredRecord, settlement: Settlement) -> None:
        """After the record that it is about, so that one may be among the found."""
        for name in (_key(record), settlement.place):
            if name in self.found:
                one = self.found[name]
                self.found[name] = replace(one, view=replace(one.view, settled=settlement.sentence()))

    def _dead(self, record: StoredRecord, dead: DeadRecord) -> None:
        chosen = self.chosen
        key, envelope = _task(record, dead)
        if self.is_by_name and key not in chosen.keys and record.place not in chosen.places:
            return
        if record.stored_ms < chosen.since_ms or chosen.error.casefold() not in dead.reason.casefold():
            return
        if chosen.handler and (envelope is None or envelope.handler != chosen.handler):
            return
        if key and not self.is_dead(key):
            return
        is_settled = self.is_settled(key, record.place)
        if is_settled and not self.is_by_name:
            return
        name: int | str = key or record.place
        if name in self.found:
            return
        view = _view(key, record, dead, envelope)
        if is_settled:
            view = replace(view, settled=SETTLED_BEFORE)
        priority = dead.topic.rpartition(".")[2]
        self.found[name] = Found(
            view=view,
            envelope=envelope,
            priority=priority if priority in PRIORITIES else DEFAULT_PRIORITY,
        )


def is_task(key: bytes, dead: DeadRecord) -> int:
    """The key of a dead record that is a task, 0 for any other."""
    return _task(StoredRecord(0, 0, 0, key, b""), dead)[0]


def starts(
    places: Mapping[int, tuple[int, int] | None], named: list[tuple[int, int]]
) -> dict[int, int] | None:
    """Where to begin to look for keys, whose places are known or not, and places: partition -> offset. None: everywhere."""
    first: dict[int, int] = {}
    for place in (*places.values(), *named):
        if place is None:
            return None
        first[place[0]] = min(first.get(place[0], place[1]), place[1])
    return first


def _key(record: StoredRecord) -> int:
    try:
        return decode_key(record.key)
    except RecordError:
        return 0


def _task(record: StoredRecord, dead: DeadRecord) -> tuple[int, Envelope | None]:
    try:
        return decode_key(record.key), decode_envelope(dead.value)
    except RecordError:
        return 0, None


def _view(key: int, record: StoredRecord, dead: DeadRecord, envelope: Envelope | None) -> DeadView:
    if envelope is None:
        return DeadView(
            key=0,
            place=record.place,
            handler="",
            kind="",
            submitted_ms=0,
            died_ms=record.stored_ms,
            error=dead.reason,
            attempts=attempt_views(dead.attempts),
        )
    retry_of = envelope.options.get(RETRY_OF, 0)
    return DeadView(
        key=key,
        place=record.place,
        handler=envelope.handler,
        kind=envelope.kind,
        submitted_ms=envelope.submitted_ms,
        died_ms=record.stored_ms,
        error=dead.reason,
        retry_of=retry_of if isinstance(retry_of, int) else 0,
        attempts=attempt_views(dead.attempts or read_attempts(envelope.options.get(HISTORY))),
        arguments=envelope.arguments,
    )


def attempt_views(attempts: tuple[Attempt, ...]) -> tuple[AttemptView, ...]:
    return tuple(AttemptView(**one._asdict()) for one in attempts)
