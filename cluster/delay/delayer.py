"""The delay ladder at work: one consumer of all rungs, in a thread that waits for the next hour (shell around `delay_flow.py`).

Each node reads its share of the ladder's partitions. The thread sleeps in the client's `poll` until the next task is due or something
comes, so a task fires about a millisecond after its time. Due is by this node's wall clock; it is read anew at each turn, a quarter
of a second apart at most, so a step of it is seen. At the end nothing is fired: what was not acknowledged is read again by the next owner.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from cluster.dead.record import encode_dead
from cluster.delay.delay_flow import DelayFlow, GoOn, Instruction, Move, Pause, Places, Read, Spot
from cluster.delay.delayed import Delayed
from cluster.envelope import decode_envelope
from cluster.kafka.confluent import Answer, TaskProducer, read_place
from cluster.kafka.topics import RecordDeleter
from cluster.routing import dead_topic, delay_topic, delay_topics, task_topic

POLL_S = 0.25  # what comes, or is due, ends a poll before; this long a step of the clock may go unseen
ANSWER_S = 0.05  # while something is under way, whose acknowledgement ends no poll
FETCH_RECORDS_MAX = 1000
COMMIT_EVERY_S = 0.2
AGAIN_S = 0.2  # between two tries of a produce that got no answer
ACKNOWLEDGED_WITHIN_S = 1.0  # of what is under way when partitions are given up; it comes twice otherwise
DELETE_EVERY_S = 30.0

log = logging.getLogger(__name__)


class Delayer:
    """`producer`: acknowledged by all. `lane_for(handler, kind)`: where a task that is due belongs. `executed` asks this node's replica of
    the ledger."""

    def __init__(
        self,
        consumer: Consumer,
        producer: TaskProducer,
        kafka: str,
        prefix: str,
        *,
        lane_for: Callable[[str, str], str],
        executed: Callable[[Sequence[int]], list[bool]],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._consumer, self._producer, self._prefix = consumer, producer, prefix
        self._lane_for, self._failed = lane_for, failed
        self._waits = delay_topics(prefix)
        places = Places(lane=self._lane, rung=partial(delay_topic, prefix), dead=self._dead)
        self._flow = DelayFlow(places, executed=executed)
        self._deleter = RecordDeleter(kafka)
        self._spots: dict[tuple[str, int], Spot] = {}
        self._numbers = 0
        self._answered: queue.SimpleQueue[tuple[Move, list[Answer]]] = queue.SimpleQueue()
        self._again: list[tuple[float, Move]] = []
        self._next_commit = self._next_delete = 0.0
        self._to_delete: dict[tuple[str, int], int] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="delay", daemon=True)

    @property
    def counters(self) -> dict[str, int]:
        return {**self._flow.counters, "near": self._flow.near}

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            self._consumer.subscribe(
                list(self._waits), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
            )
            while not self._stopping.is_set():
                self._step()
            self._conclude()
        except BaseException as error:
            self._failed(error)
        finally:
            self._consumer.close()

    def _step(self) -> None:
        next_ms, wait_s = self._flow.next_ms(), ANSWER_S if self._flow.moving else POLL_S
        if next_ms is not None:
            wait_s = min(wait_s, max(0.0, next_ms / 1000 - time.time()))
        first = self._consumer.poll(wait_s)
        self._carry_out(self._flow.tick(_now_ms()))  # before what has come: that may be much
        if first is not None:
            self._take([first, *self._consumer.consume(FETCH_RECORDS_MAX - 1, 0)])
        self._take_answers()
        now = time.monotonic()
        if self._again:
            due = [move for at, move in self._again if at <= now]
            self._again = [entry for entry in self._again if entry[0] > now]
            for move in due:
                self._send(move)
        if now >= self._next_commit:
            self._next_commit = now + COMMIT_EVERY_S
            self._commit(wait=False)
        if now >= self._next_delete:
            self._next_delete = now + DELETE_EVERY_S
            self._deleter.delete_below(self._to_delete)
            self._to_delete = {}

    def _take(self, messages: Sequence[Message]) -> None:
        groups: dict[tuple[str, int], list[Read]] = {}
        for message in messages:
            if message.error() is None:  # errors are reported and retried by the library
                topic, partition, offset = read_place(message)
                read = Read(offset, message.timestamp()[1], message.key(), message.value())
                groups.setdefault((topic, partition), []).append(read)
        for place, records in groups.items():
            spot = self._spots.get(place)
            if spot is not None:
                self._carry_out(self._flow.read(spot, records, _now_ms()))

    def _carry_out(self, instructions: Sequence[Instruction]) -> None:
        for instruction in instructions:
            match instruction:
                case Move():
                    self._send(instruction)
                case Pause():
                    self._consumer.pause([_part(instruction.spot)])
                case GoOn():
                    part = _part(instruction.spot, instruction.offset)
                    try:
                        self._consumer.seek(part)
                        self._consumer.resume([_part(instruction.spot)])
                    except KafkaException as error:  # its assignment is over, which will be heard of soon
                        log.info(
                            "delay_not_resumed", extra={"spot": str(instruction.spot), "error": str(error)}
                        )

    def _send(self, move: Move) -> None:
        wanted = [step for step in move.steps if self._flow.is_wanted(step)]
        if wanted:
            move = Move(topic=move.topic, steps=wanted)
            records = [(step.key, step.value) for step in wanted]
            self._producer.send(move.topic, records, partial(self._heard, move))

    def _heard(self, move: Move, answers: list[Answer]) -> None:
        self._answered.put((move, answers))

    def _take_answers(self) -> None:
        while True:
            try:
                move, answers = self._answered.get_nowait()
            except queue.Empty:
                return
            self._flow.kept([move.steps[place] for place, reason in answers if reason is None])
            missing = [move.steps[place] for place, reason in answers if reason is not None]
            if missing:
                self._again.append((time.monotonic() + AGAIN_S, Move(topic=move.topic, steps=missing)))

    def _commit(self, *, wait: bool) -> None:
        found = self._flow.to_commit()
        if not found:
            return
        for spot, offset in found:
            self._flow.committed(spot, offset)
            self._to_delete[spot.topic, spot.partition] = offset
        offsets = [_part(spot, offset) for spot, offset in found]
        try:
            if wait:
                self._consumer.commit(offsets=offsets, asynchronous=False)
            else:
                self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException:  # committed next time; after a death they are moved twice
            for spot, _ in found:
                self._flow.committed(spot, None)

    def _conclude(self) -> None:
        """What is under way may still be acknowledged; the rest is the next owner's."""
        deadline = time.monotonic() + ACKNOWLEDGED_WITHIN_S
        self._take_answers()
        while self._flow.moving and not self._again and time.monotonic() < deadline:
            time.sleep(0.005)
            self._take_answers()
        self._commit(wait=True)

    def _assigned(self, _consumer: Consumer, parts: list[TopicPartition]) -> None:
        for part in parts:
            self._numbers += 1
            spot = Spot(part.topic, part.partition, self._numbers)
            self._spots[part.topic, part.partition] = spot
            self._flow.assigned(spot, self._waits[part.topic])

    def _revoked(self, _consumer: Consumer, parts: list[TopicPartition]) -> None:
        self._conclude()
        self._lost(_consumer, parts)

    def _lost(self, _consumer: Consumer, parts: list[TopicPartition]) -> None:
        spots = [self._spots.pop((part.topic, part.partition), None) for part in parts]
        gone = [spot for spot in spots if spot is not None]
        asleep = [_part(spot) for spot in gone if self._flow.is_asleep(spot)]
        if asleep:
            self._consumer.resume(asleep)  # the library would remember it until they come back to us
        for spot in gone:
            self._flow.revoked(spot)

    def _lane(self, delayed: Delayed) -> str:
        envelope = decode_envelope(delayed.value)
        lane = self._lane_for(envelope.handler, envelope.kind)
        return task_topic(self._prefix, lane, delayed.priority)

    def _dead(self, reason: str, value: bytes) -> tuple[str, bytes]:
        return dead_topic(self._prefix), encode_dead(reason, value)


def _now_ms() -> int:
    """Rounded down: nothing that is due by it is early."""
    return time.time_ns() // 1_000_000


def _part(spot: Spot, offset: int | None = None) -> TopicPartition:
    if offset is None:
        return TopicPartition(spot.topic, spot.partition)
    return TopicPartition(spot.topic, spot.partition, offset)
