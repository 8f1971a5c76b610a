"""Judges of the committed history: each sees every command that takes effect once, in the order of the log, with its answer.

They are naive twins: plain dicts that follow the words of the design, not the code of the ledger. A key is free, claimed, ended or
executed; a session is open or closed; that is all they know.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from consensus.ledger.claims import ClaimKind
from consensus.ledger.commands import Opcode
from consensus.ledger.marks import CancelKind
from tests.simulation.judges_raft import Violation
from tests.simulation.tally import NOTE


def is_refused(answer: Any) -> bool:
    return isinstance(answer, dict) and "refused" in answer


def keys_of(runs: list[int]) -> list[int]:
    bounds = list(accumulate(runs))
    return [key for first, stop in zip(bounds[::2], bounds[1::2], strict=True) for key in range(first, stop)]


def pairs_of(flat: list[int]) -> list[tuple[int, int]]:
    return list(zip(accumulate(flat[::2]), flat[1::2], strict=True))


class SessionsTwin:
    """Who is open; and I12: what a closed session still can do is a late mark."""

    name = "I12"

    def __init__(self) -> None:
        self.open: dict[int, str] = {}
        self.newest = 0

    def committed(self, index: int, command: list[Any], answer: Any) -> None:
        if is_refused(answer):
            return
        match command:
            case [Opcode.OPEN_SESSION, str(node), *_]:
                if answer in self.open and self.open[answer] == node:
                    return  # asked twice in one life
                if answer <= self.newest:
                    raise Violation(self.name, f"entry {index}: session {answer} of {node} was used before")
                self.newest = answer
                for number in [number for number, owner in self.open.items() if owner == node]:
                    del self.open[number]
                self.open[answer] = node
            case [Opcode.CLOSE_SESSION, int(number)]:
                self.open.pop(number, None)
            case [(Opcode.RENEW | Opcode.RESERVE | Opcode.CLAIM | Opcode.DOUBT) as opcode, int(number), *_]:
                if number not in self.open:
                    raise Violation(
                        self.name,
                        f"entry {index}: {Opcode(opcode).name} of session {number} took effect, it is not open",
                    )
            case [Opcode.EXECUTE | Opcode.EXECUTE_CLAIMED, int(number), _, keys]:
                if number not in self.open:
                    marked = (
                        keys_of(keys) if command[0] == Opcode.EXECUTE else [key for key, _ in pairs_of(keys)]
                    )
                    told = {key for runs in answer for key in keys_of(runs)}
                    if not set(marked) <= told:
                        raise Violation(
                            self.name, f"entry {index}: closed session {number} marks as if it were open"
                        )


class KeysOnce:
    """I9: no key is handed out twice, and a block begins where all before it end."""

    name = "I9"

    def __init__(self) -> None:
        self.next_key = 1

    def committed(self, index: int, command: list[Any], answer: Any) -> None:
        if command[0] == Opcode.RESERVE and not is_refused(answer):
            if answer < self.next_key:
                raise Violation(
                    self.name, f"entry {index} hands out key {answer}, all below {self.next_key} were before"
                )
            self.next_key = answer + command[2]


class ClaimsTwin:
    """I10: a claim raises the attempt by one, one session hears go for it, and nothing is taken from an open session."""

    name = "I10"

    def __init__(self, sessions: SessionsTwin) -> None:
        self._sessions = sessions
        self._attempts: dict[int, int] = {}
        self._holders: dict[int, int] = {}  # key -> session that runs it

    def committed(self, index: int, command: list[Any], answer: Any) -> None:
        if is_refused(answer):
            return
        match command:
            case [Opcode.CLAIM, int(session), flat]:
                for (key, after), kind, attempt, _ in zip(
                    pairs_of(flat), answer[::3], answer[1::3], answer[2::3], strict=True
                ):
                    if kind in (ClaimKind.GO, ClaimKind.RECOVER):
                        self._claimed(index, session, key, after, kind, attempt)
            case [Opcode.RELEASE | Opcode.FAIL, int(), flat]:
                for (key, _), yes in zip(pairs_of(flat), answer, strict=True):
                    if yes:
                        self._holders.pop(key, None)
            case [Opcode.EXECUTE, _, _, runs]:
                for key in set(keys_of(runs)) - set(keys_of(answer[2])):
                    self._holders.pop(key, None)
            case [Opcode.EXECUTE_CLAIMED, _, _, flat]:
                for key in {key for key, _ in pairs_of(flat)} - set(keys_of(answer[2])):
                    self._holders.pop(key, None)
            case [Opcode.RESOLVE, _, _]:
                for key in keys_of(answer):
                    self._holders.pop(key, None)

    def _claimed(self, index: int, session: int, key: int, after: int, kind: int, attempt: int) -> None:
        if attempt != max(after, self._attempts.get(key, 0)) + 1:
            raise Violation(
                self.name,
                f"entry {index}: attempt {attempt} of key {key} after {after}, the last was {self._attempts.get(key, 0)}",
            )
        holder = self._holders.get(key)
        if holder is not None and holder in self._sessions.open:
            raise Violation(self.name, f"entry {index}: key {key} is taken from the open session {holder}")
        if holder is not None and kind == ClaimKind.GO:
            raise Violation(
                self.name, f"entry {index}: go for key {key}, which closed session {holder} may have run"
            )
        self._attempts[key] = attempt
        self._holders[key] = session


class ExecutedStays:
    """I11: executed is final, its outcome is the first one, and it is new to one caller only."""

    name = "I11"

    def __init__(self) -> None:
        self.outcomes: dict[int, str] = {}

    def committed(self, index: int, command: list[Any], answer: Any) -> None:
        if is_refused(answer):
            return
        match command:
            case [Opcode.EXECUTE | Opcode.EXECUTE_CLAIMED, int(), str(outcome), flat]:
                keys = keys_of(flat) if command[0] == Opcode.EXECUTE else [key for key, _ in pairs_of(flat)]
                already, overtaken = set(keys_of(answer[1])), set(keys_of(answer[2]))
                for key in keys:
                    if key in overtaken:
                        continue
                    if (key in already) != (key in self.outcomes):
                        told = "already" if key in already else "new"
                        raise Violation(self.name, f"entry {index}: key {key} is {told} to its caller")
                    self.outcomes.setdefault(key, outcome)
            case [Opcode.CLAIM, int(), flat]:
                for (key, _), kind in zip(pairs_of(flat), answer[::3], strict=True):
                    if (kind == ClaimKind.EXECUTED) != (key in self.outcomes):
                        raise Violation(
                            self.name, f"entry {index}: claim of key {key} is answered {ClaimKind(kind).name}"
                        )
            case [Opcode.CANCEL, runs]:
                for key, kind in zip(keys_of(runs), answer[::2], strict=True):
                    if (
                        kind == CancelKind.CANCELLED
                        and self.outcomes.setdefault(key, "cancelled") != "cancelled"
                    ):
                        raise Violation(
                            self.name, f"entry {index}: key {key} is cancelled after it was executed"
                        )
            case [Opcode.RESOLVE, 1, _]:
                for key in keys_of(answer):
                    self.outcomes.setdefault(key, "done")


class NotedOnce:
    """I8, second half: a command that was proposed again has one effect. The tally's numbers show it."""

    name = "I8"

    def __init__(self) -> None:
        self.places: dict[int, int] = {}

    def committed(self, index: int, command: list[Any], answer: Any) -> None:
        if command[0] == NOTE and not is_refused(answer):
            number = command[1]
            if number in self.places:
                raise Violation(self.name, f"entry {index}: call {number} takes effect a second time")
            self.places[number] = answer
            if answer != len(self.places):
                raise Violation(
                    self.name,
                    f"entry {index}: call {number} is told place {answer}, it is {len(self.places)}",
                )
