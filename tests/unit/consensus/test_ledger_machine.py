"""The replicated ledger: every entry applied once, within the life of its proposer; a bad command changes nothing."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgpack
import pytest

from consensus.ledger.commands import (
    FIRST_FOREIGN_OPCODE,
    VERSION,
    CommandRefused,
    Entry,
    NewerEntry,
    Opcode,
    decode_runs,
    encode_entry,
    encode_pairs,
    encode_runs,
)
from consensus.ledger.machine import LedgerMachine
from consensus.ledger.sessions import STORED_ANSWERS_MAX
from consensus.ledger.table import Context

pytestmark = pytest.mark.unit


def apply(
    machine: LedgerMachine, seq: int, *commands: Any, proposer: int = 1, below: int = 0, term: int = 1
) -> Any:
    answers = machine.apply(encode_entry(Entry(proposer, seq, below, 0, list(commands))), term).answers
    return None if answers is None else answers[0]


def opened(proposer: int = 1, node: str = "a") -> tuple[LedgerMachine, int]:
    machine = LedgerMachine()
    return machine, apply(machine, 1, [Opcode.OPEN_SESSION, node, 1], proposer=proposer)


def loaded(machine: LedgerMachine) -> LedgerMachine:
    twin = LedgerMachine()
    twin.load(list(machine.freeze()))
    return twin


def test_blocks_never_overlap_and_keys_rise() -> None:
    machine, session = opened()
    first = apply(machine, 2, [Opcode.RESERVE, session, 10])
    second = apply(machine, 3, [Opcode.RESERVE, session, 10])
    assert second == first + 10


def test_the_same_entry_proposed_twice_takes_effect_once_and_has_one_answer() -> None:
    machine, session = opened()
    first = apply(machine, 2, [Opcode.RESERVE, session, 10])
    assert apply(machine, 2, [Opcode.RESERVE, session, 10]) == first
    assert machine.blocks.next_key == first + 10


def test_a_repeat_that_arrives_after_its_answer_was_seen_changes_nothing() -> None:
    machine, session = opened()
    apply(machine, 2, [Opcode.RESERVE, session, 10])
    apply(machine, 3, [Opcode.BARRIER], below=3)
    high = machine.blocks.next_key
    assert apply(machine, 2, [Opcode.RESERVE, session, 10]) is None
    assert machine.blocks.next_key == high


def test_an_entry_is_known_once_it_was_applied_or_settled() -> None:
    machine, _ = opened()
    apply(machine, 5, [Opcode.BARRIER])
    assert machine.knows(1, 5)
    assert not machine.knows(1, 6)
    apply(machine, 6, [Opcode.BARRIER], below=6)
    assert machine.knows(1, 5)
    assert not machine.knows(2, 5)


def test_a_new_life_of_a_node_closes_the_old_session_and_ignores_its_late_entries() -> None:
    machine, old = opened(proposer=1)
    new = apply(machine, 1, [Opcode.OPEN_SESSION, "a", 2], proposer=2)
    assert new != old
    assert apply(machine, 5, [Opcode.RESERVE, old, 10], proposer=1) is None
    assert "closed" in apply(machine, 2, [Opcode.RESERVE, old, 10], proposer=2)["refused"]


def test_a_late_open_session_of_a_former_life_is_not_let_in_whatever_it_carries() -> None:
    machine, _ = opened(proposer=1)
    new = apply(machine, 1, [Opcode.OPEN_SESSION, "a", 2], proposer=2)
    late = [Opcode.OPEN_SESSION, "a", 2], [Opcode.RESERVE, 1, 10], [Opcode.OPEN_SESSION, "a", 2]
    assert apply(machine, 9, *late, proposer=1) is None
    assert apply(machine, 1, [Opcode.OPEN_SESSION, "a", 1], proposer=3) is None
    assert machine.sessions.open(new)
    assert machine.blocks.next_key == 1


def test_an_entry_that_came_before_its_life_was_let_in_stays_without_effect() -> None:
    machine = LedgerMachine()
    early = [Opcode.BIND, "v", 1, 1]
    assert apply(machine, 1, early) is None
    session = apply(machine, 2, [Opcode.OPEN_SESSION, "a", 1])
    apply(machine, 3, [Opcode.RESERVE, session, 5])
    assert apply(machine, 1, early) is None
    assert len(machine.bindings) == 0


def test_a_thousand_restarts_leave_no_more_than_one_life_and_one_session() -> None:
    machine = LedgerMachine()
    for life in range(1, 1001):
        assert apply(machine, 1, [Opcode.OPEN_SESSION, "a", life], proposer=life) == life
    assert len(machine.sessions.items()) == 1
    assert sum(len(data) for _, data in machine.freeze()) < 400


def test_stored_answers_are_bounded_and_what_was_forgotten_is_settled() -> None:
    machine, session = opened()
    for seq in range(2, STORED_ANSWERS_MAX + 10):
        apply(machine, seq, [Opcode.RESERVE, session, 1])
    high = machine.blocks.next_key
    assert len(machine.stored_answers(1)) == STORED_ANSWERS_MAX
    assert apply(machine, 2, [Opcode.RESERVE, session, 1]) is None
    assert machine.blocks.next_key == high


@pytest.mark.parametrize(
    "command",
    [
        [99],
        [],
        "text",
        7,
        None,
        [Opcode.BARRIER, 1],
        [Opcode.OPEN_SESSION, "a"],
        [Opcode.OPEN_SESSION, "b", 1],
        [Opcode.OPEN_SESSION, "", 2],
        [Opcode.RENEW, 77],
        [Opcode.RENEW, "1"],
        [Opcode.CLOSE_SESSION, -1],
        [Opcode.RESERVE, 1, 0],
        [Opcode.RESERVE, 1, 1 << 40],
        [Opcode.RESERVE, 9, 1],
        [Opcode.EXECUTE, 1, "done", [1]],
        [Opcode.EXECUTE, 1, "done", [1, 0]],
        [Opcode.EXECUTE, 1, "done", [1, "x"]],
        [Opcode.EXECUTE, 1, "done", [0, 1]],
        [Opcode.EXECUTE, 1, "done", [5, -3]],
        [Opcode.EXECUTE, 1, "done", [95, 20]],
        [Opcode.EXECUTE, 1, "done", [1, 1 << 62, 1, 1]],
        [Opcode.EXECUTE, 1, "done", {}],
        [Opcode.EXECUTE, 1, "finished", [1, 1]],
        [Opcode.EXECUTE, 7, "done", [1, 1]],
        [Opcode.EXECUTE_CLAIMED, 1, "done", [3, 1, 0, 1]],
        [Opcode.CLAIM, 1, [3, 0, 0, 1]],
        [Opcode.CLAIM, 1, [3, 1 << 40]],
        [Opcode.CLAIM, 1, [200, 0]],
        [Opcode.CLAIM, 0, [3, 0]],
        [Opcode.FAIL, 1, [3]],
        [Opcode.DOUBT, 1, "w" * 5000, [1, 1]],
        [Opcode.RESOLVE, 7, [1, 1]],
        [Opcode.BIND, "v", 0, 1],
        [Opcode.BIND, "v", 1, -1],
        [Opcode.BIND, "v" * 5000, 1, 1],
        [Opcode.CONFIRM, "v"],
        [Opcode.CANCEL, [101, 1]],
        [Opcode.GROUP, [], ["a"]],
        [Opcode.GROUP, ["a"], ["b", "a"]],
    ],
)
def test_a_bad_command_is_answered_with_a_refusal_and_changes_nothing(command: Any) -> None:
    machine, session = opened()
    apply(machine, 2, [Opcode.RESERVE, session, 100])
    before = [section for section in machine.freeze() if not section[0].startswith(("ledger", "sessions"))]
    answer = apply(machine, 3, command)
    assert list(answer) == ["refused"]
    assert answer["refused"]
    assert [s for s in machine.freeze() if not s[0].startswith(("ledger", "sessions"))] == before


def test_one_bad_command_does_not_keep_its_neighbours_from_effect() -> None:
    machine, session = opened()
    entry = encode_entry(Entry(1, 2, 0, 0, [[99], [Opcode.RESERVE, session, 5]]))
    refusal, first = machine.apply(entry, 1).answers or []
    assert "unknown" in refusal["refused"]
    assert first == 1


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"\x01", msgpack.packb([VERSION, 1]), msgpack.packb([1, 1, 1, 0, []])]
)
def test_bytes_that_are_no_entry_change_nothing_but_the_hash(data: bytes) -> None:
    machine, _ = opened()
    before = machine.hash
    assert machine.apply(data, 1).answers is None
    assert machine.hash != before


def test_an_entry_of_a_newer_version_stops_the_node() -> None:
    machine, _ = opened()
    with pytest.raises(NewerEntry, match="update this node"):
        machine.apply(msgpack.packb([VERSION + 1, "whatever"]), 1)


def test_the_hash_covers_term_bytes_and_answers() -> None:
    hashes = set()
    for term, count in ((1, 5), (2, 5), (1, 6)):
        machine, session = opened()
        apply(machine, 2, [Opcode.RESERVE, session, count], term=term)
        hashes.add(machine.hash)
    machine, session = opened()
    machine.blocks.next_key = 50  # a node that differs: same entries, another answer
    apply(machine, 2, [Opcode.RESERVE, session, 5])
    assert len(hashes | {machine.hash}) == 4


def test_a_loaded_snapshot_equals_the_machine_that_wrote_it() -> None:
    machine, session = opened()
    first = apply(machine, 2, [Opcode.RESERVE, session, 1000])
    apply(machine, 3, [Opcode.EXECUTE, session, "dead", encode_runs(range(first, first + 500))])
    apply(machine, 4, [Opcode.CLAIM, session, [first + 600, 0, 1, 0]])
    apply(machine, 5, [Opcode.DOUBT, session, "no answer", [first + 600, 1]])
    apply(machine, 6, [Opcode.BIND, "order:42", first + 700, 10**12])
    apply(machine, 7, [Opcode.GROUP, ["a"], ["a", "b"]])
    twin = loaded(machine)
    for each in (machine, twin):
        assert apply(each, 2, [Opcode.RESERVE, session, 1000]) == first  # answers are in the snapshot
        apply(each, 8, [Opcode.EXECUTE, session, "done", encode_runs([first + 700])])
    assert twin.hash == machine.hash
    assert list(twin.freeze()) == list(machine.freeze())
    assert twin.members.nodes == ("a", "b")
    assert twin.claims.in_doubt() == {first + 600: "no answer"}


def test_a_snapshot_written_by_another_thread_is_the_state_of_its_moment_whatever_is_applied_meanwhile() -> (
    None
):
    machine, session = opened()
    machine.blocks.next_key = 1 << 40
    rng = random.Random(1)

    def change(seq: int) -> None:
        keys = sorted(rng.sample(range(1, 1 << 31), 50))
        apply(machine, seq, [Opcode.EXECUTE, session, "dead", encode_runs(keys)], below=seq)
        apply(machine, seq + 1, [Opcode.CLAIM, session, encode_pairs((key + 1, 0) for key in keys)])
        apply(machine, seq + 2, [Opcode.BIND, f"value {seq}", keys[0], 1])

    for seq in range(10, 1000, 3):
        change(seq)
    then, lazily = list(machine.freeze()), machine.freeze()
    with ThreadPoolExecutor(1) as other:
        written = other.submit(list, lazily)
        for seq in range(1000, 2500, 3):
            change(seq)
        assert written.result(60) == then
    assert loaded(machine).hash == machine.hash


def test_a_snapshot_without_a_section_or_of_another_format_is_refused() -> None:
    machine, _ = opened()
    sections = list(machine.freeze())
    for at in range(len(sections)):
        with pytest.raises(ValueError, match="not whole"):
            LedgerMachine().load(sections[:at] + sections[at + 1 :])
    head = msgpack.packb([99, b"", {}])
    with pytest.raises(ValueError, match="format 99"):
        LedgerMachine().load([("ledger", head), *sections[1:]])


class Counters:
    """A foreign table: named counters, each step bound to an open session."""

    name = "counters"
    version = 3
    opcodes = (FIRST_FOREIGN_OPCODE,)

    def __init__(self) -> None:
        self.values: dict[str, int] = {}

    def apply(self, command: list[Any], context: Context) -> Any:
        match command:
            case [_, int(session), str(name)]:
                if not context.sessions.open(session):
                    raise CommandRefused("no such session")
                self.values[name] = context.blocks.reserve(1)
                return self.values[name]
            case _:
                raise CommandRefused("malformed")

    def freeze(self) -> Iterator[bytes]:
        return iter([msgpack.packb(self.values)])

    def load(self, pieces: Sequence[bytes], version: int) -> None:
        self.values = msgpack.unpackb(pieces[0]) if version else {}


def test_another_package_brings_a_table_of_its_own_and_it_lives_in_the_snapshot() -> None:
    machine = LedgerMachine([Counters()])
    session = apply(machine, 1, [Opcode.OPEN_SESSION, "a", 1])
    assert apply(machine, 2, [FIRST_FOREIGN_OPCODE, session, "x"]) == 1
    assert "session" in apply(machine, 3, [FIRST_FOREIGN_OPCODE, 99, "x"])["refused"]
    brought = Counters()
    LedgerMachine([brought]).load(machine.freeze())
    assert brought.values == {"x": 1}
    with pytest.raises(ValueError, match="counters"):
        LedgerMachine().load(machine.freeze())


def test_a_snapshot_from_before_a_table_existed_leaves_it_empty_and_one_of_a_newer_table_is_refused() -> None:
    brought = Counters()
    brought.values = {"x": 1}
    LedgerMachine([brought]).load(LedgerMachine().freeze())
    assert brought.values == {}
    newer = Counters()
    newer.version = 4
    with pytest.raises(ValueError, match=r"version 4 of table 'counters', this node knows 3"):
        LedgerMachine([brought]).load(LedgerMachine([newer]).freeze())


def test_the_words_of_a_refusal_are_not_part_of_the_hash_but_the_refusal_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neighbouring versions word it differently and must not stop one another."""
    hashes = []
    for words in ("unknown", "not known"):
        monkeypatch.setattr("consensus.ledger.machine.refused", lambda _, words=words: {"refused": words})
        machine, _ = opened()
        assert apply(machine, 2, [99]) == {"refused": words}
        assert apply(machine, 2, [99]) == {"refused": words}
        hashes.append(machine.hash)
    machine, _ = opened()
    machine._command = lambda command, context: None  # type: ignore[method-assign]  # a node that knows it
    apply(machine, 2, [99])
    apply(machine, 2, [99])
    assert hashes[0] == hashes[1] != machine.hash


@pytest.mark.parametrize(("name", "opcode"), [("claims", 70), ("end", 70), ("a.b", 70), ("mine", 3)])
def test_a_foreign_table_cannot_take_a_name_or_an_opcode_of_the_ledger(name: str, opcode: int) -> None:
    table = Counters()
    table.name, table.opcodes = name, (opcode,)
    with pytest.raises(ValueError, match="table"):
        LedgerMachine([table])


def test_runs_keep_every_key() -> None:
    keys = [1, 2, 3, 9, 11, 12, 2**40]
    assert [key for run in decode_runs(encode_runs(keys)) for key in run] == keys
