"""Calls that share a command get the answers that they would get alone, in their order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus import operations
from consensus.errors import ConsensusError, Refused
from consensus.group_commit import GATHER_S, REGULAR_URGENT, Call, GroupCommit
from consensus.ledger.commands import Entry, Opcode, decode_entry, encode_entry
from consensus.ledger.machine import LedgerMachine
from consensus.merging import Merger, PerKey
from consensus.operations import Operation

pytestmark = pytest.mark.unit
PROPOSER, KEYS = 9, 12
PAIRS = st.lists(
    st.tuples(st.integers(1, KEYS), st.integers(0, 2)), min_size=1, max_size=4, unique_by=lambda p: p[0]
)
KINDS = st.sampled_from([operations.claim, operations.release, operations.fail])


def ledger() -> LedgerMachine:
    """With one open session, number 1, and `KEYS` keys handed out."""
    machine = LedgerMachine()
    commands = [[Opcode.OPEN_SESSION, "a:1", 1], [Opcode.RESERVE, 1, KEYS]]
    machine.apply(encode_entry(Entry(PROPOSER, 1, 1, 0, commands)), 1)
    return machine


def outcomes(machine: LedgerMachine, asked: list[Operation[Any]], *, shared: bool) -> list[Any]:
    """What each call gets, calls sharing commands or not; the group repeats what the ledger refused."""
    ends: dict[int, Any] = {}
    group = GroupCommit(PROPOSER, session=1, next_seq=2)
    for number, operation in enumerate(asked):

        def end(answer: Any, error: ConsensusError | None, number: int = number) -> None:
            ends[number] = type(error) if error is not None else asked[number].read(answer)

        per_key = operation.per_key if shared else None
        group.add(Call(command=operation.command, end=end, deadline=9.0, needs_session=True, per_key=per_key))
    for now in range(1, 5):
        for data in group.propose(float(now), 0):
            applied = machine.apply(data[len(REGULAR_URGENT) :], 1)
            group.answered(applied.seq, applied.answers, float(now))
    return [ends[number] for number in range(len(asked))]


@given(st.lists(st.tuples(KINDS, PAIRS), min_size=1, max_size=12))
def test_sharing_changes_no_answer_of_calls_of_one_kind(calls: list[Any]) -> None:
    """Calls of different kinds are unordered among themselves, so each kind is compared alone."""
    for kind in (operations.claim, operations.release, operations.fail):
        asked = [kind(pairs) for each, pairs in calls if each is kind]
        one, other = ledger(), ledger()
        assert outcomes(one, asked, shared=True) == outcomes(other, asked, shared=False)


def test_a_call_at_fault_is_refused_and_those_that_shared_its_command_are_not() -> None:
    asked = [operations.claim([(1, 0)]), operations.claim([(999, 0)]), operations.claim([(2, 0)])]
    first, wrong, last = outcomes(ledger(), asked, shared=True)
    assert wrong is Refused
    assert [answer[0].attempt for answer in (first, last)] == [1, 1]


def test_calls_on_different_keys_share_a_command_and_a_key_that_comes_twice_begins_another() -> None:
    merger = Merger(session=5)
    for pairs in ([(4, 0)], [(2, 1), (9, 0)], [(4, 3)], [(7, 0)]):
        merger.add_per_key(PerKey(Opcode.CLAIM, pairs, 3))
    commands, cuts = merger.finish()
    assert commands == [[Opcode.CLAIM, 5, [2, 1, 2, 0, 5, 0]], [Opcode.CLAIM, 5, [4, 3, 3, 0]]]
    answers = [["2a", "2b", "2c", "4a", "4b", "4c", "9a", "9b", "9c"], list("xyzuvw")]
    assert [cut.of(answers) for cut in cuts] == [
        ["4a", "4b", "4c"],
        ["2a", "2b", "2c", "9a", "9b", "9c"],
        list("xyz"),
        list("uvw"),
    ]


def test_many_calls_travel_as_one_command() -> None:
    group = GroupCommit(PROPOSER, session=1)
    for key in range(1, 65):
        operation = operations.claim([(key, 0)])
        group.add(
            Call(
                command=operation.command,
                end=lambda _answer, _error: None,
                deadline=1.0,
                per_key=operation.per_key,
            )
        )
    [data] = group.propose(0.0, 0)
    assert len(decode_entry(data[2:]).commands) == 1


def test_a_busy_group_waits_a_moment_for_more_calls_and_an_idle_one_does_not() -> None:
    group = GroupCommit(PROPOSER, session=1)

    def add(count: int) -> None:
        for _ in range(count):
            group.add(
                Call(command=lambda _: [Opcode.BARRIER], end=lambda _answer, _error: None, deadline=9.0)
            )

    add(10)
    assert len(group.propose(0.0, 0)) == 1, "nothing in flight: at once"
    add(9)
    assert group.propose(0.0001, 0) == []
    add(1)
    assert len(group.propose(0.0002, 0)) == 1, "as many as are on their way"
    add(1)
    assert group.propose(0.0003, 0) == []
    assert len(group.propose(0.0002 + GATHER_S, 0)) == 1, "the moment is over"
