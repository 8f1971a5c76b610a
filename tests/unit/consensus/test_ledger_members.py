"""Members: what the last applied change said."""

from __future__ import annotations

import pytest

from consensus import operations
from consensus.ledger.members import MEMBERS_MAX
from tests.ledger_driver import Driver, Refusal

pytestmark = pytest.mark.unit


def test_members_are_unknown_until_the_first_change_and_then_what_the_last_said() -> None:
    ledger = Driver()
    ledger.open("a")
    assert ledger.machine.members.nodes == ()
    assert ledger.do(operations.change_group(["b", "a"], ["c", "b", "a"])) == ("a", "b", "c")
    assert ledger.do(operations.change_group("abc", "ac")) == ("a", "c")
    assert ledger.machine.members.nodes == ("a", "c")
    ledger.reload()
    assert ledger.twin.members.nodes == ("a", "c")


def test_a_change_of_the_group_is_alone_in_its_entry() -> None:
    assert operations.change_group("ab", "abc").alone


def test_a_group_has_a_size() -> None:
    ledger = Driver()
    ledger.open("a")
    many = [f"n{number:02}" for number in range(MEMBERS_MAX + 1)]
    with pytest.raises(Refusal, match="group"):
        ledger.do(operations.change_group(many[1:], many))
    with pytest.raises(ValueError, match="last node"):
        operations.change_group(["a"], [])
