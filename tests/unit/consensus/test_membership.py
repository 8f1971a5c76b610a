"""The group is what the last record in the log says, and one node changes at a time."""

from __future__ import annotations

from typing import Any

import pytest

from consensus.ledger.commands import Entry, Opcode, encode_entry
from consensus.raft.membership import MEMBERSHIP, GroupChange, GroupLog, group_change, refusal

pytestmark = pytest.mark.unit
GROUP = ("a", "b", "c")


def change(*, before: tuple[str, ...] = GROUP, after: tuple[str, ...] = (*GROUP, "d")) -> GroupChange:
    return GroupChange(proposer=1, seq=7, before=before, after=after)


def why_not(asked: GroupChange, **changes: Any) -> str | None:
    situation: dict[str, Any] = {
        "group": GROUP,
        "change_in_log": False,
        "own_term_applied": True,
        "known": False,
        "leader": "a",
        "missing_entries": {"d": 0},
    }
    return refusal(asked, **{**situation, **changes})


def test_a_node_that_has_caught_up_is_added_and_a_member_removed() -> None:
    assert why_not(change()) is None
    assert why_not(change(after=("a", "b"))) is None


@pytest.mark.parametrize(
    ("asked", "situation", "reason"),
    [
        (change(), {"change_in_log": True}, "not applied yet"),
        (change(), {"own_term_applied": False}, "not applied yet"),
        (change(), {"known": True}, "made before"),
        (change(), {"group": ("a", "b")}, "the group is a, b now"),
        (change(), {"missing_entries": {}}, "not connected"),
        (change(), {"missing_entries": {"d": 5_000}}, "caught up"),
        (change(after=(*GROUP, "d", "e")), {"missing_entries": {"d": 0, "e": 0}}, "one node at a time"),
        (change(after=("a", "b", "d")), {}, "one node at a time"),
        (change(after=GROUP), {}, "one node at a time"),
        (change(after=("b", "c")), {}, "hands its leadership over"),
        (change(before=("a",), after=()), {"group": ("a",)}, "one node at a time"),
    ],
)
def test_a_leader_refuses_a_change_that_could_break_the_overlap_of_majorities(
    asked: GroupChange, situation: dict[str, Any], reason: str
) -> None:
    answer = why_not(asked, **situation)
    assert answer is not None
    assert reason in answer


def test_a_change_is_read_from_its_entry_and_nothing_else_is_taken_for_one() -> None:
    entry = encode_entry(Entry(1, 7, 7, 0, [[Opcode.GROUP, list(GROUP), [*GROUP, "d"]]]))
    assert group_change(MEMBERSHIP + entry) == change()
    assert group_change(b"\x00\x01" + entry) is None
    assert group_change(MEMBERSHIP + b"rubbish") is None
    other = encode_entry(Entry(1, 7, 7, 0, [[Opcode.BARRIER]]))
    assert group_change(MEMBERSHIP + other) is None


def test_a_record_that_is_cut_off_takes_its_group_with_it() -> None:
    log = GroupLog(GROUP)
    log.append(10, ("d", *GROUP))
    assert log.current == (*GROUP, "d")
    log.cut(11)
    assert log.changed_at == 10
    log.cut(10)
    assert (log.current, log.changed_at) == (GROUP, 0)


def test_the_group_at_an_index_is_that_of_the_last_record_before_it_also_after_compaction() -> None:
    log = GroupLog(("a",))
    for index, members in ((5, ("a", "b")), (9, GROUP), (20, ("a", "b"))):
        log.append(index, members)
    assert [log.at(index) for index in (4, 5, 8, 9, 30)] == [
        ("a",),
        ("a", "b"),
        ("a", "b"),
        GROUP,
        ("a", "b"),
    ]
    log.compact(12)
    assert (log.at(12), log.current) == (GROUP, ("a", "b"))
    log.cut(20)
    assert log.current == GROUP
