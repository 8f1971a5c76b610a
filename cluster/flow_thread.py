"""The one thread that owns all tasks in flight: it feeds events to the core and carries out its instructions (shell).

Everything reaches it through one queue: records from the consumers, outcomes from the executor, acknowledgements from Kafka,
answers from the ledger. What consumers may deliver is the executor's room less what still waits here, so that a fast consumer
can neither fill this queue nor offer the executor more than it takes.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from cluster.envelope import decode_envelope, decode_key, encode_key
from cluster.errors import RecordError
from cluster.kafka.confluent import TaskProducer
from cluster.kafka.consumer import LaneConsumer, RawRecord
from cluster.results import encode_dead
from cluster.routing import dead_topic, results_topic
from cluster.task_flow import (
    Complete,
    Delivered,
    Ending,
    Event,
    Instruction,
    Mark,
    Marked,
    Ran,
    Run,
    Stored,
    StoreDead,
    StoreResult,
    TaskFlow,
    Undecodable,
)
from consensus import ConsensusError, ExecuteAnswer, KeyService
from executor import Executor, ExecutorStopped, Lane, Outcome, Status, Task

TICK_S = 0.02
MARK_KEYS_MAX = 4096
MARKS_IN_FLIGHT_MAX = 4
RETRY_AFTER_S = 0.2  # between two tries of a mark or a produce that got no answer
ENDINGS = {
    Status.DONE: Ending.DONE,
    Status.FAILED: Ending.FAILED,
    Status.TIMED_OUT: Ending.FAILED,
    Status.UNKNOWN_HANDLER: Ending.FAILED,
    Status.DIED: Ending.DIED,
    Status.RETURNED: Ending.RETURNED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _MarkAnswered:
    outcome: str
    keys: list[int]
    future: Future[list[ExecuteAnswer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoreAnswered:
    instruction: StoreResult | StoreDead
    reason: str | None


_Inbox = list[RawRecord] | list[Outcome] | _MarkAnswered | _StoreAnswered | None


class FlowThread:
    """`counters` is read by other threads; single numbers, so a torn view is impossible."""

    def __init__(
        self,
        prefix: str,
        keys: KeyService,
        executor: Executor,
        producer: TaskProducer,
        *,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._prefix, self._keys, self._executor, self._producer = prefix, keys, executor, producer
        self._failed = failed
        self._core = TaskFlow()
        self._consumers: dict[str, LaneConsumer] = {}
        self._inbox: queue.SimpleQueue[_Inbox] = queue.SimpleQueue()
        self._unmarked: dict[str, list[int]] = {}
        self._marks_in_flight = 0
        self._retry_marks_at = 0.0
        self._retries: list[tuple[float, StoreResult | StoreDead]] = []
        self._seq = 0
        self._running = True
        self._left: set[int] = set()  # not to be run any more: the next owner of their partitions reads them
        self._waiting_lock = threading.Lock()
        self._waiting = 0  # records delivered and not yet offered to the executor
        self._stopping = threading.Event()
        self.counters = {"delivered": 0, "done": 0, "dead": 0, "died": 0, "marked": 0, "mark_retries": 0}
        self._thread = threading.Thread(target=self._run, name="flow", daemon=True)

    def start(self, consumers: Sequence[LaneConsumer]) -> None:
        self._consumers = {consumer.lane: consumer for consumer in consumers}
        self._thread.start()

    def room(self, lane: Lane) -> int:
        """How many records of this lane may be delivered now."""
        return max(0, self._executor.room(lane) - self._waiting)

    def deliver(self, records: list[RawRecord]) -> None:
        with self._waiting_lock:
            self._waiting += len(records)
        self._inbox.put(records)

    def outcomes(self, outcomes: list[Outcome]) -> None:
        self._inbox.put(outcomes)

    def is_running(self, key: int) -> bool:
        return key in self._core.in_flight

    def stop_running(self) -> None:
        """Call before the executor stops: from now on nothing is offered to it, what it returns is left alone."""
        self._running = False

    def drain(self, timeout_s: float) -> bool:
        """Waits until all that has run is marked and completed; False at the deadline."""
        deadline = time.monotonic() + timeout_s
        while (open_tasks := len(self._core.in_flight) > len(self._left)) and time.monotonic() < deadline:
            if not self._thread.is_alive():
                break
            time.sleep(TICK_S)
        return not open_tasks

    def stop(self, timeout_s: float = 5.0) -> None:
        self._stopping.set()
        self._inbox.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._step()
        except BaseException as error:
            self._failed(error)

    def _step(self) -> None:
        items: list[_Inbox] = []
        try:
            items.append(self._inbox.get(timeout=TICK_S))
            while len(items) < 1000:
                items.append(self._inbox.get_nowait())
        except queue.Empty:
            pass
        instructions: list[Instruction] = []
        for item in items:
            for event in self._events(item):
                instructions.extend(self._core.handle(event))
        now = time.monotonic()
        instructions.extend(again for due, again in self._retries if due <= now)
        self._retries = [entry for entry in self._retries if entry[0] > now]
        self._carry_out(instructions)
        delivered = sum(
            len(item) for item in items if isinstance(item, list) and isinstance(item[0], RawRecord)
        )
        with self._waiting_lock:
            self._waiting -= delivered
        self._send_marks(now)

    def _events(self, item: _Inbox) -> list[Event]:
        match item:
            case None:
                return []
            case _MarkAnswered():
                return self._mark_answered(item)
            case _StoreAnswered(instruction=instruction, reason=None):
                if isinstance(instruction, StoreDead) and instruction.complete is not None:
                    self._consumers[instruction.complete.lane].complete(instruction.complete)
                    return []
                return [Stored(key=instruction.key)] if instruction.key is not None else []
            case _StoreAnswered():
                self._retries.append((time.monotonic() + RETRY_AFTER_S, item.instruction))
                return []
            case [RawRecord(), *_]:
                return self._decode([record for record in item if isinstance(record, RawRecord)])
            case _:
                return self._ran([outcome for outcome in item if isinstance(outcome, Outcome)])

    def _decode(self, records: list[RawRecord]) -> list[Event]:
        self.counters["delivered"] += len(records)
        events: list[Event] = []
        tasks = []
        for record in records:
            try:
                tasks.append((decode_key(record.key), decode_envelope(record.value), record))
            except RecordError as error:
                events.append(
                    Undecodable(
                        raw_key=record.key,
                        value=record.value or b"",
                        reason=str(error),
                        position=record.position,
                    )
                )
        executed = self._keys.executed([key for key, _, _ in tasks])
        for (key, envelope, record), was_executed in zip(tasks, executed, strict=True):
            events.append(
                Delivered(
                    key=key,
                    handler=envelope.handler,
                    arguments=envelope.arguments,
                    value=record.value or b"",
                    position=record.position,
                    executed=was_executed,
                )
            )
        return events

    def _ran(self, outcomes: list[Outcome]) -> list[Event]:
        events: list[Event] = []
        for outcome in outcomes:
            if outcome.status is Status.DIED:
                self.counters["died"] += 1
            error = outcome.error or ""
            if outcome.traceback:
                error = f"{error}\n{outcome.traceback}"
            events.append(
                Ran(key=outcome.key, ending=ENDINGS[outcome.status], result=outcome.result, error=error)
            )
        return events

    def _mark_answered(self, answer: _MarkAnswered) -> list[Event]:
        self._marks_in_flight -= 1
        error = answer.future.exception()
        if error is None:
            self.counters["marked"] += len(answer.keys)
            self.counters[answer.outcome] += len(answer.keys)
            return [Marked(keys=answer.keys)]
        if not isinstance(error, ConsensusError):
            raise error
        self.counters["mark_retries"] += 1
        self._unmarked.setdefault(answer.outcome, []).extend(answer.keys)
        self._retry_marks_at = time.monotonic() + RETRY_AFTER_S
        return []

    def _carry_out(self, instructions: list[Instruction]) -> None:
        runs: list[Task] = []
        for instruction in instructions:
            match instruction:
                case Run():
                    self._seq += 1
                    runs.append(
                        Task(
                            seq=self._seq,
                            key=instruction.key,
                            attempt=instruction.attempt,
                            handler=instruction.handler,
                            arguments=instruction.arguments,
                        )
                    )
                case Mark():
                    self._unmarked.setdefault(instruction.outcome, []).append(instruction.key)
                case Complete():
                    self._consumers[instruction.position.lane].complete(instruction.position)
                case StoreResult():
                    self._store(instruction, results_topic(self._prefix), instruction.result)
                case StoreDead():
                    dead = encode_dead(instruction.reason, instruction.value)
                    self._store(instruction, dead_topic(self._prefix), dead)
        if runs and self._running:
            try:
                self._executor.offer(runs)
                return
            except ExecutorStopped:
                if self._running:
                    raise  # it broke: the node must end aloud
        self._left.update(task.key for task in runs)

    def _store(self, instruction: StoreResult | StoreDead, topic: str, value: bytes) -> None:
        raw = encode_key(instruction.key) if instruction.key is not None else instruction.raw_key
        self._producer.produce(
            topic,
            raw,
            value,
            lambda reason: self._inbox.put(_StoreAnswered(instruction=instruction, reason=reason)),
        )

    def _send_marks(self, now: float) -> None:
        if now < self._retry_marks_at:
            return
        for outcome, keys in self._unmarked.items():
            while keys and self._marks_in_flight < MARKS_IN_FLIGHT_MAX:
                batch = keys[:MARK_KEYS_MAX]
                del keys[: len(batch)]
                self._marks_in_flight += 1
                future = self._keys.execute_future(batch, outcome=outcome)
                future.add_done_callback(
                    lambda done, outcome=outcome, batch=batch: self._inbox.put(  # type: ignore[misc]
                        _MarkAnswered(outcome=outcome, keys=batch, future=done)
                    )
                )
