"""A message that lacks a field, or has one of another kind, is refused whole and by name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.raft.messages import FIELDS, entries_of, fault, hashes_of

pytestmark = pytest.mark.unit
EXAMPLES: dict[type, Any] = {int: 7, bool: True, bytes: b"x", list: [], float: 1.5}
GOOD = {
    kind: {"type": kind, **{name: EXAMPLES[type_] for name, type_ in fields.items()}}
    for kind, fields in FIELDS.items()
}
RUBBISH = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.none())
)


@pytest.mark.parametrize("kind", FIELDS)
def test_every_kind_of_message_is_accepted_whole_and_refused_without_any_of_its_fields(kind: str) -> None:
    assert fault(GOOD[kind]) is None
    for name in FIELDS[kind]:
        less = {key: value for key, value in GOOD[kind].items() if key != name}
        assert name in str(fault(less))


@given(st.sampled_from(sorted(FIELDS)), st.data())
def test_a_field_of_another_kind_is_refused(kind: str, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(FIELDS[kind])))
    value = data.draw(RUBBISH)
    told = fault({**GOOD[kind], name: value})
    in_range = type(value) is not int or 0 <= value < 1 << 63
    assert (told is None) == (type(value) is FIELDS[kind][name] and in_range)


@given(RUBBISH)
def test_what_is_no_message_is_refused(rubbish: Any) -> None:
    assert fault(rubbish) is not None
    assert fault({"type": rubbish}) is not None


def test_entries_must_follow_one_another_in_terms_that_the_leader_can_have() -> None:
    message = {"term": 3, "prev_index": 4, "entries": [[b"a", 5, 2], [b"b", 6, 3]]}
    assert entries_of(message) == [(b"a", 5, 2), (b"b", 6, 3)]
    for bad in (
        [[b"a", 6, 2]],
        [[b"a", 5, 4]],
        [["a", 5, 2]],
        [[b"a", 5]],
        [5],
        [[b"a", 5, 2], [b"b", 5, 2]],
    ):
        assert entries_of({**message, "entries": bad}) is None


def test_malformed_checkpoints_of_a_ping_are_passed_over() -> None:
    assert hashes_of({"hashes": [[64, b"h"], ["x", b"h"], [1], None, [128, b"i"]]}) == [
        (64, b"h"),
        (128, b"i"),
    ]
