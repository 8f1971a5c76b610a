"""From recorded calls to a verdict on every key: claim, release, fail, execute and is_executed (pure).

Keys do not influence one another, except through sessions, so each key's history is judged alone: linearizability is local. A call over
several keys becomes one operation of each. The closing of a session is added to the history of every key that it held, as a call
of its own: not before the last call that needed it open was made, not after its node was first seen in a later session. So a
takeover from an open session is found although no single key shows it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos.history import RecordedCall
from tests.chaos.key_model import FOR_EVER, Act, KeyModel, Request, Sessions, exactly
from tests.chaos.linearizability import UNANSWERED, Operation, judge

NEEDS_OPEN_SESSION = ("reserve", "claim", "release", "fail")
BEFORE_ALL = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """`faults`: a sentence per key whose history is wrong or could not be decided."""

    keys: int
    calls: int
    unanswered: int
    faults: tuple[str, ...]


def judge_keys(calls: Sequence[RecordedCall]) -> Verdicts:
    """All calls of one ledger's whole life, from its first start."""
    histories = key_histories(calls)
    faults = judge_sessions(calls)
    for key, operations in sorted(histories.items()):
        judgement = judge(operations, KeyModel())
        if not judgement.good:
            faults.append(f"key {key} is {judgement.verdict.value}: {judgement.reason}")
    return Verdicts(
        keys=len(histories),
        calls=len(calls),
        unanswered=sum(call.returned_ns is None for call in calls),
        faults=tuple(faults),
    )


def key_histories(calls: Sequence[RecordedCall]) -> dict[int, list[Operation]]:
    """Key -> its operations, with the closings of the sessions that held it."""
    histories: dict[int, list[Operation]] = defaultdict(list)
    holders: dict[int, set[int]] = defaultdict(set)
    for call in calls:
        for key, request, answer in _per_key(call):
            histories[key].append(
                Operation(request=request, answer=answer, invoked=call.invoked_ns, returned=call.returned_ns)
            )
            if request.sessions.exact is not None:
                holders[key].add(request.sessions.exact)
            if request.act is Act.CLAIM and answer is not UNANSWERED:
                holders[key].add(answer[2])
    closings = closing_times(calls)
    for key, sessions in holders.items():
        histories[key] += [closings[session] for session in sorted(sessions) if session in closings]
    return dict(histories)


def closing_times(calls: Iterable[RecordedCall]) -> dict[int, Operation]:
    """Session -> its closing. Without an upper bound it may never have happened."""
    not_before: dict[int, int] = {}
    node_of: dict[int, str] = {}
    seen: dict[str, list[tuple[int, int]]] = defaultdict(list)  # node -> (when, in which session it was)
    for call in calls:
        for at, session in _sightings(call):
            seen[call.node].append((at, session))
            node_of[session] = call.node
        for session in _shown_open(call):
            not_before[session] = max(not_before.get(session, call.invoked_ns), call.invoked_ns)
    closings: dict[int, Operation] = {}
    for session in node_of.keys() | not_before.keys():
        later = [at for at, other in seen[node_of.get(session, "")] if other > session]
        invoked = not_before.get(session, BEFORE_ALL)
        returned = (
            max(min(later), invoked) if later else None
        )  # where it is not min(later): see judge_sessions
        closings[session] = Operation(
            request=Request(Act.CLOSE, exactly(session)),
            answer=UNANSWERED if returned is None else None,
            invoked=invoked,
            returned=returned,
        )
    return closings


def judge_sessions(calls: Sequence[RecordedCall]) -> list[str]:
    """A node's next session closes the one before: nothing that needs the older one open may be asked and granted later."""
    faults: list[str] = []
    newest: dict[str, int] = {}
    node_of = {call.session: call.node for call in calls if call.session is not None}
    seen = [(at, call.node, session) for call in calls for at, session in _sightings(call)]
    seen.sort(reverse=True)
    for call in sorted(calls, key=lambda call: call.invoked_ns):
        while seen and seen[-1][0] < call.invoked_ns:
            _, node, session = seen.pop()
            newest[node] = max(newest.get(node, 0), session)
        for session in _shown_open(call):
            if newest.get(node_of.get(session, ""), 0) > session:
                faults.append(f"session {session} was treated as open after its node's next: {call}")
    return faults


def _sightings(call: RecordedCall) -> list[tuple[int, int]]:
    """(when, session) in which its node knew itself to be."""
    pairs = ((call.invoked_ns, call.session), (call.returned_ns, call.session_after))
    return [(at, session) for at, session in pairs if at is not None and session is not None]


def _shown_open(call: RecordedCall) -> set[int]:
    """Sessions that were open when this call took effect."""
    if call.returned_ns is None:
        return set()
    found: set[int] = set()
    if call.operation in NEEDS_OPEN_SESSION and call.session == call.session_after and call.session:
        found.add(call.session)
    if call.operation == "claim":
        found |= {session for kind, _, session in call.answer if kind in ("go", "recover", "held")}
    return found


def _sessions(call: RecordedCall) -> Sessions:
    """Which the call may have been applied under: the same before and after is that one."""
    before, after = call.session, call.session_after
    if call.returned_ns is not None and before == after and before is not None:
        return exactly(before)
    needed = call.operation in NEEDS_OPEN_SESSION
    return Sessions(
        (before or 1) if needed else 0,
        FOR_EVER if call.returned_ns is None or after is None else after,
    )


def _per_key(call: RecordedCall) -> list[tuple[int, Request, Any]]:
    sessions, arguments = _sessions(call), call.arguments
    match call.operation:
        case "claim" | "release" | "fail":
            act = Act(call.operation)
            asked = [(key, Request(act, sessions, number)) for key, number in arguments["pairs"]]
        case "execute" if "pairs" in arguments:
            asked = [
                (key, Request(Act.EXECUTE_CLAIMED, sessions, number)) for key, number in arguments["pairs"]
            ]
        case "execute":
            asked = [(key, Request(Act.EXECUTE, sessions)) for key in arguments["keys"]]
        case "is_executed":
            asked = [(key, Request(Act.READ)) for key in arguments["keys"]]
        case "reserve" | "barrier":
            return []
        case other:
            raise ValueError(f"a history has a call of {other!r}, which no model knows")
    if call.returned_ns is None:
        return [(key, request, UNANSWERED) for key, request in asked]
    answers = [tuple(answer) if isinstance(answer, list) else answer for answer in call.answer]
    return [(key, request, answer) for (key, request), answer in zip(asked, answers, strict=True)]
