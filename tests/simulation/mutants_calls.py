"""Mutants of calls and their answers: each function switches one repair off in this process (see `mutants.py`)."""

from __future__ import annotations

import math
import zlib
from typing import Any

from consensus import group_commit
from consensus.errors import Refused
from consensus.ledger.commands import Opcode
from consensus.ledger.machine import LedgerMachine
from consensus.raft.replica import Replica


def reads_without_the_log() -> None:
    add = Replica.add

    def answer(self: Any, call: Any) -> None:
        if not call.needs_session and call.command(0) == [Opcode.BARRIER]:
            call.finish(None, None)
        else:
            add(self, call)

    Replica.add = answer  # type: ignore[method-assign]


def unknown_is_told_as_refused() -> None:
    group_commit.OutcomeUnknown = lambda text, call_id=None: Refused(text)  # type: ignore[assignment,misc]


def repeats_take_effect_again() -> None:
    answers = LedgerMachine._answers

    def forgetful(self: Any, entry: Any) -> Any:
        life = self.sessions.life_of(entry.proposer)
        if life is not None:
            life.answers.pop(entry.seq, None)
            life.answered_below = min(life.answered_below, entry.seq)
        return answers(self, entry)

    LedgerMachine._answers = forgetful  # type: ignore[method-assign]


def ids_begin_again() -> None:
    """Each life of a node proposes under the same number, its sequence from 1."""
    init = Replica.__init__

    def same(self: Any, **parts: Any) -> None:
        init(self, **parts)
        self.group.proposer = zlib.crc32(parts["node"].encode())

    Replica.__init__ = same  # type: ignore[method-assign]


def no_deadlines() -> None:
    group_commit.GroupCommit.expire = lambda self, now: None  # type: ignore[method-assign]


def nothing_is_proposed_again() -> None:
    group_commit.REPEAT_FIRST_S = math.inf  # type: ignore[assignment]


def a_refusal_raises() -> None:
    def command(self: Any, command: Any, context: Any) -> Any:
        table = self._by_opcode.get(command[0])
        return None if table is None else table.apply(command, context)

    LedgerMachine._command = command  # type: ignore[method-assign]
