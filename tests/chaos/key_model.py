"""One key of the ledger as a sequential specification, after the table of DESIGN section 6 (pure).

Written from the design and not on the ledger's code, so that the two can disagree. A key is executed or not, and has an entry or
not: `after` (the attempt whose failure made the claimed record), `attempt`, the session that claimed it, and whether that claim stands,
has ended by a failure, or was withdrawn. A caller does not know for sure under which session its call was applied (a call that meets a
closed session goes out again in the next one), so a session is an interval, narrowed when an answer names it.

Sessions belong to no key, yet *held*, *recover* and *late* depend on them. So the closing of a session is one more call in the
history of each key, `Act.CLOSE`; `key_history.py` knows when it must have happened.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from tests.chaos.linearizability import UNANSWERED

FOR_EVER: Final = 1 << 62  # the highest session of a call that was never answered


class Sessions(NamedTuple):
    """The call was applied under one of these; 0 is no session, never open."""

    lowest: int
    highest: int

    @property
    def exact(self) -> int | None:
        return self.lowest if self.lowest == self.highest else None

    def both(self, other: Sessions) -> Sessions | None:
        lowest, highest = max(self.lowest, other.lowest), min(self.highest, other.highest)
        return Sessions(lowest, highest) if lowest <= highest else None


def exactly(session: int) -> Sessions:
    return Sessions(session, session)


class Act(enum.Enum):
    CLAIM = "claim"
    RELEASE = "release"
    FAIL = "fail"
    EXECUTE = "execute"  # without an attempt
    EXECUTE_CLAIMED = "execute claimed"
    READ = "is_executed"
    CLOSE = "close"


class Phase(enum.Enum):
    NO_ENTRY = "no entry"
    HELD = "held"
    ENDED = "ended"
    RELEASED = "released"


class Request(NamedTuple):
    """`number` is `after` for a claim, the attempt for release, fail and execute, else 0."""

    act: Act
    sessions: Sessions = exactly(0)
    number: int = 0


class Key(NamedTuple):
    executed: bool = False
    phase: Phase = Phase.NO_ENTRY
    after: int = 0
    attempt: int = 0
    holder: Sessions = exactly(0)
    disturbed: bool = False  # an attempt of this record before this one may have run
    closed: frozenset[int] = frozenset([0])

    def surely_open(self, sessions: Sessions) -> bool:
        return sessions.exact is not None and sessions.exact not in self.closed

    def surely_closed(self, sessions: Sessions) -> bool:
        return sessions.exact in self.closed


@dataclass(frozen=True, slots=True)
class KeyModel:
    """The `Model` of one key. Answers: claim (kind, attempt, session), the kind "go", "recover", "held", "stale" or "executed"; release
    and fail: whether it was this session's claim; execute "new", "already", "late" or "overtaken"; read: whether it is executed.
    """

    def initial(self) -> Key:
        return Key()

    def is_read(self, request: Request) -> bool:
        return request.act is Act.READ

    def step(self, key: Key, request: Request, answer: Any) -> list[Key]:
        match request.act:
            case Act.READ:
                return [key] if answer in (UNANSWERED, key.executed) else []
            case Act.CLOSE:
                return [key._replace(closed=key.closed | {request.sessions.lowest})]
            case Act.CLAIM:
                return _claim(key, request, answer)
            case Act.RELEASE:
                return _end(key, request, answer, Phase.RELEASED)
            case Act.FAIL:
                return _end(key, request, answer, Phase.ENDED)
            case Act.EXECUTE:
                return _execute(key, request, answer)
            case Act.EXECUTE_CLAIMED:
                return _execute_claimed(key, request, answer)


def _claim(key: Key, request: Request, answer: Any) -> list[Key]:
    """Each way in which the table lets this claim go on, then those that the answer fits."""
    after = request.number
    if key.executed:
        return [key] if answer in (UNANSWERED, ("executed", 0, 0)) else []
    if key.phase is Phase.NO_ENTRY:
        return _taken(key, request, answer, "go")
    if after < key.after or key.after < after < key.attempt:
        return _left(key, answer, "stale")
    match key.phase:
        case Phase.ENDED if after == key.after:
            return _left(key, answer, "stale")
        case Phase.ENDED:
            return _taken(key, request, answer, "go")
        case Phase.RELEASED:
            return _taken(key, request, answer, "recover" if key.disturbed else "go")
    # a claim stands: whether it can be taken over depends on its session, of which less is known if it was never answered
    held = [] if key.surely_closed(key.holder) else _left(key, answer, "held")
    recover = [] if key.surely_open(key.holder) else _taken(key, request, answer, "recover")
    return held + recover


def _taken(key: Key, request: Request, answer: Any, kind: str) -> list[Key]:
    attempt = max(key.attempt, request.number) + 1
    sessions = request.sessions
    if answer is not UNANSWERED:
        if answer[:2] != (kind, attempt) or not sessions.lowest <= answer[2] <= sessions.highest:
            return []
        sessions = exactly(answer[2])
    if key.surely_closed(sessions):
        return []  # a closed session claims nothing
    return [
        key._replace(
            phase=Phase.HELD,
            after=request.number,
            attempt=attempt,
            holder=sessions,
            disturbed=kind == "recover",
        )
    ]


def _left(key: Key, answer: Any, kind: str) -> list[Key]:
    if answer is UNANSWERED:
        return [key]
    if answer[:2] != (kind, key.attempt) or not key.holder.lowest <= answer[2] <= key.holder.highest:
        return []
    if kind == "held" and answer[2] in key.closed:
        return []
    return [key._replace(holder=exactly(answer[2]))]


def _end(key: Key, request: Request, answer: Any, phase: Phase) -> list[Key]:
    """Only the session that holds the claim ends it, with its own attempt, while it is open."""
    found: list[Key] = []
    common = key.holder.both(request.sessions)
    mine = (
        key.phase is Phase.HELD and key.attempt == request.number and not key.executed and common is not None
    )
    if mine and common is not None and answer in (UNANSWERED, True) and not key.surely_closed(common):
        found.append(key._replace(phase=phase, holder=common))
    surely_mine = mine and key.holder == request.sessions and key.holder.exact is not None
    if answer in (UNANSWERED, False) and not surely_mine:
        found.append(key)
    return found


def _execute(key: Key, request: Request, answer: Any) -> list[Key]:
    """A run without a claim: its mark counts, unless it comes late and another session has an entry by now."""
    if key.executed:
        return [key] if answer in (UNANSWERED, "already") else []
    found: list[Key] = []
    others = key.phase is not Phase.NO_ENTRY and not (
        key.holder == request.sessions and key.holder.exact is not None
    )
    surely_others = key.phase is not Phase.NO_ENTRY and key.holder.both(request.sessions) is None
    if not key.surely_closed(request.sessions) and answer in (UNANSWERED, "new"):
        found.append(_executed(key))
    if not key.surely_open(request.sessions):
        if answer in (UNANSWERED, "late") and not surely_others:
            found.append(_executed(key))
        if answer in (UNANSWERED, "overtaken") and others:
            found.append(key)
    return found


def _execute_claimed(key: Key, request: Request, answer: Any) -> list[Key]:
    """The mark of one attempt counts whichever session brings it, as long as nobody has claimed the key since."""
    if key.executed:
        return [key] if answer in (UNANSWERED, "already") else []
    if key.phase is not Phase.NO_ENTRY and request.number < key.attempt:
        return [key] if answer in (UNANSWERED, "overtaken") else []
    if key.phase is not Phase.NO_ENTRY and request.number > key.attempt:
        return []  # refused: never given out
    sessions = [request.sessions] if key.phase is Phase.NO_ENTRY else [request.sessions, key.holder]
    may_be_new = not any(key.surely_closed(each) for each in sessions)
    may_be_late = not all(key.surely_open(each) for each in sessions)
    if answer is UNANSWERED or (answer == "new" and may_be_new) or (answer == "late" and may_be_late):
        return [_executed(key)]
    return []


def _executed(key: Key) -> Key:
    """Final: what was claimed no longer matters, and equal states are found equal."""
    return Key(executed=True, closed=key.closed)
