"""Calls in, Raft entries out, answers cut back per call: a pure core (time is an argument).

Calls gather while entries are in flight, so that a busy group commits many calls at once and an idle one waits for nobody. An entry
without an answer is proposed again under the same (proposer, seq); the ledger applies it once. A call ends exactly once: answered,
refused (never proposed, or the ledger said so) or unknown (proposed, no answer before its deadline).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from consensus.errors import ConsensusError, NoQuorum, OutcomeUnknown, Refused
from consensus.ledger.commands import ENTRY_BYTES_MAX, Entry, encode_entry

WINDOW_ENTRIES_MAX = 16
ENTRY_CALLS_MAX = 1024
CALLS_MAX = 100_000
REPEAT_FIRST_S = 0.3
REPEAT_LAST_S = 2.0


@dataclass(slots=True, kw_only=True, eq=False)
class Call:
    """`command(session)` builds the ledger command. `end(answer, error)` is called exactly once."""

    command: Callable[[int], list[Any]]
    end: Callable[[Any, ConsensusError | None], None]
    deadline: float
    size_bytes: int = 32  # an upper estimate of the encoded command
    needs_session: bool = False
    ended: bool = False

    def finish(self, answer: Any, error: ConsensusError | None) -> None:
        if not self.ended:
            self.ended = True
            self.end(answer, error)


@dataclass(slots=True, kw_only=True)
class _InFlight:
    calls: list[Call]
    data: bytes
    repeat_at: float
    wait_s: float = REPEAT_FIRST_S


@dataclass(slots=True)
class GroupCommit:
    proposer: int
    session: int | None = None
    waiting: deque[Call] = field(default_factory=deque)
    in_flight: dict[int, _InFlight] = field(default_factory=dict)
    next_seq: int = 1

    def add(self, call: Call) -> None:
        if len(self.waiting) >= CALLS_MAX:
            call.finish(
                None, Refused(f"{CALLS_MAX} calls already wait for the ledger: slow down and try again")
            )
        else:
            self.waiting.append(call)

    def propose(self, now: float) -> list[bytes]:
        """New entries and repeats that are due. Call only while a leader is known; all returned bytes must be proposed."""
        out: list[bytes] = []
        for entry in self.in_flight.values():
            if entry.repeat_at <= now:
                entry.wait_s = min(entry.wait_s * 2, REPEAT_LAST_S)
                entry.repeat_at = now + entry.wait_s
                out.append(entry.data)
        while self.waiting and len(self.in_flight) < WINDOW_ENTRIES_MAX:
            calls = self._gather()
            if not calls:
                break
            seq, self.next_seq = self.next_seq, self.next_seq + 1
            commands = [call.command(self.session or 0) for call in calls]
            data = encode_entry(Entry(self.proposer, seq, min(self.in_flight, default=seq), commands))
            self.in_flight[seq] = _InFlight(calls=calls, data=data, repeat_at=now + REPEAT_FIRST_S)
            out.append(data)
        return out

    def _gather(self) -> list[Call]:
        calls: list[Call] = []
        held: list[Call] = []
        size = 64
        while self.waiting and len(calls) < ENTRY_CALLS_MAX:
            call = self.waiting[0]
            if size + call.size_bytes > ENTRY_BYTES_MAX and calls:
                break
            self.waiting.popleft()
            if call.needs_session and self.session is None:
                held.append(call)
            elif not call.ended:
                calls.append(call)
                size += call.size_bytes
        self.waiting.extendleft(reversed(held))
        return calls

    def answered(self, seq: int, answers: list[Any] | None, now: float) -> None:
        """The own replica has applied entry `seq`. A second application changes nothing."""
        entry = self.in_flight.pop(seq, None)
        if entry is None:
            return
        if answers is None:
            for call in entry.calls:
                call.finish(
                    None, OutcomeUnknown("the ledger has forgotten the answer: ask for the state instead")
                )
            return
        for call, answer in zip(entry.calls, answers, strict=True):
            if isinstance(answer, dict):
                reason = str(answer.get("refused"))
                if call.needs_session and reason.endswith("is closed") and call.deadline > now:
                    self.session = None  # not applied: the same call goes out again in the next session
                    self.waiting.appendleft(call)
                else:
                    call.finish(None, Refused(reason))
            else:
                call.finish(answer, None)

    def expire(self, now: float) -> None:
        if any(call.deadline <= now for call in self.waiting):
            kept: deque[Call] = deque()
            for call in self.waiting:
                if call.deadline <= now:
                    call.finish(
                        None, NoQuorum("no majority of the group answered in time; nothing was changed")
                    )
                else:
                    kept.append(call)
            self.waiting = kept
        for seq, entry in list(self.in_flight.items()):
            for call in entry.calls:
                if call.deadline <= now:
                    call.finish(
                        None, OutcomeUnknown("proposed, but no answer in time: it may or may not take effect")
                    )
            if all(call.ended for call in entry.calls):
                del self.in_flight[seq]

    def end_all(self, error: ConsensusError) -> None:
        for call in self.waiting:
            call.finish(None, error)
        for entry in self.in_flight.values():
            for call in entry.calls:
                call.finish(None, error)
        self.waiting.clear()
        self.in_flight.clear()
