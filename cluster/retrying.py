"""A run that failed, as it stands in Kafka: a copy of the record for its next attempt, or all its attempts for the dead record (pure).

The copy has `after` = the attempt that failed, the failures counted by rule, and the history: attempts, times, nodes, errors. It is delayed
by the ladder, acknowledged by all replicas, and only then the record that it stands in for completes: so a retry waits in Kafka, whatever
happens to nodes. The policy is the handler's, as this node's workers declared it; a handler that is not known here has the default, as
another node or a newer worker may know it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cluster.dead.record import Attempt, read_attempts
from cluster.delay.delayed import Delayed, encode_delayed
from cluster.delay.ladder import due_ms, rung_s
from cluster.envelope import Envelope, encode_envelope
from cluster.flow_events import Forward
from cluster.routing import delay_topic
from executor import Again, Fault, Handler, Retry, decide

HISTORY = "history"  # options of an envelope: [attempt, at_ms, node, error] each
FAILURES = "failures"  # rule -> how many attempts failed under it
ATTEMPTS_KEPT_MAX = 20  # the first and the newest; FAILURES counts all
ERROR_BYTES_MAX = 500  # in a history; a dead record has the last one in full
NODE_BYTES_MAX = 100
REASON_BYTES_MAX = 40_000
MORE_BYTES_MAX = (
    32_000  # what history and counts may add to a record, so that all stays below the size of a message
)
UNKNOWN = Retry()


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """It waits for its next attempt: `forward` is to be stored first."""

    forward: Forward
    due_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dead:
    """There is none. `attempts`: all of them, the last one too."""

    reason: str
    attempts: Sequence[Attempt]


class Retrying:
    """`random()`: from 0 to 1."""

    def __init__(
        self, prefix: str, *, handlers: Mapping[str, Handler], node: str, random: Callable[[], float]
    ) -> None:
        self._prefix, self._handlers = prefix, handlers
        self._node, self._random = cut(node, NODE_BYTES_MAX), random

    def judge(
        self, envelope: Envelope, priority: str, fault: Fault, error: str, now_ms: int, *, attempt: int
    ) -> Retried | Dead:
        """What becomes of a task whose `attempt` failed now. `error`: in full, its first line is the short form."""
        handler = self._handlers.get(envelope.handler)
        failures = failures_of(envelope)
        decision = decide(UNKNOWN if handler is None else handler.retry, fault, failures, self._random)
        attempts = self.attempts(envelope, attempt, error, now_ms)
        if not isinstance(decision, Again):
            reason = f"{decision.why}; the last: {error}" if decision.why else error
            return Dead(reason=cut(reason, REASON_BYTES_MAX), attempts=attempts)
        failures[decision.rule] = failures.get(decision.rule, 0) + 1
        return self.delayed(envelope, priority, decision.after_s, attempts, failures, now_ms)

    def attempts(self, envelope: Envelope, attempt: int, error: str, now_ms: int) -> list[Attempt]:
        """The history of the record and this attempt, bounded."""
        first_line = cut(error.partition("\n")[0], ERROR_BYTES_MAX)
        attempts = [*history_of(envelope), Attempt(attempt, now_ms, self._node, first_line)]
        if len(attempts) > ATTEMPTS_KEPT_MAX:
            attempts = [attempts[0], *attempts[1 - ATTEMPTS_KEPT_MAX :]]
        return attempts

    def delayed(
        self,
        envelope: Envelope,
        priority: str,
        after_s: float,
        attempts: Sequence[Attempt],
        failures: Mapping[str, int],
        now_ms: int,
    ) -> Retried:
        """The record of the attempt after the last one of `attempts`. All other options stay."""
        options: dict[str, Any] = {**envelope.options, HISTORY: [list(each) for each in attempts]}
        if failures:
            options[FAILURES] = dict(failures)
        record = replace(envelope, after=attempts[-1].attempt, options=options)
        hour_ms = due_ms(now_ms, after_s)
        value = encode_delayed(Delayed(hour_ms, priority, encode_envelope(record, more_bytes=MORE_BYTES_MAX)))
        topic = delay_topic(self._prefix, rung_s(hour_ms - now_ms))
        return Retried(forward=Forward(topic=topic, value=value), due_ms=hour_ms)


def history_of(envelope: Envelope) -> tuple[Attempt, ...]:
    return read_attempts(envelope.options.get(HISTORY))


def failures_of(envelope: Envelope) -> dict[str, int]:
    """By rule; what is no count is left out."""
    found = envelope.options.get(FAILURES)
    if not isinstance(found, dict):
        return {}
    return {name: count for name, count in found.items() if isinstance(name, str) and type(count) is int}


def cut(text: str, bytes_max: int) -> str:
    """The beginning of it, as so many bytes hold."""
    raw = text.encode("utf-8", "replace")
    return text if len(raw) <= bytes_max else raw[:bytes_max].decode("utf-8", "ignore")
