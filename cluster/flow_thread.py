"""The one thread that owns all tasks in flight: it feeds events to the core and carries out its instructions (shell).

Everything reaches it through one queue, many at a time: records from the consumers, outcomes from the executor, acknowledgements from
Kafka, answers from the ledger. What consumers may deliver is the executor's room less what is on its way there, lane by lane, so that a
fast consumer can neither fill this queue nor offer the executor more than it takes, and a full lane stalls no other.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from cluster.envelope import Columns, decode_columns, decode_envelope, decode_key, decode_keys, encode_key
from cluster.errors import RecordError
from cluster.gate import OPEN_GATE, Gate, Verdict
from cluster.kafka.confluent import Answer, Record, TaskProducer
from cluster.kafka.consumer import LaneConsumer, RawRecords
from cluster.kafka.credits import Credits
from cluster.parked import encode_parked
from cluster.results import encode_dead
from cluster.routing import LANES, PRIORITIES, dead_topic, parked_topic, results_topic, task_topic
from cluster.task_flow import (
    Complete,
    Delivered,
    Done,
    Drop,
    Ending,
    Event,
    Forward,
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
    TaskFlow,
    Undecodable,
    Way,
)
from consensus import ConsensusError, ExecuteAnswer, KeyService
from executor import Executor, ExecutorFull, ExecutorStopped, Lane, Outcome, Status, Task

log = logging.getLogger(__name__)

TICK_S = 0.05
DRAIN_LOOK_S = 0.02
ITEMS_MAX = 1000  # of the queue in one turn
MARK_KEYS_MAX = 4096
MARKS_IN_FLIGHT_MAX = 4
MARK_EVERY_S = (
    0.010  # an entry of the ledger costs as much as 400 keys in it; the first after a pause goes at once
)
RETRY_AFTER_S = 0.2  # between two tries of a mark or a produce that got no answer
NIL = b"\xc0"  # the result None: nothing is stored for it
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
class _MarkAnswered:
    outcome: str
    keys: Sequence[int]
    future: Future[list[ExecuteAnswer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoreAnswered:
    instruction: _ToStore
    answers: list[Answer]


_Inbox = RawRecords | list[Outcome] | _MarkAnswered | _StoreAnswered | None


class FlowThread:
    """`room(lane)`: what may be offered now; the executor's own unless given. `gate()`: what operators say now. `lane_of(handler, kind)`:
    where the cluster routes it now; None leaves every task in the lane in which it was found.

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
    ) -> None:
        self._prefix, self._keys, self._executor, self._producer = prefix, keys, executor, producer
        self._failed, self._gate, self._lane_of = failed, gate, lane_of
        self._room = executor.room if room is None else room
        self._core = TaskFlow()
        self._consumers: dict[str, LaneConsumer] = {}  # by topic
        self._inbox: queue.SimpleQueue[_Inbox] = queue.SimpleQueue()
        self._answered: deque[_MarkAnswered] = deque()  # wakes nobody: only offsets wait for it
        self._unmarked: dict[str, list[int]] = {}
        self._marks_in_flight = 0
        self._marked_at = 0.0
        self._retry_marks_at = 0.0
        self._retries: list[tuple[float, _ToStore]] = []
        self._unoffered: list[Task] = []
        self._running = True
        self._left: set[int] = set()  # not to be run any more: the next owner of their partitions reads them
        self._credits_lock = threading.Lock()
        self._credits = {lane: Credits(len(PRIORITIES)) for lane in LANES}
        self._stopping = threading.Event()
        names = ("delivered", "done", "dead", "cancelled", "died", "lost", "parked", "moved", "marked")
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
            items.append(self._inbox.get(timeout=self._wait_s()))
            while len(items) < ITEMS_MAX:
                items.append(self._inbox.get_nowait())
        except queue.Empty:
            pass
        runs, self._unoffered = self._unoffered, []
        arrived = dict.fromkeys(LANES, 0)
        while self._answered:
            items.append(self._answered.popleft())
        for item in items:
            if isinstance(item, RawRecords):
                arrived[item.place.lane] += len(item.offsets)
            for event in self._events(item):
                self._carry_out(self._core.handle(event), runs)
        now = time.monotonic()
        if self._retries:
            due = [instruction for at, instruction in self._retries if at <= now]
            self._retries = [entry for entry in self._retries if entry[0] > now]
            self._carry_out(due, runs)
        if runs:
            self._offer(runs)
        with self._credits_lock:
            for lane, count in arrived.items():
                self._credits[lane].arrived(count)
        self._send_marks(now)

    def _wait_s(self) -> float:
        """Until the next event, or the next mark is due."""
        if not any(self._unmarked.values()):
            return TICK_S
        if self._marks_in_flight >= MARKS_IN_FLIGHT_MAX:
            return MARK_EVERY_S  # an answer wakes nobody
        return min(TICK_S, max(0.0, self._marks_due() - time.monotonic()))

    def _marks_due(self) -> float:
        return max(self._retry_marks_at, self._marked_at + MARK_EVERY_S)

    def _events(self, item: _Inbox) -> Sequence[Event]:
        match item:
            case RawRecords():
                return self._decode(item)
            case list():
                return self._ran(item)
            case _MarkAnswered():
                return self._mark_answered(item)
            case _StoreAnswered():
                return self._store_answered(item)
            case None:
                return ()

    def _decode(self, records: RawRecords) -> list[Event]:
        self.counters["delivered"] += len(records.offsets)
        keys, columns = decode_keys(records.keys), decode_columns(records.values)
        if keys is not None and columns is not None:
            return [self._delivered(records.place, keys, records.offsets, records.values, columns)]  # type: ignore[arg-type]
        events: list[Event] = []
        good: list[tuple[int, int, bytes, tuple[str, str, bytes, int]]] = []
        for raw_key, value, offset in zip(records.keys, records.values, records.offsets, strict=True):
            try:
                key, one = decode_key(raw_key), decode_envelope(value)
            except RecordError as error:
                events.append(
                    Undecodable(
                        raw_key=raw_key or b"",
                        value=value or b"",
                        reason=str(error),
                        place=records.place,
                        offset=offset,
                    )
                )
            else:
                good.append(
                    (key, offset, value or b"", (one.handler, one.kind, one.arguments, one.submitted_ms))
                )
        if good:
            numbers, offsets, values, rows = zip(*good, strict=True)
            events.append(
                self._delivered(records.place, numbers, offsets, values, Columns(*zip(*rows, strict=True)))
            )
        return events

    def _delivered(
        self,
        place: Place,
        keys: Sequence[int],
        offsets: Sequence[int],
        values: Sequence[bytes],
        columns: Columns,
    ) -> Delivered:
        executed = self._keys.executed(keys)
        return Delivered(
            place=place,
            keys=keys,
            offsets=offsets,
            values=values,
            columns=columns,
            executed={key for key, is_so in zip(keys, executed, strict=True) if is_so}
            if any(executed)
            else frozenset(),
            ways=self._ways(place, keys, values, columns),
        )

    def _ways(
        self, place: Place, keys: Sequence[int], values: Sequence[bytes], columns: Columns
    ) -> Mapping[int, Way]:
        """Of records that are not simply to run. Nearly always there are none, and only the few pairs of handler and kind are looked at."""
        gate = self._gate()
        pairs = set(zip(columns.handlers, columns.kinds, strict=True))
        noted = {pair for pair in pairs if not gate.is_plain(pair[0]) or self._is_elsewhere(place, *pair)}
        if not noted:
            return {}
        ways = {}
        for key, value, handler, kind, _, submitted_ms in zip(keys, values, *columns, strict=True):
            if (handler, kind) in noted:
                way = self._way(gate, place, value, handler, kind, submitted_ms)
                if way is not None:
                    ways[key] = way
        return ways

    def _is_elsewhere(self, place: Place, handler: str, kind: str) -> bool:
        """Its lane is another one by now, and this node has no room for it there."""
        if self._lane_of is None:
            return False
        lane = self._lane_of(handler, kind)
        return lane != place.lane and self._room(lane) <= 0

    def _way(
        self, gate: Gate, place: Place, value: bytes, handler: str, kind: str, submitted_ms: int
    ) -> Way | None:
        match gate.judge(handler, place.lane, submitted_ms):
            case Verdict.DROP:
                return Drop()
            case Verdict.PARK:
                self.counters["parked"] += 1
                return Forward(topic=parked_topic(self._prefix), value=encode_parked(place.topic, value))
            case Verdict.RUN if self._is_elsewhere(place, handler, kind) and self._lane_of is not None:
                self.counters["moved"] += 1
                topic = task_topic(self._prefix, self._lane_of(handler, kind), place.priority)
                return Forward(topic=topic, value=value)
            case Verdict.RUN:
                return None

    def _ran(self, outcomes: list[Outcome]) -> list[Event]:
        plain: list[int] = []
        keys: list[int] = []
        results: list[bytes] = []
        events: list[Event] = []
        for outcome in outcomes:
            if outcome.status is not Status.DONE:
                events.append(self._not_done(outcome))
            elif outcome.result is None or outcome.result == NIL:
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
        way: Way | None = None
        if outcome.status is Status.RETURNED and (found := self._core.record(outcome.key)) is not None:
            place, value, one = found
            way = self._way(self._gate(), place, value, one.handler, one.kind, one.submitted_ms)
        return Ran(key=outcome.key, ending=ENDINGS[outcome.status], error=error, way=way)

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

    def _store_answered(self, answer: _StoreAnswered) -> list[Event]:
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
            self._retries.append((time.monotonic() + RETRY_AFTER_S, instruction))
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
                    self._unmarked.setdefault(instruction.outcome, []).extend(instruction.keys)
                case Complete():
                    self._consumers[instruction.place.topic].complete(instruction.place, instruction.offsets)
                case StoreResults():
                    records = list(zip(map(encode_key, instruction.keys), instruction.results, strict=True))
                    self._store(instruction, results_topic(self._prefix), records)
                case StoreDead():
                    key = instruction.raw_key if instruction.key is None else encode_key(instruction.key)
                    dead = encode_dead(instruction.reason, instruction.value)
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

    def _send_marks(self, now: float) -> None:
        if not self._unmarked or now < self._marks_due():
            return
        for outcome, keys in self._unmarked.items():
            while keys and self._marks_in_flight < MARKS_IN_FLIGHT_MAX:
                batch = keys[:MARK_KEYS_MAX]
                del keys[: len(batch)]
                self._marks_in_flight += 1
                self._marked_at = now
                future = self._keys.execute_future(batch, outcome=outcome)
                future.add_done_callback(partial(self._marked, outcome, batch))

    def _marked(self, outcome: str, keys: Sequence[int], future: Future[list[ExecuteAnswer]]) -> None:
        self._answered.append(_MarkAnswered(outcome=outcome, keys=keys, future=future))
