"""A node's door to keys in doubt: what the ledger knows of them, what their parked records add, and the operator's word (shell).

A key is in doubt when its check could not tell whether an attempt had its effect. It stays so until an operator has looked: *executed*
makes it final, *retry* lets the next claim run it. Nothing else moves it; the record waits in the parked topic and holds up nobody.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from cluster.api import DoubtsPage, DoubtView, ResolvedView
from cluster.dead.record import read_attempts
from cluster.dead.search import HISTORY, attempt_views
from cluster.envelope import decode_envelope, decode_key
from cluster.errors import RecordError, Refused, Unavailable
from cluster.kafka.slices import TopicSlice
from cluster.kafka.stored_record import StoredRecord
from cluster.parked import decode_parked
from cluster.routing import parked_topic
from consensus import ClaimState, ConsensusError, Decision, KeyService, NoQuorum, Outcome
from consensus import Refused as RefusedByLedger

_log = logging.getLogger(__name__)

PAGE_DOUBTS_MAX = 1000
LOOK_FOR_TASKS_S = 3.0  # in the parked topic, which may be long; what is not found is left empty
BARRIER_S = 2.0
LOGGED_KEYS_MAX = 10
WORDS = {"executed": Decision.EXECUTED, "retry": Decision.RETRY}


class Doubts:
    """Thread-safe."""

    def __init__(self, kafka: str, prefix: str, keys: KeyService) -> None:
        self._kafka, self._topic, self._keys = kafka, parked_topic(prefix), keys
        self._lock = threading.Lock()
        self.counters = {"doubt_resolved_executed": 0, "doubt_resolved_retry": 0}
        self._told = 0  # how many were in doubt when it was last said

    def page(self, keys: Sequence[int], *, after: int, with_tasks: bool, timeout_s: float) -> DoubtsPage:
        deadline = time.monotonic() + timeout_s
        self._await_ledger(min(BARRIER_S, timeout_s / 2))
        whys = self._keys.in_doubt()
        wanted = sorted(key for key in (set(keys) & whys.keys() if keys else whys) if key > after)
        views = self._views(wanted[:PAGE_DOUBTS_MAX], whys)
        if with_tasks and views:
            views = self._with_tasks(views, min(LOOK_FOR_TASKS_S, max(0.5, deadline - time.monotonic())))
        more = len(wanted) > PAGE_DOUBTS_MAX
        return DoubtsPage(
            doubts=tuple(views), total=len(whys), next=wanted[PAGE_DOUBTS_MAX - 1] if more else 0
        )

    def resolve(
        self, keys: Sequence[int], decision: str, *, who: str, timeout_s: float
    ) -> list[ResolvedView]:
        """Raises `Refused`, `Unavailable`. Safe to repeat: what was decided so before is no error."""
        if decision not in WORDS:
            raise Refused(f"a key in doubt cannot be {decision[:20]!r}: say executed or retry")
        try:
            decided = set(self._keys.resolve(sorted(set(keys)), WORDS[decision], timeout_s=timeout_s))
        except NoQuorum as error:
            raise Unavailable(f"nothing was decided: {error}") from error
        except RefusedByLedger as error:
            raise Refused(f"nothing was decided: {error}") from error
        except (ConsensusError, TimeoutError) as error:
            raise Unavailable(f"it may have been decided, look at `quorate doubt list`: {error}") from error
        if decided:
            with self._lock:
                self.counters[f"doubt_resolved_{decision}"] += len(decided)
            _log.warning(
                "doubt_resolved decision=%s who=%s count=%d keys=%s",
                decision,
                who or "unknown",
                len(decided),
                ",".join(map(str, sorted(decided)[:LOGGED_KEYS_MAX])),
            )
        if len(decided) < len(keys):
            self._await_ledger(BARRIER_S)
        return [
            ResolvedView(key=key, error="" if key in decided else self._why_not(key, decision))
            for key in keys
        ]

    def watch(self) -> None:
        """Says aloud when more keys are in doubt than before, and when none is left. By one thread, now and then."""
        count = self._keys.statistics().in_doubt_count
        if count > self._told:
            _log.error(
                "keys_in_doubt count=%d: their effects are unknown, see `quorate doubt list` and decide",
                count,
            )
        elif self._told and not count:
            _log.info("no_key_in_doubt")
        self._told = count

    def _why_not(self, key: int, decision: str) -> str:
        """Of a key that was not in doubt when its turn came; "" if it is as it was to be."""
        outcome, claim = self._keys.outcome(key), self._keys.claim_of(key)
        if outcome is not None:
            is_so = decision == "executed" and outcome is Outcome.DONE
            return "" if is_so else f"key {key} is not in doubt: it is executed, as {outcome}"
        if claim is None:
            return f"key {key} is not in doubt: nobody has claimed it"
        if claim.state is ClaimState.RELEASED:
            return "" if decision == "retry" else f"key {key} is not in doubt any more: it waits to run again"
        return f"key {key} is not in doubt: session {claim.session} has it, attempt {claim.attempt}"

    def _await_ledger(self, timeout_s: float) -> None:
        """What any node was told is known here too; without a majority, what this node knows."""
        try:
            self._keys.barrier(timeout_s=timeout_s)
        except (ConsensusError, TimeoutError) as error:
            _log.debug("doubts_without_barrier why=%s", error)

    def _views(self, keys: Sequence[int], whys: dict[int, str]) -> list[DoubtView]:
        sessions = {session.number: session for session in self._keys.sessions()}
        views = []
        for key in keys:
            claim = self._keys.claim_of(key)
            if claim is None:
                continue  # resolved since
            session = sessions.get(claim.session)
            views.append(
                DoubtView(
                    key=key,
                    why=whys[key],
                    attempt=claim.attempt,
                    after=claim.after,
                    session=claim.session,
                    node="" if session is None else session.node,
                    session_open=session is not None and session.open,
                )
            )
        return views

    def _with_tasks(self, views: list[DoubtView], within_s: float) -> list[DoubtView]:
        until = time.monotonic() + within_s
        by_key = {view.key: view for view in views}
        missing = set(by_key)
        with TopicSlice(self._kafka, self._topic, timeout_s=within_s) as topic:
            for record in topic.records(""):
                task = _parked_task(record, missing, by_key)
                if task is not None:
                    by_key[task.key] = task
                    missing.discard(task.key)
                if not missing or time.monotonic() >= until:
                    break
        return list(by_key.values())


def _parked_task(record: StoredRecord, missing: set[int], views: dict[int, DoubtView]) -> DoubtView | None:
    try:
        key = decode_key(record.key)
        if key not in missing:
            return None
        envelope = decode_envelope(decode_parked(record.value)[2])
    except RecordError:
        return None
    return replace(
        views[key],
        handler=envelope.handler,
        kind=envelope.kind,
        arguments=envelope.arguments,
        submitted_ms=envelope.submitted_ms,
        attempts=attempt_views(read_attempts(envelope.options.get(HISTORY))),
    )
