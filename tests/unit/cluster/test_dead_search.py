"""Which records of the dead topic an operator is shown."""

from __future__ import annotations

import pytest

from cluster.api import AttemptView, DeadFilter
from cluster.dead.record import Attempt, Settlement, Verb, decode_dead, encode_dead, encode_settlement
from cluster.dead.search import HISTORY, Search, starts
from cluster.dead.settled import PLACES_MAX, Settled
from cluster.envelope import RETRY_OF, Envelope, encode_envelope, encode_key
from cluster.kafka.stored_record import StoredRecord, parse_place

pytestmark = pytest.mark.unit


def dead(
    key: int, offset: int, *, handler: str = "send", error: str = "Boom", at_ms: int = 100, **options: object
) -> StoredRecord:
    envelope = Envelope(handler=handler, kind="k", arguments=b"a", submitted_ms=7, options=options)
    return StoredRecord(1, offset, at_ms, encode_key(key), encode_dead(error, encode_envelope(envelope)))


def settlement(key: int, place: str, offset: int = 99) -> StoredRecord:
    value = encode_settlement(Settlement(verb=Verb.RETRY, place=place, who="me", at_ms=1, new_key=50))
    return StoredRecord(1, offset, 100, encode_key(key) if key else b"", value)


NO_TASK = StoredRecord(1, 8, 100, b"stranger", encode_dead("no Quorate task", b"???"))


def search(
    *records: StoredRecord,
    settled: frozenset[int | str] = frozenset(),
    not_dead: frozenset[int] = frozenset(),
    limit: int = 100,
    **chosen: object,
) -> Search:
    made = Search(
        chosen=DeadFilter(**chosen),  # type: ignore[arg-type]
        limit=limit,
        is_dead=lambda key: key not in not_dead,
        is_settled=lambda key, place: (key or place) in settled,
    )
    for record in records:
        made.look(record)
    return made


def names(made: Search) -> list[int | str]:
    return list(made.found)


def test_all_are_found_if_nothing_is_asked_for() -> None:
    assert names(search(dead(1, 0), dead(2, 1), NO_TASK)) == [1, 2, "1:8"]


def test_handler_time_and_a_part_of_the_error_all_must_be_true() -> None:
    records = [
        dead(1, 0, handler="other"),
        dead(2, 1, at_ms=99),
        dead(3, 2, error="Bang"),
        dead(4, 3, error="a bOOm"),
        NO_TASK,
    ]
    assert names(search(*records, handler="send", since_ms=100, error="boom")) == [4]


def test_what_was_settled_is_passed_over_unless_it_is_named() -> None:
    settled: frozenset[int | str] = frozenset({1, "1:8"})
    assert names(search(dead(1, 0), dead(2, 1), NO_TASK, settled=settled)) == [2]
    made = search(dead(1, 0), dead(2, 1), NO_TASK, settled=settled, keys=(1,), places=("1:8",))
    assert names(made) == [1, "1:8"]
    assert [one.view.settled for one in made.found.values()] == ["settled", "settled"]


def test_what_became_of_it_is_told_where_the_settlement_is_read_too() -> None:
    made = search(dead(1, 0), settlement(1, "1:0"), settled=frozenset({1}), keys=(1,))
    assert made.found[1].view.settled == "retried as 50 by me"


def test_a_key_that_was_not_marked_dead_is_none() -> None:
    assert names(search(dead(1, 0), dead(2, 1), not_dead=frozenset({1}))) == [2]


def test_of_two_records_of_one_key_the_first_is_taken() -> None:
    made = search(dead(1, 0), dead(1, 5))
    assert [one.view.place for one in made.found.values()] == ["1:0"]


def test_a_search_is_full_at_its_limit() -> None:
    assert search(dead(1, 0), dead(2, 1), limit=2).is_full
    assert not search(dead(1, 0), limit=2).is_full


def test_a_view_has_the_history_of_the_record_or_else_of_its_envelope() -> None:
    made = search(dead(1, 0, **{RETRY_OF: 9, HISTORY: [[1, 5, "n1", "E"]]}))
    view = made.found[1].view
    assert (view.handler, view.kind, view.submitted_ms, view.died_ms, view.retry_of) == (
        "send",
        "k",
        7,
        100,
        9,
    )
    assert view.attempts == (AttemptView(attempt=1, at_ms=5, node="n1", error="E"),)
    whole = encode_dead("E2", b"??", attempts=[Attempt(2, 6, "n2", "E2")])
    [found] = search(StoredRecord(0, 3, 1, b"", whole)).found.values()
    assert found.view.attempts == (AttemptView(attempt=2, at_ms=6, node="n2", error="E2"),)


@pytest.mark.parametrize(
    ("topic", "priority"), [("q.cpu-short.high", "high"), ("", "normal"), ("q.parked", "normal")]
)
def test_a_retry_keeps_the_priority_where_it_is_known(topic: str, priority: str) -> None:
    value = encode_dead("E", encode_envelope(Envelope(handler="h", arguments=b"")), topic=topic)
    assert search(StoredRecord(0, 0, 1, encode_key(1), value)).found[1].priority == priority


def test_one_looks_from_the_first_named_place_on_and_everywhere_if_a_place_is_not_known() -> None:
    assert starts({5: (1, 7), 6: (1, 3), 7: (2, 0)}, [(4, 9)]) == {1: 3, 2: 0, 4: 9}
    assert starts({5: (1, 7), 6: None}, []) is None


@pytest.mark.parametrize("text", ["", "1", "1:", ":1", "a:1", "1:-1", "1:1:1", "1" * 40 + ":1", "٣:1"])
def test_what_is_no_place(text: str) -> None:
    assert parse_place(text) is None


def test_settled_tasks_are_known_by_key_and_records_that_are_no_tasks_by_place() -> None:
    # Given
    view = Settled()
    for record in (dead(1, 0), dead(2, 1), NO_TASK):
        view.read(record.key, decode_dead(record.value))
    assert view.open_count() == 2
    # When
    for record in (settlement(1, "1:0"), settlement(0, "1:8")):
        view.read(record.key, decode_dead(record.value))
    # Then
    assert [view.has(1, "1:0"), view.has(2, "1:1"), view.has(0, "1:8"), view.has(0, "1:9")] == [
        True,
        False,
        True,
        False,
    ]
    assert [view.knows(1), view.knows(3)] == [True, False]
    assert view.open_count() == 1
    assert view.open_keys() == [2]


def test_a_dead_record_that_is_stored_again_after_its_settlement_stays_settled() -> None:
    view = Settled()
    for record in (dead(1, 0), settlement(1, "1:0"), dead(1, 7)):
        view.read(record.key, decode_dead(record.value))
    assert view.has(1, "1:7")
    assert view.open_count() == 0


def test_places_of_what_is_no_task_are_bounded() -> None:
    view = Settled()
    for offset in range(PLACES_MAX + 1):
        view.read(b"", Settlement(verb=Verb.DISCARD, place=f"0:{offset}", who="", at_ms=0))
    assert not view.has(0, "0:0")
    assert view.has(0, f"0:{PLACES_MAX}")
