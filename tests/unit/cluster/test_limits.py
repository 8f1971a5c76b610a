"""Limits: what operators changed, with who and when; what of it reaches the executor; what survives a snapshot."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.tables.limits import (
    HISTORY_MAX,
    NAME_CHARACTERS_MAX,
    OPCODE,
    SUBJECTS_MAX,
    LimitsTable,
    Verb,
    command,
)
from consensus import CommandRefused, Context
from executor import Lane

pytestmark = pytest.mark.unit


def context(time_ms: int) -> Context:
    nothing: Any = None  # limits look at no table of keys
    return Context(proposer=1, time_ms=time_ms, sessions=nothing, blocks=nothing, executed=nothing)


class Ledger:
    """A table and the clock of whoever proposes."""

    def __init__(self) -> None:
        self.heard = 0
        self.table = LimitsTable(on_change=self.hear)
        self.now_ms = 1000

    def hear(self) -> None:
        self.heard += 1

    def do(self, verb: str, subject: str, value: int | None = None, who: str = "ann@desk") -> list[int]:
        answer: list[int] = self.table.apply(command(Verb(verb), subject, value, who), context(self.now_ms))
        return answer


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def test_what_is_set_is_in_force_with_who_and_when_until_it_is_cleared(ledger: Ledger) -> None:
    ledger.do("set", "handler:pdf", 3)
    ledger.now_ms = 2000
    ledger.do("set", "lane:io-long", 7, who="bob@desk")
    limits = ledger.table.state.for_executor()
    assert (limits.handlers, limits.lanes) == ({"pdf": 3}, {Lane.IO_LONG: 7})
    by_whom = {change.subject: (change.who, change.at_ms) for change in ledger.table.state.numbers.values()}
    assert by_whom == {"handler:pdf": ("ann@desk", 1000), "lane:io-long": ("bob@desk", 2000)}
    ledger.do("clear", "handler:pdf")
    assert ledger.table.state.for_executor().handlers == {}


def test_the_sizes_of_pools_reach_the_executor(ledger: Ledger) -> None:
    for subject, value in (("workers", 3), ("io-threads", 40), ("loop-tasks", 500), ("max-backlog-s", 60)):
        ledger.do("set", subject, value)
    limits = ledger.table.state.for_executor()
    assert (limits.workers, limits.io_threads_max, limits.loop_tasks_max) == (3, 40, 500)
    assert ledger.table.state.value("max-backlog-s") == 60


def test_what_is_paused_is_so_until_it_is_resumed(ledger: Ledger) -> None:
    ledger.do("pause", "handler:pdf")
    ledger.do("pause", "lane:cpu-long")
    limits = ledger.table.state.for_executor()
    assert limits.paused_handlers == {"pdf"}
    assert limits.paused_lanes == {Lane.CPU_LONG}
    ledger.do("resume", "handler:pdf")
    ledger.do("resume", "lane:cpu-long")
    limits = ledger.table.state.for_executor()
    assert not limits.paused_handlers | limits.paused_lanes


def test_a_repeat_changes_nothing_and_keeps_who_did_it_first(ledger: Ledger) -> None:
    first = ledger.do("pause", "handler:pdf")
    assert ledger.do("pause", "handler:pdf", who="bob@desk") == first
    assert ledger.table.state.paused["handler:pdf"].who == "ann@desk"
    assert ledger.do("resume", "handler:other") == first
    assert ledger.do("clear", "workers") == first
    assert ledger.heard == 1


def test_a_purge_is_up_to_the_moment_of_the_latest_one_whatever_clocks_say(ledger: Ledger) -> None:
    ledger.do("purge", "handler:pdf")
    ledger.now_ms = 500
    assert ledger.do("purge", "handler:pdf") == [2, 1000]
    ledger.now_ms = 3000
    ledger.do("purge", "lane:cpu-long")
    assert ledger.table.state.purged_handlers() == {"pdf": 1000}
    assert ledger.table.state.purged_lanes() == {"cpu-long": 3000}


def test_a_purge_can_be_forgotten(ledger: Ledger) -> None:
    ledger.do("purge", "handler:pdf")
    ledger.do("clear", "purge:handler:pdf")
    assert not ledger.table.state.purged


@pytest.mark.parametrize(
    ("verb", "subject", "value", "said"),
    [
        ("set", "handler:pdf", None, "whole number"),
        ("set", "handler:pdf", 0, "1 to"),
        ("set", "workers", 257, "1 to 256"),
        ("set", "nonsense", 1, "handler:NAME"),
        ("set", "lane:gpu", 1, "cpu-short"),
        ("set", "handler:" + "x" * (NAME_CHARACTERS_MAX + 1), 1, "characters"),
        ("pause", "workers", None, "handler:NAME or lane:NAME"),
        ("pause", "handler:", None, "characters"),
        ("pause", "handler:pdf", 3, "no number"),
        ("purge", "", None, "handler:NAME"),
        ("clear", "nonsense", None, "handler:NAME"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence_and_changes_nothing(
    ledger: Ledger, verb: str, subject: str, value: int | None, said: str
) -> None:
    with pytest.raises(CommandRefused, match=said):
        ledger.do(verb, subject, value)
    assert ledger.table.state.number == 0


@pytest.mark.parametrize(
    "raw",
    [
        [OPCODE],
        [OPCODE, "burn", "workers", 1, "x"],
        [OPCODE, "set", "workers", "1", "x"],
        [OPCODE, "set", 1, 1, 1],
    ],
)
def test_a_malformed_command_is_refused(ledger: Ledger, raw: list[Any]) -> None:
    with pytest.raises(CommandRefused):
        ledger.table.apply(raw, context(1))


def test_the_number_of_subjects_is_bounded_and_the_refusal_says_what_to_do(ledger: Ledger) -> None:
    for number in range(SUBJECTS_MAX):
        ledger.do("purge", f"handler:h{number}")
    with pytest.raises(CommandRefused, match="limit clear purge:"):
        ledger.do("purge", "handler:one-more")
    ledger.do("purge", "handler:h0")  # one that is there may be changed
    ledger.do("clear", "purge:handler:h1")
    ledger.do("purge", "handler:one-more")


def test_history_keeps_the_newest_and_counts_all(ledger: Ledger) -> None:
    for value in range(HISTORY_MAX + 5):
        ledger.do("set", "loop-tasks", 1 + value)
    state = ledger.table.state
    assert len(state.history) == HISTORY_MAX
    assert state.history[-1].number == state.number == HISTORY_MAX + 5


def test_a_snapshot_holds_everything_as_it_was_when_it_was_frozen(ledger: Ledger) -> None:
    # Given
    ledger.do("set", "workers", 2)
    ledger.do("pause", "handler:pdf")
    ledger.do("purge", "lane:io-long")
    frozen = ledger.table.freeze()
    before = ledger.table.state
    # When: later changes, before the pieces are asked for
    ledger.do("resume", "handler:pdf")
    other = Ledger()
    other.table.load(list(frozen), 1)
    # Then
    assert other.table.state == before
    assert other.heard == 1


def test_a_snapshot_from_before_limits_existed_is_read_as_no_limits(ledger: Ledger) -> None:
    ledger.do("set", "workers", 2)
    ledger.table.load([], 0)
    assert ledger.table.state.number == 0
