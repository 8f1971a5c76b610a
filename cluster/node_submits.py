"""A node's door for new tasks: each is refused in a sentence, or gets a key and a topic and is stored (shell).

What can be said of many tasks at once is said once: a call mostly has one handler, one kind and one priority, so that handler, lane and
room are looked up per combination, and a task costs its encoding and its delivery report. Tasks with a `unique` value go the longer way of
`bound_stores.py`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from cluster.admission import Admission, LaneBacklog, LaneLoad
from cluster.api import NewTask, Submitted
from cluster.bound_stores import UNIQUE_VALUE, ToStore, store_bound
from cluster.envelope import KEY_MAX, encode_key, encode_task
from cluster.errors import RecordError, Unavailable
from cluster.kafka.confluent import TaskProducer
from cluster.key_blocks import KeyBlocks
from cluster.routing import PRIORITIES, task_topic
from consensus import ConsensusError, KeyService
from executor import Handler

RESERVE_KEYS_MAX = 65_536
BARRIER_S = 2.0
UNIQUE_CHARACTERS_MAX = 1000  # the ledger takes 1024, with the word before it
UNIQUE_FOR_MAX_S = 366 * 86_400.0
PROMPT_RECORDS_MAX = 16  # a call with so few does not wait for others to travel with

_Sort = tuple[str, str, str]  # handler, kind, priority


class Submits:
    """Thread-safe. `lane_for`: where (handler, kind) is stored. `max_backlog_s` may change at any time. `safe_producer`: one whose records
    all replicas acknowledge."""

    def __init__(
        self,
        prefix: str,
        keys: KeyService,
        producer: TaskProducer,
        prompt_producer: TaskProducer,
        safe_producer: TaskProducer,
        *,
        handlers: Mapping[str, Handler],
        lane_for: Callable[[str, str], str],
        max_backlog_s: Callable[[], float],
    ) -> None:
        self._prefix, self._keys = prefix, keys
        self._producer, self._prompt_producer, self._safe_producer = producer, prompt_producer, safe_producer
        self._blocks = KeyBlocks(keys)
        self._handlers, self._lane_for, self._max_backlog_s = handlers, lane_for, max_backlog_s
        self._lock = threading.Lock()
        self._admission = Admission()
        self.counters = dict.fromkeys(("unique_bound", "unique_met", "unique_stored_again"), 0)

    def backlog_seen(self, records: Mapping[str, int], loads: Iterable[Mapping[str, LaneLoad]]) -> None:
        """By lane: what Kafka holds now, and what each node says of its slots."""
        with self._lock:
            self._admission.looked(records, loads)

    def backlog(self, lane: str) -> LaneBacklog:
        with self._lock:
            return self._admission.backlog(lane)

    def submit(self, tasks: Sequence[NewTask], *, timeout_s: float) -> list[Submitted]:
        """Raises `Unavailable` when keys are needed and no majority answers."""
        deadline = time.monotonic() + timeout_s
        sorts = self._decide(tasks)
        answers = [self._refusal(task, sorts) for task in tasks]
        wanted = sum(1 for task, no in zip(tasks, answers, strict=True) if no is None and not task.key)
        fresh = iter(self._draw(wanted, timeout_s))
        now_ms = int(time.time() * 1000)
        records: list[tuple[str, bytes, bytes]] = []
        places: list[int] = []
        unique: dict[int, ToStore] = {}
        for place, task in enumerate(tasks):
            if answers[place] is not None:
                continue
            key = task.key or next(fresh)
            topic = sorts[task.handler, task.kind, task.priority]
            assert isinstance(topic, str)
            try:
                value = encode_task(task.handler, task.kind, task.arguments, 0, now_ms)
            except RecordError as error:
                answers[place] = Submitted(key=key, error=str(error), code="too-large")
                continue
            if task.unique:
                until_ms = now_ms + int(task.unique_for_s * 1000)
                unique[place] = ToStore(UNIQUE_VALUE + task.unique, key, until_ms, topic, value)
                continue
            records.append((topic, encode_key(key), value))
            places.append(place)
            answers[place] = Submitted(key=key)
        left_s = max(0.1, deadline - time.monotonic())
        producer = self._prompt_producer if len(records) <= PROMPT_RECORDS_MAX else self._producer
        for place, reason in zip(places, producer.produce_many(records, timeout_s=left_s), strict=True):
            if reason is not None:
                key = (answers[place] or tasks[place]).key
                sentence = (
                    f"Kafka did not acknowledge task {key} ({reason}): submit it again under the same key"
                )
                answers[place] = Submitted(key=key, error=sentence, code="unavailable")
        if unique:
            self._store_unique(unique, answers, max(0.1, deadline - time.monotonic()))
        return [answer for answer in answers if answer is not None]

    def reserve(self, count: int, *, timeout_s: float) -> range:
        if not 1 <= count <= RESERVE_KEYS_MAX:
            raise Unavailable(f"{count} keys at once: ask for 1 to {RESERVE_KEYS_MAX}")
        try:
            return self._keys.reserve(count, timeout_s=timeout_s)
        except (ConsensusError, TimeoutError) as error:
            raise Unavailable(f"no keys: {error}") from error

    def topic_for(self, handler: str, kind: str, priority: str, count: int) -> str | Submitted:
        """Where `count` tasks of this sort are to be stored now, or why they are not taken."""
        return self._decide_sort(handler, kind, priority, count)

    def draw(self, count: int, timeout_s: float) -> list[int]:
        """Fresh keys. Raises `Unavailable`."""
        return self._draw(count, timeout_s)

    def _store_unique(
        self, unique: Mapping[int, ToStore], answers: list[Submitted | None], timeout_s: float
    ) -> None:
        stored = store_bound(self._keys, self._safe_producer, list(unique.values()), timeout_s=timeout_s)
        for (place, asked), one in zip(unique.items(), stored, strict=True):
            if one.error is not None:  # under the caller's own key: it may ask again, here or elsewhere
                answers[place] = Submitted(key=asked.key, error=one.error, code="unavailable")
            else:
                answers[place] = Submitted(key=one.key, was_bound=one.was_bound)
        good = [one for one in stored if one.error is None]
        with self._lock:
            self.counters["unique_bound"] += sum(not one.was_bound for one in good)
            self.counters["unique_met"] += sum(one.was_bound for one in good)
            self.counters["unique_stored_again"] += sum(one.is_again for one in good)

    def _decide(self, tasks: Sequence[NewTask]) -> dict[_Sort, str | Submitted]:
        """The topic of each sort of task in the call, or the refusal of all of that sort."""
        counts: dict[_Sort, int] = {}
        for task in tasks:
            sort = (task.handler, task.kind, task.priority)
            counts[sort] = counts.get(sort, 0) + 1
        return {sort: self._decide_sort(*sort, count) for sort, count in counts.items()}

    def _decide_sort(self, handler: str, kind: str, priority: str, count: int) -> str | Submitted:
        if handler not in self._handlers:
            known = ", ".join(sorted(self._handlers)) or "none"
            error = f"no handler {handler!r} on this node; it has: {known}"
            return Submitted(key=0, error=error, code="unknown-handler")
        if priority not in PRIORITIES:
            error = f"priority {priority!r}: use one of {', '.join(PRIORITIES)}"
            return Submitted(key=0, error=error, code="invalid")
        lane = self._lane_for(handler, kind)
        with self._lock:
            retry_after_s = self._admission.admit(lane, count, self._max_backlog_s())
            backlog_s = self._admission.backlog(lane).seconds
        if retry_after_s is not None:
            error = (
                f"lane {lane} has {backlog_s:,.0f} s of work waiting, the limit is {self._max_backlog_s():,.0f} s: "
                f"submit again in {retry_after_s:,.0f} s"
            )
            return Submitted(key=0, error=error, code="resource-exhausted", retry_after_s=retry_after_s)
        return task_topic(self._prefix, lane, priority)

    def _refusal(self, task: NewTask, sorts: Mapping[_Sort, str | Submitted]) -> Submitted | None:
        decided = sorts[task.handler, task.kind, task.priority]
        if isinstance(decided, Submitted):
            return Submitted(
                key=task.key, error=decided.error, code=decided.code, retry_after_s=decided.retry_after_s
            )
        if task.unique and len(task.unique) > UNIQUE_CHARACTERS_MAX:
            error = f"a unique value of {len(task.unique)} characters: shorten it to {UNIQUE_CHARACTERS_MAX}"
            return Submitted(key=task.key, error=error, code="invalid")
        if task.unique and not 0.001 <= task.unique_for_s <= UNIQUE_FOR_MAX_S:
            error = f"unique_for_s is {task.unique_for_s:g}: use 0.001 to {UNIQUE_FOR_MAX_S:g} seconds"
            return Submitted(key=task.key, error=error, code="invalid")
        if task.key and not self._was_handed_out(task.key):
            error = f"key {task.key} was never handed out: draw keys by reserve"
            return Submitted(key=task.key, error=error, code="invalid")
        return None

    def _was_handed_out(self, key: int) -> bool:
        if not 0 < key <= KEY_MAX:
            return False
        if key < self._keys.high_water():
            return True
        try:
            self._keys.barrier(timeout_s=BARRIER_S)
        except (ConsensusError, TimeoutError):
            return False
        return key < self._keys.high_water()

    def _draw(self, count: int, timeout_s: float) -> list[int]:
        if count == 0:
            return []
        try:
            return self._blocks.draw(count, timeout_s=timeout_s)
        except (ConsensusError, TimeoutError) as error:
            raise Unavailable(f"no keys for new tasks: {error}") from error
