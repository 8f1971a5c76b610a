"""Calls in, Raft entries out, answers cut back per call: a pure core (time is an argument).

Calls gather while entries are in flight, so that a busy group commits many calls at once and an idle one waits for nobody; calls of one
kind share a command (merging.py). An entry
without an answer is proposed again under the same (proposer, seq); the ledger applies it once. A call ends exactly once: answered,
refused (never proposed, or the ledger said so) or unknown (proposed, no answer before its deadline).

What became unknown is kept for a while, with its answer if that comes late: `repeat` asks for it again under the same id. The
ledger keeps the answer too, because `answered_below` stays below every entry that is kept here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from consensus.errors import ConsensusError, NoQuorum, OutcomeUnknown, Refused
from consensus.ledger.commands import ENTRY_BYTES_MAX, Entry, Opcode, encode_entry
from consensus.merging import Cut, Merger, PerKey
from consensus.raft.membership import MEMBERSHIP

WINDOW_ENTRIES_MAX = 16
ENTRY_CALLS_MAX = 1024
CALLS_MAX = 100_000
CALLS_BYTES_MAX = 64 << 20
GATHER_S = 0.002  # about what an entry takes: longer only delays, shorter makes entries of few calls
REPEAT_FIRST_S = 0.3
REPEAT_LAST_S = 2.0
UNKNOWN_ENTRIES_MAX = 64  # kept for `repeat`; the ledger holds the answers from the oldest of them on
UNKNOWN_KEPT_S = 60.0
# A node that flushes at intervals may lose these with its power: what they say is found out again (DESIGN: `--sync interval`).
LAZY = frozenset({Opcode.BARRIER, Opcode.RENEW, Opcode.EXECUTE, Opcode.EXECUTE_CLAIMED})
REGULAR_LAZY, REGULAR_URGENT = b"\x00\x00", b"\x00\x01"


@dataclass(slots=True, kw_only=True, eq=False)
class Call:
    """`command(session)` builds the ledger command. `end(answer, error)` is called exactly once."""

    command: Callable[[int], list[Any]]
    end: Callable[[Any, ConsensusError | None], None]
    deadline: float
    size_bytes: int = 32  # an upper estimate of the encoded command
    needs_session: bool = False
    alone: bool = False  # a change of the group travels in an entry of its own
    per_key: PerKey | None = None  # the same command, in the form that may be shared
    opens_session: bool = False  # the others wait for it: without a session nothing takes effect
    ended: bool = False

    def finish(self, answer: Any, error: ConsensusError | None) -> None:
        if not self.ended:
            self.ended = True
            self.end(answer, error)


@dataclass(slots=True, kw_only=True)
class _InFlight:
    calls: dict[int, Call]  # position in the entry -> who waits for its answer
    cuts: list[Cut]  # position -> where its answer is
    data: bytes
    repeat_at: float
    wait_s: float = REPEAT_FIRST_S
    unknown: bool = False  # one of its calls ended so


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unknown:
    data: bytes
    cuts: list[Cut]
    answers: list[Any] | None
    kept_until: float


@dataclass(slots=True)
class GroupCommit:
    proposer: int
    session: int | None = None
    waiting: deque[Call] = field(default_factory=deque)
    waiting_bytes: int = 0
    in_flight: dict[int, _InFlight] = field(default_factory=dict)
    next_seq: int = 1
    unknown: dict[int, _Unknown] = field(default_factory=dict)
    _proposed_at: float = float("-inf")
    _check_at: float = float("inf")  # no deadline is earlier

    def add(self, call: Call) -> None:
        if len(self.waiting) >= CALLS_MAX or self.waiting_bytes + call.size_bytes > CALLS_BYTES_MAX:
            call.finish(
                None,
                Refused(
                    f"{len(self.waiting)} calls of {self.waiting_bytes} bytes already wait for the ledger: "
                    "slow down and try again"
                ),
            )
        else:
            self.waiting.append(call)
            self.waiting_bytes += call.size_bytes
            self._check_at = min(self._check_at, call.deadline)

    def repeat(self, call_id: str, call: Call, now: float) -> None:
        """`call.command` is not used: the bytes of the unknown call go out again, under the same (proposer, seq)."""
        try:
            proposer, seq, position = (int(part) for part in call_id.split("-"))
        except ValueError:
            call.finish(None, Refused(f"{call_id!r} is no id of a call"))
            return
        kept = self.unknown.get(seq)
        entry = self.in_flight.get(seq)
        if proposer != self.proposer or (kept is None and (entry is None or position in entry.calls)):
            call.finish(
                None,
                Refused(f"call {call_id} is not known any more in this process: ask for the state instead"),
            )
        elif entry is not None:
            entry.calls[position] = call
            self._check_at = min(self._check_at, call.deadline)
        elif kept is not None and kept.answers is not None:
            _finish(call, kept.cuts[position].of(kept.answers))
        elif kept is not None:
            del self.unknown[seq]
            self.in_flight[seq] = _InFlight(
                calls={position: call}, cuts=kept.cuts, data=kept.data, repeat_at=now, unknown=True
            )
            self._check_at = min(self._check_at, call.deadline)

    def propose(self, now: float, time_ms: int) -> list[bytes]:
        """New entries and repeats that are due. Call only while a leader is known; all returned bytes must be proposed."""
        out: list[bytes] = []
        for entry in self.in_flight.values():
            if entry.repeat_at <= now:
                entry.wait_s = min(entry.wait_s * 2, REPEAT_LAST_S)
                entry.repeat_at = now + entry.wait_s
                out.append(entry.data)
        if self.gathers(now):
            return out
        while self.waiting and len(self.in_flight) < WINDOW_ENTRIES_MAX:
            calls = self._gather()
            if not calls:
                break
            self._proposed_at = now
            seq, self.next_seq = self.next_seq, self.next_seq + 1
            merger = Merger(self.session or 0)
            for call in calls:
                if call.per_key is None:
                    merger.add(call.command(self.session or 0))
                else:
                    merger.add_per_key(call.per_key)
            commands, cuts = merger.finish()
            settled = min(min(self.in_flight, default=seq), min(self.unknown, default=seq))
            entry_bytes = encode_entry(Entry(self.proposer, seq, settled, time_ms, commands))
            if calls[0].alone:
                data = MEMBERSHIP + entry_bytes
            elif all(command[0] in LAZY for command in commands):
                data = REGULAR_LAZY + entry_bytes
            else:
                data = REGULAR_URGENT + entry_bytes
            self.in_flight[seq] = _InFlight(
                calls=dict(enumerate(calls)), cuts=cuts, data=data, repeat_at=now + REPEAT_FIRST_S
            )
            out.append(data)
        return out

    def gathers(self, now: float) -> bool:
        """An entry costs nearly the same for one call as for many, and who was answered is likely about to call again. Waits until as
        many wait as are on their way, for an answer, or for `GATHER_S`: two halves of the callers take turns."""
        if not self.in_flight or now - self._proposed_at >= GATHER_S:
            return False
        return len(self.waiting) < sum(len(entry.calls) for entry in self.in_flight.values())

    def _gather(self) -> list[Call]:
        calls: list[Call] = []
        held: list[Call] = []
        size = 64
        while self.waiting and len(calls) < ENTRY_CALLS_MAX:
            call = self.waiting[0]
            if calls and (size + call.size_bytes > ENTRY_BYTES_MAX or call.alone):
                break
            self.waiting.popleft()
            if self.session is None and not call.opens_session:
                held.append(call)
                continue
            self.waiting_bytes -= call.size_bytes
            if not call.ended:
                calls.append(call)
                size += call.size_bytes
                if call.alone:
                    break
        self.waiting.extendleft(reversed(held))
        return calls

    def answered(self, seq: int, answers: list[Any] | None, now: float) -> None:
        """The own replica has applied entry `seq`. A second application changes nothing."""
        if seq in self.unknown and answers is not None:
            self.unknown[seq] = replace(self.unknown[seq], answers=answers)
        entry = self.in_flight.pop(seq, None)
        if entry is None:
            return
        if answers is None:
            for call in entry.calls.values():
                call.finish(
                    None, OutcomeUnknown("the ledger has forgotten the answer: ask for the state instead")
                )
            return
        if entry.unknown:
            self._keep(seq, entry, answers, now)
        again: list[Call] = []
        for position, call in entry.calls.items():
            cut = entry.cuts[position]
            answer = cut.of(answers)
            if not isinstance(answer, dict):
                call.finish(answer, None)
            elif call.needs_session and _session_closed(answer) and call.deadline > now:
                self.session = None  # not applied: the same call goes out again in the next session
                again.append(call)
            elif cut.shared and call.deadline > now:
                call.per_key = None  # one of those that shared the command is at fault: now each for itself
                again.append(call)
            else:
                _finish(call, answer)
        self.waiting.extendleft(reversed(again))
        self.waiting_bytes += sum(call.size_bytes for call in again)
        self._check_at = min([self._check_at, *(call.deadline for call in again)])

    def expire(self, now: float) -> None:
        if now < self._check_at:
            return
        if any(call.deadline <= now for call in self.waiting):
            on_time: deque[Call] = deque()
            for call in self.waiting:
                if call.deadline <= now:
                    self.waiting_bytes -= call.size_bytes
                    call.finish(
                        None, NoQuorum("no majority of the group answered in time; nothing was changed")
                    )
                else:
                    on_time.append(call)
            self.waiting = on_time
        for seq, entry in list(self.in_flight.items()):
            late = [position for position, call in entry.calls.items() if call.deadline <= now]
            for position in late:
                entry.unknown = True
                entry.calls.pop(position).finish(
                    None,
                    OutcomeUnknown(
                        "proposed, but no answer in time: it may or may not take effect",
                        f"{self.proposer}-{seq}-{position}",
                    ),
                )
            if not entry.calls:
                del self.in_flight[seq]
                self._keep(seq, entry, None, now)
        for seq in [seq for seq, kept in self.unknown.items() if kept.kept_until <= now]:
            del self.unknown[seq]
        open_calls = (call for entry in self.in_flight.values() for call in entry.calls.values())
        self._check_at = min(
            min((call.deadline for call in self.waiting), default=float("inf")),
            min((call.deadline for call in open_calls), default=float("inf")),
            min((kept.kept_until for kept in self.unknown.values()), default=float("inf")),
        )

    def _keep(self, seq: int, entry: _InFlight, answers: list[Any] | None, now: float) -> None:
        until = now + UNKNOWN_KEPT_S
        self.unknown[seq] = _Unknown(data=entry.data, cuts=entry.cuts, answers=answers, kept_until=until)
        self._check_at = min(self._check_at, until)
        if len(self.unknown) > UNKNOWN_ENTRIES_MAX:
            del self.unknown[min(self.unknown)]

    def end_all(self, reason: str) -> None:
        """The owner stops: what was not proposed is refused, what was is unknown."""
        for call in self.waiting:
            call.finish(None, Refused(reason))
        for entry in self.in_flight.values():
            for call in entry.calls.values():
                call.finish(None, OutcomeUnknown(reason))
        self.waiting.clear()
        self.waiting_bytes = 0
        self.in_flight.clear()


def _session_closed(answer: Any) -> bool:
    return isinstance(answer, dict) and str(answer.get("refused", "")).endswith("is closed")


def _finish(call: Call, answer: Any) -> None:
    if isinstance(answer, dict) and "refused" in answer:
        call.finish(None, Refused(str(answer["refused"])))
    else:
        call.finish(answer, None)
