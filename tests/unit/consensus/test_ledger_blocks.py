"""Blocks: fresh keys by moving one number, for commands and for tables of other packages."""

from __future__ import annotations

import pytest

from consensus import operations
from consensus.ledger.blocks import KEYS_END, RESERVE_KEYS_MAX
from consensus.ledger.commands import CommandRefused
from tests.ledger_driver import Driver, Refusal

pytestmark = pytest.mark.unit


def test_blocks_follow_one_another_whoever_asks() -> None:
    ledger = Driver(keys=0)
    a, b = ledger.open("a"), ledger.open("b")
    assert ledger.do(operations.reserve(10), a) == range(1, 11)
    assert ledger.do(operations.reserve(RESERVE_KEYS_MAX), b) == range(11, 11 + RESERVE_KEYS_MAX)


def test_a_closed_session_draws_nothing() -> None:
    ledger = Driver(keys=0)
    session = ledger.open("a")
    ledger.close(session)
    with pytest.raises(Refusal, match=f"session {session} is closed"):
        ledger.do(operations.reserve(1), session)
    assert ledger.machine.blocks.next_key == 1


def test_keys_end_below_two_to_the_63() -> None:
    blocks = Driver(keys=0).machine.blocks
    blocks.next_key = KEYS_END - 5
    with pytest.raises(CommandRefused, match="all keys"):
        blocks.reserve(6)
    assert blocks.reserve(5) == KEYS_END - 5
