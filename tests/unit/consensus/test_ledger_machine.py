"""The replicated ledger: unique keys, final marks, every entry applied once."""

from typing import Any

import pytest

from consensus.ledger.commands import Entry, Opcode, decode_runs, encode_entry, encode_runs
from consensus.ledger.machine import LedgerMachine

pytestmark = pytest.mark.unit


def apply(machine: LedgerMachine, seq: int, *commands: list[Any], proposer: int = 1, below: int = 0) -> Any:
    answers = machine.apply(encode_entry(Entry(proposer, seq, below, list(commands))))[2]
    return None if answers is None else answers[0]


def opened(proposer: int = 1, node: str = "a") -> tuple[LedgerMachine, int]:
    machine = LedgerMachine()
    return machine, apply(machine, 1, [Opcode.OPEN_SESSION, node], proposer=proposer)


def test_blocks_never_overlap_and_keys_rise() -> None:
    machine, session = opened()
    first = apply(machine, 2, [Opcode.RESERVE, session, 10])
    second = apply(machine, 3, [Opcode.RESERVE, session, 10])
    assert second == first + 10


def test_the_same_entry_proposed_twice_takes_effect_once_and_has_one_answer() -> None:
    machine, session = opened()
    first = apply(machine, 2, [Opcode.RESERVE, session, 10])
    assert apply(machine, 2, [Opcode.RESERVE, session, 10]) == first
    assert machine.next_key == first + 10


def test_a_repeat_that_arrives_after_its_answer_was_seen_changes_nothing() -> None:
    machine, session = opened()
    apply(machine, 2, [Opcode.RESERVE, session, 10])
    apply(machine, 3, [Opcode.BARRIER], below=3)
    high = machine.next_key
    assert apply(machine, 2, [Opcode.RESERVE, session, 10]) is None
    assert machine.next_key == high


def test_a_new_life_of_a_node_closes_the_old_session_and_ignores_its_late_entries() -> None:
    machine, old = opened(proposer=1)
    new = apply(machine, 1, [Opcode.OPEN_SESSION, "a"], proposer=2)
    assert new != old
    assert apply(machine, 5, [Opcode.RESERVE, old, 10], proposer=1) is None
    assert "closed" in apply(machine, 2, [Opcode.RESERVE, old, 10], proposer=2)["refused"]


def test_a_mark_is_final_and_a_closed_session_may_still_mark_late() -> None:
    machine, session = opened()
    first = apply(machine, 2, [Opcode.RESERVE, session, 10])
    runs = encode_runs([first, first + 2])
    assert apply(machine, 3, [Opcode.EXECUTE, session, "done", runs]) == [False, []]
    apply(machine, 4, [Opcode.CLOSE_SESSION, session])
    late, already = apply(machine, 5, [Opcode.EXECUTE, session, "dead", encode_runs([first, first + 1])])
    assert late is True
    assert [list(run) for run in decode_runs(already)] == [[first]]
    assert machine.outcomes == {first + 1: "dead"}


def test_a_key_that_was_never_handed_out_cannot_be_marked() -> None:
    machine, session = opened()
    assert "never" in apply(machine, 2, [Opcode.EXECUTE, session, "done", encode_runs([999])])["refused"]
    assert len(machine.executed) == 0


def test_a_loaded_dump_equals_the_machine_that_wrote_it() -> None:
    machine, session = opened()
    first = apply(machine, 2, [Opcode.RESERVE, session, 1000])
    apply(machine, 3, [Opcode.EXECUTE, session, "dead", encode_runs(range(first, first + 500))])
    twin = LedgerMachine()
    twin.load(machine.dump())
    for each in (machine, twin):
        assert apply(each, 2, [Opcode.RESERVE, session, 1000]) == first  # answers are in the dump
        apply(each, 4, [Opcode.EXECUTE, session, "done", encode_runs([first + 700])])
    assert twin.hash == machine.hash
    assert twin.dump() == machine.dump()


def test_runs_keep_every_key() -> None:
    keys = [1, 2, 3, 9, 11, 12, 2**40]
    assert [key for run in decode_runs(encode_runs(keys)) for key in run] == keys
