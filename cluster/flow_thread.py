"""The one thread that owns all tasks in flight: it feeds events to the core and carries out its instructions (shell).

Everything reaches it through one queue, many at a time: records from the consumers, outcomes from the executor, acknowledgements from
Kafka, answers from the ledger. What consumers may deliver is the executor's room less what is on its way there, lane by lane, so that a
fast consumer can neither fill this queue nor offer the executor more than it takes, and a full lane stalls no other.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from cluster.arrivals import Arrivals
from cluster.dead.record import encode_dead
from cluster.envelope import Envelope, encode_key
from cluster.flow_events import (
    Complete,
    Done,
    Ending,
    Event,
    Instruction,
    Mark,
    Marked,
    Place,
    Ran,
    Run,
    StoreCopy,
    Stored,
    StoreDead,
    StoreResults,
)
from cluster.gate import OPEN_GATE, Gate
from cluster.kafka.confluent import Answer, Record, TaskProducer
from cluster.kafka.consumer import LaneConsumer, RawRecords
from cluster.kafka.credits import Credits
from cluster.marking import Marking
from cluster.retrying import Dead, Retried, Retrying
from cluster.routing import LANES, PRIORITIES, dead_topic, results_topic
from cluster.task_flow import TaskFlow
from consensus import KeyService
from executor import Executor, ExecutorFull, ExecutorStopped, Lane, Outcome, Status, Task, fault_of

log = logging.getLogger(__name__)

TICK_S = 0.05
DRAIN_LOOK_S = 0.02
ITEMS_MAX = 1000  # of the queue in one turn
RETRY_AFTER_S = 0.2  # between two tries of a produce that got no answer
HELD_BYTES_MAX = 256 << 20  # of records in flight; above, nothing is fetched
ENDINGS = {
    Status.FAILED: Ending.FAILED,
    Status.TIMED_OUT: Ending.FAILED,
    Status.UNKNOWN_HANDLER: Ending.FAILED,
    Status.CANCELLED: Ending.CANCELLED,
    Status.DIED: Ending.DIED,
    Status.LOST: Ending.LOST,
    Status.RETURNED: Ending.RETURNED,
}
RANKS = {priority: rank for rank, priority in enumerate(PRIORITIES)}

_ToStore = StoreResults | StoreDead | StoreCopy


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoreAnswered:
    instruction: _ToStore
    answers: list[Answer]


_Inbox = RawRecords | list[Outcome] | _StoreAnswered | None


class FlowThread:
    """`room(lane)`: what may be offered now; the executor's own unless given. `gate()`: what operators say now. `lane_of(handler, kind)`:
    where the cluster routes it now; None leaves every task in the lane in which it was found. `node`: its name, for histories.

    `counters` is read by other threads; single numbers, so a torn view is impossible."""

    def __init__(
        self,
        prefix: str,
        keys: KeyService,
        executor: Executor,
        producer: TaskProducer,
        *,
        failed: Callable[[BaseException], None],
        room: Callable[[Lane], int] | None = None,
        gate: Callable[[], Gate] = lambda: OPEN_GATE,
        lane_of: Callable[[str, str], Lane] | None = None,
        node: str = "",
    ) -> None:
        self._prefix, self._executor, self._producer = prefix, executor, producer
        self._failed = failed
        self._room = executor.room if room is None else room
        self._core = TaskFlow()
        self._arrivals = Arrivals(prefix, executed=keys.executed, gate=gate, lane_of=lane_of, room=self._room)
        self._retrying = Retrying(
            prefix, handlers=executor.handlers, node=node, random=random.Random().random
        )
        self._marking = Marking(lambda keys_, outcome: keys.execute_future(keys_, outcome=outcome))
        self._consumers: dict[str, LaneConsumer] = {}  # by topic
        self._inbox: queue.SimpleQueue[_Inbox] = queue.SimpleQueue()
        self._retries: list[tuple[float, _ToStore]] = []
        self._unoffered: list[Task] = []
        self._running = True
        self._left: set[int] = set()  # not to be run any more: the next owner of their partitions reads them
        self._credits_lock = threading.Lock()
        self._credits = {lane: Credits(len(PRIORITIES)) for lane in LANES}
        self._stopping = threading.Event()
        names = (
            "delivered",
            "done",
            "dead",
            "cancelled",
            "died",
            "lost",
            "retried",
            "parked",
            "moved",
            "marked",
        )
        self.counters = dict.fromkeys((*names, "mark_retries", "store_retries"), 0)
        self._thread = threading.Thread(target=self._run, name="flow", daemon=True)

    def start(self, consumers: Sequence[LaneConsumer]) -> None:
        self._consumers = {consumer.topic: consumer for consumer in consumers}
        self._thread.start()

    def take(self, lane: str, priority: str, wanted: int) -> int:
        """How many records of this lane and priority may be delivered now. Any thread; the rest of what it says is given back."""
        if not self._running or self._core.held_bytes > HELD_BYTES_MAX:
            return 0
        room = self._room(Lane(lane))
        with self._credits_lock:
            return self._credits[lane].take(RANKS[priority], wanted, room, time.monotonic())

    def give_back(self, lane: str, priority: str, count: int) -> None:
        with self._credits_lock:
            self._credits[lane].give_back(RANKS[priority], count)

    def deliver(self, records: RawRecords) -> None:
        self._inbox.put(records)

    def outcomes(self, outcomes: list[Outcome]) -> None:
        self._inbox.put(outcomes)

    def is_running(self, key: int) -> bool:
        return self._core.is_running(key)

    def in_hand(self, count: int) -> list[int]:
        """Keys that run here or wait to, longest first, at most `count`."""
        return self._core.running()[:count]

    def stop_running(self) -> None:
        """Call before the executor stops: from now on nothing is offered to it, what it returns is left alone."""
        self._running = False

    def drain(self, timeout_s: float) -> bool:
        """Waits until all that has run is marked and completed; False at the deadline."""
        deadline = time.monotonic() + timeout_s
        while (open_tasks := len(self._core) > len(self._left)) and time.monotonic() < deadline:
            if not self._thread.is_alive():
                break
            time.sleep(DRAIN_LOOK_S)
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
            items.append(self._inbox.get(timeout=self._marking.wait_s(time.monotonic(), TICK_S)))
            while len(items) < ITEMS_MAX:
                items.append(self._inbox.get_nowait())
        except queue.Empty:
            pass
        now = time.monotonic()
        runs, self._unoffered = self._unoffered, []
        arrived = dict.fromkeys(LANES, 0)
        for item in items:
            if isinstance(item, RawRecords):
                arrived[item.place.lane] += len(item.offsets)
            self._handle(self._events(item, now), runs)
        self._handle(self._marked(now), runs)
        if self._retries:
            due = [instruction for at, instruction in self._retries if at <= now]
            self._retries = [entry for entry in self._retries if entry[0] > now]
            self._carry_out(due, runs)
        if runs:
            self._offer(runs)
        with self._credits_lock:
            for lane, count in arrived.items():
                self._credits[lane].arrived(count)
        self._marking.send(now)

    def _handle(self, events: Iterable[Event], runs: list[Task]) -> None:
        for event in events:
            self._carry_out(self._core.handle(event), runs)

    def _events(self, item: _Inbox, now: float) -> Sequence[Event]:
        match item:
            case RawRecords():
                self.counters["delivered"] += len(item.offsets)
                events = self._arrivals.events(*item)
                self.counters["parked"], self.counters["moved"] = self._arrivals.parked, self._arrivals.moved
                return events
            case list():
                return self._ran(item)
            case _StoreAnswered():
                return self._store_answered(item, now)
            case None:
                return ()

    def _ran(self, outcomes: list[Outcome]) -> list[Event]:
        plain: list[int] = []
        keys: list[int] = []
        results: list[bytes] = []
        events: list[Event] = []
        for outcome in outcomes:
            if outcome.status is not Status.DONE:
                events.append(self._not_done(outcome))
            elif outcome.result is None:
                plain.append(outcome.key)
            else:
                keys.append(outcome.key)
                results.append(outcome.result)
        if plain:
            events.append(Done(keys=plain))
        if keys:
            events.append(Done(keys=keys, results=results))
        return events

    def _not_done(self, outcome: Outcome) -> Ran:
        if outcome.status is Status.DIED:
            self.counters["died"] += 1
        elif outcome.status is Status.LOST:
            self.counters["lost"] += 1
        error = outcome.error or ""
        if outcome.traceback:
            error = f"{error}\n{outcome.traceback}"
        ending = ENDINGS[outcome.status]
        found = self._core.record(outcome.key)
        if found is None:
            return Ran(key=outcome.key, ending=ending, error=error)
        if ending in (Ending.FAILED, Ending.DIED):
            return self._failed_run(outcome, error, *found)
        way = self._arrivals.way_again(*found) if ending is Ending.RETURNED else None
        return Ran(key=outcome.key, ending=ending, error=error, way=way)

    def _failed_run(
        self, outcome: Outcome, error: str, place: Place, _value: bytes, envelope: Envelope
    ) -> Ran:
        ending, now_ms = ENDINGS[outcome.status], time.time_ns() // 1_000_000
        attempt = envelope.after + 1
        verdict = self._retrying.judge(
            envelope, place.priority, fault_of(outcome), error, now_ms, attempt=attempt
        )
        match verdict:
            case Retried():
                self.counters["retried"] += 1
                return Ran(key=outcome.key, ending=ending, error=error, way=verdict.forward)
            case Dead():
                return Ran(key=outcome.key, ending=ending, error=verdict.reason, attempts=verdict.attempts)

    def _marked(self, now: float) -> list[Event]:
        events: list[Event] = []
        for answer in self._marking.answers(now):
            self.counters["marked"] += len(answer.keys)
            self.counters[answer.outcome] += len(answer.keys)
            events.append(Marked(keys=answer.keys))
        self.counters["mark_retries"] = self._marking.retries
        return events

    def _store_answered(self, answer: _StoreAnswered, now: float) -> list[Event]:
        """What was not stored is tried again, for ever: the record stays open until it is."""
        instruction = answer.instruction
        stored = [place for place, reason in answer.answers if reason is None]
        missing = [place for place, reason in answer.answers if reason is not None]
        if missing:
            self.counters["store_retries"] += len(missing)
            if isinstance(instruction, StoreResults):
                instruction = StoreResults(
                    keys=[instruction.keys[place] for place in missing],
                    results=[instruction.results[place] for place in missing],
                )
            self._retries.append((now + RETRY_AFTER_S, instruction))
        if not stored:
            return []
        match answer.instruction:
            case StoreDead(key=None, complete=complete):
                if complete is not None:
                    self._consumers[complete.place.topic].complete(complete.place, complete.offsets)
                return []
            case StoreResults(keys=keys):
                return [Stored(keys=[keys[place] for place in stored])]
            case StoreDead(key=int(key)) | StoreCopy(key=key):
                return [Stored(keys=[key])]
        return []

    def _carry_out(self, instructions: Sequence[Instruction], runs: list[Task]) -> None:
        for instruction in instructions:
            match instruction:
                case Run():
                    runs += instruction.tasks
                case Mark():
                    self._marking.add(instruction.keys, instruction.outcome)
                case Complete():
                    self._consumers[instruction.place.topic].complete(instruction.place, instruction.offsets)
                case StoreResults():
                    records = list(zip(map(encode_key, instruction.keys), instruction.results, strict=True))
                    self._store(instruction, results_topic(self._prefix), records)
                case StoreDead():
                    key = instruction.raw_key if instruction.key is None else encode_key(instruction.key)
                    dead = encode_dead(
                        instruction.reason,
                        instruction.value,
                        attempts=instruction.attempts,
                        topic=instruction.topic,
                    )
                    self._store(instruction, dead_topic(self._prefix), [(key, dead)])
                case StoreCopy():
                    copy = (encode_key(instruction.key), instruction.value)
                    self._store(instruction, instruction.topic, [copy])

    def _offer(self, runs: list[Task]) -> None:
        if self._running:
            try:
                self._executor.offer(runs)
                return
            except ExecutorFull as error:  # credit keeps below its bound, tasks that run again come on top
                log.warning("executor_full", extra={"tasks": len(runs), "error": str(error)})
                self._unoffered = runs
                return
            except ExecutorStopped:
                if self._running:
                    raise  # it broke: the node must end aloud
        self._left.update(task.key for task in runs)

    def _store(self, instruction: _ToStore, topic: str, records: Sequence[Record]) -> None:
        self._producer.send(topic, records, partial(self._stored, instruction))

    def _stored(self, instruction: _ToStore, answers: list[Answer]) -> None:
        self._inbox.put(_StoreAnswered(instruction=instruction, answers=answers))
