"""Operations: what goes into the ledger and what comes back, in the caller's order, within the bytes that were promised."""

from __future__ import annotations

import random
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus import operations
from consensus.ledger.claims import ClaimKind, Decision
from consensus.ledger.commands import ENTRY_BYTES_MAX, Entry, encode_entry
from consensus.operations import OPERATION_KEYS_MAX, ExecuteAnswer, Operation
from tests.ledger_driver import Driver

pytestmark = pytest.mark.unit
WIDEST = 1 << 62
keys_lists = st.lists(st.integers(1, 1000), min_size=1, max_size=30)


def all_operations() -> list[Operation[Any]]:
    rng = random.Random(1)
    keys = rng.sample(range(1, WIDEST), OPERATION_KEYS_MAX)
    pairs = [(key, rng.randrange(1 << 31)) for key in keys]
    return [
        operations.barrier(),
        operations.reserve(1 << 20),
        operations.claim(pairs),
        operations.release(pairs),
        operations.fail(pairs),
        operations.execute(keys, "abandoned"),
        operations.execute(pairs, "abandoned"),
        operations.doubt(keys, "w" * 10_000),
        operations.resolve(keys, Decision.RETRY),
        operations.bind("ü" * 1024, WIDEST, WIDEST),
        operations.confirm("ü" * 1024, WIDEST),
        operations.cancel(keys),
        operations.command([1 << 40, "x" * 49_000, [1 << 62] * 100]),
        operations.change_group([f"host-{n}.example:7400" for n in range(30)], ["b:1"]),
    ]


@pytest.mark.parametrize("operation", all_operations(), ids=lambda operation: str(operation.command(1)[0]))
def test_the_size_told_is_never_too_small_and_the_largest_fits_an_entry(operation: Operation[Any]) -> None:
    command = operation.command(1 << 48)
    assert len(msgpack.packb(command)) <= operation.size_bytes
    whole = encode_entry(Entry((1 << 63) - 1, 1 << 62, 1 << 62, 1 << 62, [command]))
    assert len(whole) <= ENTRY_BYTES_MAX


@given(keys=keys_lists, before=keys_lists)
def test_marks_are_answered_in_the_order_of_the_call(keys: list[int], before: list[int]) -> None:
    ledger = Driver()
    session = ledger.open("a")
    ledger.do(operations.execute(before), session)
    assert ledger.do(operations.execute(keys), session) == [
        ExecuteAnswer.ALREADY if key in before else ExecuteAnswer.NEW for key in keys
    ]


@given(keys=keys_lists, held=keys_lists)
def test_claims_are_answered_in_the_order_of_the_call(keys: list[int], held: list[int]) -> None:
    ledger = Driver()
    a, b = ledger.open("a"), ledger.open("b")
    ledger.do(operations.claim([(key, 0) for key in held]), a)
    answers = ledger.do(operations.claim([(key, 0) for key in keys]), b)
    assert [answer.kind for answer in answers] == [
        ClaimKind.HELD if key in held else ClaimKind.GO for key in keys
    ]
    assert [answer.session for answer in answers] == [a if key in held else b for key in keys]


def test_a_call_about_no_keys_is_answered_with_nothing() -> None:
    ledger = Driver()
    session = ledger.open("a")
    nothing: list[Operation[list[Any]]] = [
        operations.claim([]),
        operations.execute([]),
        operations.fail([]),
        operations.cancel([]),
        operations.doubt([], "?"),
    ]
    assert [ledger.do(operation, session) for operation in nothing] == [[]] * 5


def test_a_foreign_command_stands_as_it_was_given_whatever_becomes_of_its_parts() -> None:
    rows = [["thumb", 1.5, None]]
    operation = operations.command((64, rows, "who"))
    rows[0][0] = "changed since"
    assert operation.command(7) == [64, [["thumb", 1.5, None]], "who"]
    assert operation.read([1, 2]) == [1, 2]
    assert not operation.needs_session


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: operations.execute([1], "finished"), "finished"),
        (lambda: operations.execute(range(1, OPERATION_KEYS_MAX + 2)), "at a time"),
        (lambda: operations.claim([(1, 0), (1, 1)]), "stands twice"),
        (lambda: operations.claim([(1, -1)]), "below zero"),
        (lambda: operations.execute([-1]), "below zero"),
        (lambda: operations.bind("v" * 1025, 1, 1), "shorten"),
        (lambda: operations.bind("\ud800", 1, 1), "surrogates"),
        (lambda: operations.confirm("\ud800", 1), "surrogates"),
        (lambda: operations.doubt([1], "\ud800"), "surrogates"),
        (lambda: operations.command([]), "begins with its opcode, 64"),
        (lambda: operations.command([63]), "begins with its opcode, 64"),
        (lambda: operations.command([True]), "begins with its opcode, 64"),
        (lambda: operations.command(["set", 1]), "begins with its opcode, 64"),
        (lambda: operations.command([64, "x" * 50_001]), "cut it"),
        (lambda: operations.command([64, object()]), "plain msgpack data"),
        (lambda: operations.command([64, 1 << 70]), "plain msgpack data"),
    ],
)
def test_a_fault_of_the_caller_is_told_to_the_caller(build: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build()
