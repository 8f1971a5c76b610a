"""Bindings: one key a unique value, until its time is over and its key was executed."""

from __future__ import annotations

import pytest

from consensus import operations
from consensus.ledger.commands import Opcode
from consensus.ledger.packed_map import SHARDS
from consensus.ledger.table import Context
from consensus.operations import BindAnswer
from tests.ledger_driver import Driver

pytestmark = pytest.mark.unit


@pytest.fixture
def ledger() -> Driver:
    driver = Driver()
    driver.open("a")
    return driver


def bind(ledger: Driver, value: str, key: int, until_ms: int) -> tuple[int, bool]:
    answer = ledger.do(operations.bind(value, key, until_ms))
    return answer.key, answer.confirmed


def test_the_first_key_wins_and_is_confirmed_once_stored(ledger: Driver) -> None:
    assert ledger.do(operations.bind("order:42", 5, 100)) == BindAnswer(key=5, confirmed=False)
    assert bind(ledger, "order:42", 6, 100) == (5, False)
    assert ledger.do(operations.confirm("order:42", 6)) is False
    assert ledger.do(operations.confirm("order:43", 5)) is False
    assert ledger.do(operations.confirm("order:42", 5)) is True
    assert bind(ledger, "order:42", 6, 100) == (5, True)
    assert list(ledger.machine.bindings.unconfirmed()) == []


def test_a_value_is_free_again_only_when_its_time_is_over_and_its_key_was_executed(ledger: Driver) -> None:
    bind(ledger, "v", 5, 100)
    ledger.time_ms = 200
    assert bind(ledger, "v", 6, 300) == (5, False)  # it waits, perhaps for days
    ledger.do(operations.execute([5]))
    ledger.time_ms = 99
    assert bind(ledger, "v", 6, 300) == (5, False)
    ledger.time_ms = 100
    assert bind(ledger, "v", 6, 300) == (6, False)
    assert ledger.do(operations.confirm("v", 5)) is False, "a late confirm of the former key"


def test_what_is_over_is_swept_by_later_binds(ledger: Driver) -> None:
    for number in range(50):
        bind(ledger, f"old:{number}", 5, 10)
    ledger.do(operations.execute([5]))
    machine = ledger.machine
    context = Context(
        proposer=1, time_ms=20, sessions=machine.sessions, blocks=machine.blocks, executed=machine.executed
    )
    for number in range(SHARDS):
        machine.bindings.apply([Opcode.BIND, f"new:{number % 7}", 6, 30], context)
    assert len(machine.bindings) == 7
