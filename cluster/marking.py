"""Marks on their way: keys gather, leave in few entries of the ledger, and leave again until a majority has committed them (pure).

An entry costs as much as 400 keys in it and wakes eight threads, so marks gather for ten milliseconds; the first after a pause goes at
once. Only a task's offset waits for its mark, and whoever asks for its result.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from consensus import ConsensusError

MARK_KEYS_MAX = 4096  # what one operation of the ledger takes
IN_FLIGHT_MAX = 4
EVERY_S = 0.010
RETRY_AFTER_S = 0.2  # after a mark that got no answer

Execute = Callable[[list[int], str], "Future[Any]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkAnswer:
    outcome: str
    keys: Sequence[int]


class Marking:
    """`execute(keys, outcome)` starts a mark. What is unmarked is bounded by what is in flight."""

    def __init__(self, execute: Execute) -> None:
        self._execute = execute
        self._unmarked: dict[str, list[int]] = {}
        self._in_flight = 0
        self._due = 0.0
        self._answered: deque[tuple[MarkAnswer, Future[Any]]] = deque()  # filled by any thread
        self.retries = 0

    def add(self, keys: Sequence[int], outcome: str) -> None:
        self._unmarked.setdefault(outcome, []).extend(keys)

    def wait_s(self, now: float, longest_s: float) -> float:
        """Until the next mark is due. An answer wakes nobody; while it is waited for, it is looked for."""
        if not any(self._unmarked.values()):
            return longest_s
        if self._in_flight >= IN_FLIGHT_MAX:
            return EVERY_S
        return min(longest_s, max(0.0, self._due - now))

    def send(self, now: float) -> None:
        if now < self._due:
            return
        for outcome, keys in self._unmarked.items():
            while keys and self._in_flight < IN_FLIGHT_MAX:
                batch = keys[:MARK_KEYS_MAX]
                del keys[: len(batch)]
                self._in_flight += 1
                self._due = now + EVERY_S
                answer = MarkAnswer(outcome=outcome, keys=batch)
                self._execute(batch, outcome).add_done_callback(partial(self._heard, answer))

    def answers(self, now: float) -> list[MarkAnswer]:
        """Marks that a majority has committed since the last call; those that it has not go out again."""
        committed: list[MarkAnswer] = []
        while self._answered:
            answer, future = self._answered.popleft()
            self._in_flight -= 1
            error = future.exception()
            if error is None:
                committed.append(answer)
                continue
            if not isinstance(error, ConsensusError):
                raise error
            self.retries += 1
            self.add(answer.keys, answer.outcome)
            self._due = now + RETRY_AFTER_S
        return committed

    def _heard(self, answer: MarkAnswer, future: Future[Any]) -> None:
        self._answered.append((answer, future))
