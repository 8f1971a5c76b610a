"""One node: builds the parts, starts them in order, stops them in reverse; answers what applications ask (shell).

Order of start: ledger, Kafka topics, executor (its hello names the handlers), results, flow, consumers. A part whose thread
dies stops the node aloud: `failed` is set and `failure` says why.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from importlib import metadata

from cluster.api import LaneView, MemberView, NewTask, NodeView, PeerView, Submitted, TaskState, TaskStatus
from cluster.envelope import KEY_MAX, Envelope, encode_envelope, encode_key
from cluster.errors import RecordError, Refused, Unavailable
from cluster.flow_thread import FlowThread
from cluster.kafka.confluent import TaskProducer, group_consumer
from cluster.kafka.consumer import LaneConsumer
from cluster.kafka.topics import ensure_topics
from cluster.key_blocks import KeyBlocks
from cluster.results import Results
from cluster.routing import (
    LANES,
    PRIORITIES,
    all_topics,
    dead_topic,
    lane_of,
    lane_topics,
    results_topic,
    task_topic,
)
from cluster.settings import NodeSettings
from consensus import ConsensusError, KeyService, NoQuorum, SyncMode, TlsFiles
from consensus import Refused as RefusedByLedger
from executor import Executor, Lane

WAIT_POLL_S = 0.005
RESERVE_KEYS_MAX = 65_536
MARKS_WITHIN_S = 3.0  # at the end of a node: for the marks of what has run; unmarked, it would run again
RESULT_LAG_S = 0.3  # how far the reader of results may be behind the marks, for one call


class Node:
    """Implements `cluster.api.NodeApi`. `start` raises `Unavailable`, `SettingsError` or the errors of the parts."""

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings.checked()
        self.failed = threading.Event()
        self.failure: BaseException | None = None
        self._stop_once = threading.Lock()
        self._stopped = False
        self._consumers: list[LaneConsumer] = []
        self._keys = KeyService(
            settings.listen,
            settings.peers,
            settings.data_dir / "ledger",
            cluster=settings.cluster,
            sync=SyncMode(settings.sync),
            tls=None if settings.tls_dir is None else TlsFiles.of_node(settings.tls_dir, settings.listen),
            insecure=settings.insecure,
            joining=settings.join,
            on_failure=self._fail,
        )
        self._blocks = KeyBlocks(self._keys)
        self._executor = Executor(
            settings.handlers,
            workers=settings.workers,
            on_outcomes=lambda outcomes: self._flow.outcomes(outcomes),
        )

    def start(self) -> None:
        settings = self._settings
        try:
            self._keys.start()
            status = {"name": settings.name, "api": settings.api}
            self._keys.broadcast_status(json.dumps(status).encode())
            ensure_topics(settings.kafka, all_topics(settings.prefix))
            self._producer = TaskProducer(settings.kafka, acks=settings.acks, name="tasks")
            self._safe_producer = TaskProducer(settings.kafka, acks="all", name="results")
            self._flow = FlowThread(
                settings.prefix, self._keys, self._executor, self._safe_producer, failed=self._fail
            )
            self._results = Results(
                settings.kafka, results_topic(settings.prefix), dead_topic(settings.prefix), failed=self._fail
            )
            self._executor.start()
            self._results.start()
            self._consumers = [self._lane_consumer(lane) for lane in LANES]
            self._flow.start(self._consumers)
            for consumer in self._consumers:
                consumer.start()
        except BaseException:
            self._keys.stop()
            self._executor.stop(0.0)
            raise

    def stop(self, grace_s: float = 10.0) -> None:
        """Stops fetching, lets running tasks finish within `grace_s`, commits, leaves. Idempotent."""
        with self._stop_once:
            if self._stopped:
                return
            self._stopped = True
        for consumer in self._consumers:
            consumer.stop_fetching()
        if self._consumers:
            self._flow.stop_running()
            self._executor.stop(grace_s)
            self._flow.drain(MARKS_WITHIN_S)
            for consumer in self._consumers:
                consumer.stop()
            self._flow.stop()
            self._results.stop()
            self._producer.stop()
            self._safe_producer.stop()
        self._keys.stop()

    def submit(self, tasks: Sequence[NewTask], *, timeout_s: float) -> list[Submitted]:
        deadline = time.monotonic() + timeout_s
        refusals = [self._refusal(task) for task in tasks]
        wanted = sum(1 for task, no in zip(tasks, refusals, strict=True) if no is None and task.key == 0)
        fresh = iter(self._draw(wanted, timeout_s))
        answers: list[Submitted] = []
        records: list[tuple[str, bytes, bytes]] = []
        places: list[int] = []
        for task, refusal in zip(tasks, refusals, strict=True):
            if refusal is not None:
                answers.append(refusal)
                continue
            key = task.key or next(fresh)
            envelope = Envelope(
                handler=task.handler, arguments=task.arguments, submitted_ms=int(time.time() * 1000)
            )
            try:
                value = encode_envelope(envelope)
            except RecordError as error:
                answers.append(Submitted(key=key, error=str(error), code="too-large"))
                continue
            declared = self._executor.handlers[task.handler]
            lane = lane_of(declared.lane.value if declared.lane else None, is_async=declared.is_async)
            records.append((task_topic(self._settings.prefix, lane, task.priority), encode_key(key), value))
            places.append(len(answers))
            answers.append(Submitted(key=key))
        reasons = self._producer.produce_many(records, timeout_s=max(0.1, deadline - time.monotonic()))
        for place, reason in zip(places, reasons, strict=True):
            if reason is not None:
                key = answers[place].key
                sentence = (
                    f"Kafka did not acknowledge task {key} ({reason}): submit it again under the same key"
                )
                answers[place] = Submitted(key=key, error=sentence, code="unavailable")
        return answers

    def reserve(self, count: int, *, timeout_s: float) -> range:
        if not 1 <= count <= RESERVE_KEYS_MAX:
            raise Unavailable(f"{count} keys at once: ask for 1 to {RESERVE_KEYS_MAX}")
        try:
            return self._keys.reserve(count, timeout_s=timeout_s)
        except (ConsensusError, TimeoutError) as error:
            raise Unavailable(f"no keys: {error}") from error

    def status(self, keys: Sequence[int], *, with_result: bool, timeout_s: float) -> list[TaskStatus]:
        statuses = []
        reader_until = time.monotonic() + min(timeout_s, RESULT_LAG_S)
        for key in keys:
            outcome = self._keys.outcome(key)
            if outcome is None:
                state = TaskState.UNKNOWN if key >= self._keys.high_water() else TaskState.WAITING
                state = TaskState.RUNNING if self._flow.is_running(key) else state
                statuses.append(TaskStatus(key=key, state=state))
                continue
            state = TaskState.DONE if outcome == "done" else TaskState.DEAD
            result, error = self._results.find(key)
            if (state is TaskState.DEAD and error is None) or (with_result and result is None):
                result, error = self._await_result(key, state, reader_until)
            statuses.append(
                TaskStatus(key=key, state=state, result=result if with_result else None, error=error)
            )
        return statuses

    def wait(self, keys: Sequence[int], *, timeout_s: float) -> list[int]:
        deadline = time.monotonic() + timeout_s
        pause_s = WAIT_POLL_S
        open_keys = list(keys)
        while True:
            done = self._keys.executed(open_keys)
            open_keys = [key for key, is_done in zip(open_keys, done, strict=True) if not is_done]
            if not open_keys or time.monotonic() >= deadline or self._stopped:
                return open_keys
            time.sleep(min(pause_s, max(0.0, deadline - time.monotonic())))
            pause_s = min(pause_s * 1.2, 0.1)

    def view(self) -> NodeView:
        ledger = self._keys.statistics()
        executor = self._executor.statistics()
        told = {peer: json.loads(status or b"{}") for peer, (_, status) in self._keys.peer_status().items()}
        settings = self._settings
        return NodeView(
            name=settings.name,
            peer=settings.listen,
            api=settings.api,
            pid=os.getpid(),
            version=metadata.version("quorate"),
            ready=ledger.ready and bool(self._consumers) and not self.failed.is_set(),
            leader=ledger.leader,
            is_leader=ledger.is_leader,
            term=ledger.term,
            session=ledger.session,
            executed=ledger.executed_count,
            high_water=ledger.high_water,
            state_hash=ledger.state_hash,
            kafka=settings.kafka,
            worker_pids=executor.workers,
            handlers=tuple(sorted(self._executor.handlers)),
            lanes=tuple(
                LaneView(lane=lane.value, queued=each.queued, running=each.running, slots=each.slots)
                for lane, each in executor.lanes.items()
            ),
            peers=tuple(
                PeerView(
                    name=told.get(peer.address, {}).get("name", ""),
                    peer=peer.address,
                    api=told.get(peer.address, {}).get("api", ""),
                    connected=peer.connected,
                    round_trip_ms=peer.round_trip_ms,
                )
                for peer in ledger.peers
            ),
            counters=dict(self._flow.counters),
        )

    def members(self) -> list[MemberView]:
        ledger = self._keys.statistics()
        connected = {peer.address for peer in ledger.peers if peer.connected} | {ledger.node}
        return [
            MemberView(node=node, is_leader=node == ledger.leader, connected=node in connected)
            for node in ledger.members
        ]

    def add_member(self, node: str, *, timeout_s: float) -> list[str]:
        return self._change_group(self._keys.add_member, node, timeout_s)

    def remove_member(self, node: str, *, timeout_s: float) -> list[str]:
        return self._change_group(self._keys.remove_member, node, timeout_s)

    def _change_group(self, change: Callable[..., tuple[str, ...]], node: str, timeout_s: float) -> list[str]:
        try:
            return list(change(node, timeout_s=timeout_s))
        except NoQuorum as error:
            raise Unavailable(f"the group was not changed: {error}") from error
        except RefusedByLedger as error:
            raise Refused(f"the group was not changed: {error}") from error
        except (ConsensusError, TimeoutError) as error:
            raise Unavailable(
                f"the group may have changed, look at `quorate member list`: {error}"
            ) from error

    def _lane_consumer(self, lane: str) -> LaneConsumer:
        settings = self._settings
        return LaneConsumer(
            group_consumer(settings.kafka, group=f"{settings.prefix}.{lane}", name=settings.name),
            lane,
            lane_topics(settings.prefix, lane),
            room=lambda: self._flow.room(Lane(lane)),
            deliver=self._flow.deliver,
            barrier=self._barrier,
            failed=self._fail,
        )

    def _barrier(self, timeout_s: float) -> bool:
        try:
            self._keys.barrier(timeout_s=timeout_s)
        except (ConsensusError, TimeoutError):
            return False
        return True

    def _draw(self, count: int, timeout_s: float) -> list[int]:
        if count == 0:
            return []
        try:
            return self._blocks.draw(count, timeout_s=timeout_s)
        except (ConsensusError, TimeoutError) as error:
            raise Unavailable(f"no keys for new tasks: {error}") from error

    def _refusal(self, task: NewTask) -> Submitted | None:
        if task.handler not in self._executor.handlers:
            known = ", ".join(sorted(self._executor.handlers)) or "none"
            error = f"no handler {task.handler!r} on this node; it has: {known}"
            return Submitted(key=task.key, error=error, code="unknown-handler")
        if task.priority not in PRIORITIES:
            error = f"priority {task.priority!r}: use one of {', '.join(PRIORITIES)}"
            return Submitted(key=task.key, error=error, code="invalid")
        if task.key and not self._was_handed_out(task.key):
            error = f"key {task.key} was never handed out: draw keys by reserve"
            return Submitted(key=task.key, error=error, code="invalid")
        return None

    def _was_handed_out(self, key: int) -> bool:
        if not 0 < key <= KEY_MAX:
            return False
        return key < self._keys.high_water() or (self._barrier(2.0) and key < self._keys.high_water())

    def _await_result(self, key: int, state: TaskState, until: float) -> tuple[bytes | None, str | None]:
        """The mark follows the acknowledged result, but the reader of results may be a moment behind."""
        while True:
            found = self._results.find(key)
            if found != (None, None):
                return found
            if time.monotonic() >= until:
                return None, "reason no longer kept" if state is TaskState.DEAD else None
            time.sleep(WAIT_POLL_S)

    def _fail(self, error: BaseException) -> None:
        if self.failure is None:
            self.failure = error
        self.failed.set()
