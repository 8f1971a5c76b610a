"""A node's door to dead tasks: looked for in slices of the dead topic, retried or discarded in bulk (shell).

A retry is a new task with a key of its own and `retry_of` in its envelope. It is bound in the ledger to the dead key before it is stored,
and the dead task is settled after that; so whoever is cut off in between and comes again, on whatever node, finds the same new key, and
nothing is retried twice. See `docs/decisions/0012-dead-tasks-are-settled.md`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cluster.api import DeadFilter, DeadPage, SettledPage, SettledView, Submitted
from cluster.bound_stores import DEAD_VALUE, ToStore, store_bound
from cluster.dead.record import Settlement, Verb, encode_settlement
from cluster.dead.search import Found, Search, starts
from cluster.envelope import RETRY_OF, Envelope, encode_envelope, encode_key
from cluster.errors import RecordError, Refused, Unavailable
from cluster.kafka.confluent import TaskProducer
from cluster.kafka.slices import TopicSlice
from cluster.kafka.stored_record import parse_place
from cluster.node_submits import Submits
from cluster.results import Results
from cluster.routing import dead_topic
from consensus import ConsensusError, KeyService, Outcome

_log = logging.getLogger(__name__)

SLICE_S = 3.0  # of one call spent looking
PAGE_TASKS_MAX = 500
PAGE_BYTES_MAX = 8 * 1024 * 1024  # half of a message
ASK_S = 2.0
COUNTED_KEYS_MAX = 1000  # one by one; of more, a few that are not dead after all do not matter
RETRY_BOUND_S = 30 * 86_400.0  # an interrupted retry that is run again within this time retries nothing twice
PAST_OPTIONS = ("history", "failures", "uncounted", "claimed", "due_ms", RETRY_OF)  # of the task that died


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slice:
    found: list[Found]
    cursor: str
    looked: int
    total: int


class DeadTasks:
    """Thread-safe. `producer`: one whose records all replicas acknowledge."""

    def __init__(
        self,
        kafka: str,
        prefix: str,
        keys: KeyService,
        results: Results,
        submits: Submits,
        producer: TaskProducer,
    ) -> None:
        self._kafka, self._topic = kafka, dead_topic(prefix)
        self._keys, self._results, self._submits, self._producer = keys, results, submits, producer
        self._lock = threading.Lock()
        self.counters = {"dead_retried": 0, "dead_discarded": 0}

    def page(
        self, chosen: DeadFilter, *, cursor: str, limit: int, with_arguments: bool, timeout_s: float
    ) -> DeadPage:
        found = self._look(chosen, cursor, limit, timeout_s)
        views = [one.view if with_arguments else replace(one.view, arguments=None) for one in found.found]
        return DeadPage(tasks=tuple(views), cursor=found.cursor, looked=found.looked, total=found.total)

    def settle(
        self, verb: str, chosen: DeadFilter, *, cursor: str, limit: int, who: str, timeout_s: float
    ) -> SettledPage:
        """Raises `Refused`, `Unavailable`. What was settled before is left alone, and said to be so where it is named."""
        if verb not in tuple(Verb):
            raise Refused(f"a dead task cannot be {verb[:20]!r}: use one of {', '.join(Verb)}")
        deadline = time.monotonic() + timeout_s
        found = self._look(chosen, cursor, limit, timeout_s)
        done = [
            SettledView(key=one.view.key, place=one.view.place, error=f"was dealt with: {one.view.settled}")
            for one in found.found
            if one.view.settled
        ]
        open_ones = [one for one in found.found if not one.view.settled]
        if Verb(verb) is Verb.RETRY:
            done += self._retry(open_ones, who, deadline)
        else:
            settled = [(one, 0) for one in open_ones]
            done += self._settle(Verb.DISCARD, settled, who, deadline)
        return SettledPage(tasks=tuple(done), cursor=found.cursor, looked=found.looked, total=found.total)

    def open_count(self) -> int:
        """Dead tasks that nobody has dealt with."""
        count, keys = self._results.dead_open(COUNTED_KEYS_MAX)
        return sum(map(self._is_dead, keys)) if count <= COUNTED_KEYS_MAX else count

    def _is_dead(self, key: int) -> bool:
        """By the word of the ledger: the record may be of a run whose task succeeded later."""
        return self._keys.outcome(key) in (Outcome.DEAD, Outcome.ABANDONED)

    def _look(self, chosen: DeadFilter, cursor: str, limit: int, timeout_s: float) -> _Slice:
        if cursor and parse_place(cursor) is None:
            raise Refused(f"{cursor[:40]!r} is no cursor: begin with an empty one")
        named = [place for text in chosen.places if (place := parse_place(text)) is not None]
        if len(named) < len(chosen.places):
            raise Refused("a place in the dead topic is PARTITION:OFFSET")
        if not self._results.has_read_all_dead(min(timeout_s, ASK_S)):
            raise Unavailable("this node has not read the whole dead topic yet: ask again, or another node")
        self._await_marks(min(timeout_s, ASK_S))
        until = time.monotonic() + min(SLICE_S, timeout_s / 2)
        search = Search(
            chosen=chosen,
            limit=max(1, min(limit, PAGE_TASKS_MAX)),
            is_dead=self._is_dead,
            is_settled=self._results.is_settled,
        )
        where = starts(self._results.dead_places(chosen.keys), named) if search.is_by_name else None
        size_bytes, counted = 0, 0
        with TopicSlice(self._kafka, self._topic, timeout_s=max(0.5, min(SLICE_S, timeout_s))) as topic:
            goes_on = ""
            for record in topic.records(cursor, where):
                search.look(record)
                if len(search.found) > counted:
                    counted, size_bytes = len(search.found), size_bytes + len(record.value)
                if search.is_full or size_bytes > PAGE_BYTES_MAX or time.monotonic() >= until:
                    goes_on = f"{record.partition}:{record.offset + 1}"
                    break
            return _Slice(
                found=list(search.found.values()),
                cursor=goes_on,
                looked=topic.looked(goes_on),
                total=topic.total,
            )

    def _await_marks(self, timeout_s: float) -> None:
        """So that a task whose death any node has told is dead here too. Without a majority this node shows what it knows."""
        try:
            self._keys.barrier(timeout_s=timeout_s)
        except (ConsensusError, TimeoutError) as error:
            _log.debug("dead_tasks_without_barrier why=%s", error)

    def _retry(self, found: Sequence[Found], who: str, deadline: float) -> list[SettledView]:
        views: list[SettledView] = []
        wanted: list[tuple[Found, str, bytes]] = []
        for one in found:
            topic_and_record = self._retriable(one)
            if isinstance(topic_and_record, str):
                views.append(SettledView(key=one.view.key, place=one.view.place, error=topic_and_record))
            else:
                wanted.append((one, *topic_and_record))
        until_ms = int((time.time() + RETRY_BOUND_S) * 1000)
        fresh = self._submits.draw(len(wanted), max(0.1, deadline - time.monotonic()))
        stored = store_bound(
            self._keys,
            self._producer,
            [
                ToStore(f"{DEAD_VALUE}{one.view.key}", key, until_ms, topic, record)
                for key, (one, topic, record) in zip(fresh, wanted, strict=True)
            ],
            timeout_s=max(0.1, deadline - time.monotonic()),
        )
        settled = []
        for (one, _, _), result in zip(wanted, stored, strict=True):
            if result.error is None:
                settled.append((one, result.key))
            else:
                views.append(
                    SettledView(
                        key=one.view.key, place=one.view.place, new_key=result.key, error=result.error
                    )
                )
        return views + self._settle(Verb.RETRY, settled, who, deadline)

    def _retriable(self, one: Found) -> tuple[str, bytes] | str:
        """Topic and record of its retry, or why there is none."""
        envelope = one.envelope
        if envelope is None:
            return f"the record at {one.view.place} is no task, it can only be discarded: {one.view.error}"
        topic = self._submits.topic_for(envelope.handler, envelope.kind, one.priority, 1)
        if isinstance(topic, Submitted):
            return topic.error or topic.code
        kept = {name: value for name, value in envelope.options.items() if name not in PAST_OPTIONS}
        fresh = Envelope(
            handler=envelope.handler,
            kind=envelope.kind,
            arguments=envelope.arguments,
            submitted_ms=int(time.time() * 1000),
            options={**kept, RETRY_OF: one.view.key},
        )
        try:
            return topic, encode_envelope(fresh)
        except RecordError as error:
            return str(error)

    def _settle(
        self, verb: Verb, settled: Sequence[tuple[Found, int]], who: str, deadline: float
    ) -> list[SettledView]:
        at_ms = int(time.time() * 1000)
        records = [
            (
                self._topic,
                encode_key(one.view.key) if one.view.key else b"",
                encode_settlement(
                    Settlement(
                        verb=verb, place=one.view.place, who=who or "unknown", at_ms=at_ms, new_key=new_key
                    )
                ),
            )
            for one, new_key in settled
        ]
        reasons = self._producer.produce_many(records, timeout_s=max(0.1, deadline - time.monotonic()))
        done = sum(reason is None for reason in reasons)
        with self._lock:
            self.counters["dead_retried" if verb is Verb.RETRY else "dead_discarded"] += done
        if done:
            keys = [one.view.key or one.view.place for one, _ in settled]
            _log.info("dead_tasks_settled verb=%s who=%s count=%d first=%s", verb.value, who, done, keys[0])
        return [
            SettledView(
                key=one.view.key,
                place=one.view.place,
                new_key=new_key,
                error="" if reason is None else f"Kafka did not take its settlement ({reason}): run it again",
            )
            for (one, new_key), reason in zip(settled, reasons, strict=True)
        ]
