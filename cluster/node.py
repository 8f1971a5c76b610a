"""One node: builds the parts, starts them in order, stops them in reverse; answers what applications and operators ask (shell).

Order of start: ledger, Kafka topics, executor (its hello names the handlers), results, flow, consumers. A part whose thread
dies stops the node aloud: `failed` is set and `failure` says why.

What it answers is in files of their own: `node_submits.py` takes new tasks, `node_tasks.py` says where tasks are, `node_views.py` shows the
parts, `node_tuning.py` carries the replicated limits to the parts.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from cluster.api import (
    DeadFilter,
    DeadPage,
    DoubtsPage,
    LabelView,
    LanesView,
    LimitsView,
    MemberView,
    NewTask,
    NodeView,
    OutputView,
    ResolvedView,
    SettledPage,
    Submitted,
    TaskStatus,
)
from cluster.broadcast import NodeNews, encode_news
from cluster.delay.delayer import Delayer
from cluster.errors import SettingsError
from cluster.flow_thread import FlowThread
from cluster.kafka.confluent import PROMPT_LINGER_MS, TaskProducer, delay_consumer, group_consumer
from cluster.kafka.consumer import LaneConsumer
from cluster.kafka.parked_reader import ParkedReader
from cluster.kafka.topics import ensure_topics
from cluster.labels import ClusterLabels
from cluster.node_changes import Changes
from cluster.node_dead import DeadTasks
from cluster.node_doubts import Doubts
from cluster.node_submits import Submits
from cluster.node_tasks import NodeTasks
from cluster.node_tuning import Limiting, NodeTuning
from cluster.node_views import NodeViews
from cluster.results import Results
from cluster.routing import (
    LANES,
    PRIORITIES,
    all_topics,
    dead_topic,
    delay_group,
    parked_topic,
    results_topic,
    task_topic,
)
from cluster.settings import NodeSettings
from cluster.told import Told
from consensus import ConsensusError, KeyService, Outcome, SyncMode, TlsFiles
from executor import Executor, Guarantee, Handler, Lane
from executor import Outcome as RunOutcome

MARKS_WITHIN_S = 3.0  # at the end of a node: for the marks of what has run; unmarked, it would run again
CANCEL_S = 5.0


class Node:
    """Implements `cluster.api.NodeApi`. `start` raises `Unavailable`, `SettingsError` or the errors of the parts."""

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings.checked()
        self.failed = threading.Event()
        self.failure: BaseException | None = None
        self._stop_once = threading.Lock()
        self._stopped = False
        self._consumers: list[LaneConsumer] = []
        self._told = Told()
        self._limiting = Limiting(settings.max_backlog_s)
        self._labels = ClusterLabels(settings.listen, failed=self._fail)
        self._keys = KeyService(
            settings.listen,
            settings.peers,
            settings.data_dir / "ledger",
            cluster=settings.cluster,
            sync=SyncMode(settings.sync),
            tls=None if settings.tls_dir is None else TlsFiles.of_node(settings.tls_dir, settings.listen),
            insecure=settings.insecure,
            joining=settings.join,
            tables=[self._limiting.table, self._labels.table],
            on_failure=self._fail,
        )
        self._executor = Executor(
            settings.handlers,
            workers=settings.workers,
            on_outcomes=self._ended,
            on_progress=self._told.progressed,
        )

    def start(self) -> None:
        settings = self._settings
        try:
            self._keys.start()
            self._keys.broadcast_status(encode_news(NodeNews(name=settings.name, api=settings.api)))
            ensure_topics(settings.kafka, all_topics(settings.prefix))
            self._producer = TaskProducer(settings.kafka, acks=settings.acks, name="tasks")
            self._prompt_producer = TaskProducer(
                settings.kafka, acks=settings.acks, name="prompt", linger_ms=PROMPT_LINGER_MS
            )
            self._safe_producer = TaskProducer(settings.kafka, acks="all", name="results")
            self._flow = FlowThread(
                settings.prefix,
                self._keys,
                self._executor,
                self._safe_producer,
                failed=self._fail,
                room=self._room,
                gate=lambda: self._limiting.gate,
                lane_of=self._labels.lane_for,
                node=settings.name,
            )
            self._results = Results(
                settings.kafka, results_topic(settings.prefix), dead_topic(settings.prefix), failed=self._fail
            )
            self._build_answers()
            self._executor.start()
            _require_available(self._executor.handlers.values())
            self._limiting.apply(self._executor)
            self._labels.start(self._keys, self._executor)
            self._results.start()
            self._consumers = [self._consumer(lane, priority) for lane in LANES for priority in PRIORITIES]
            self._flow.start(self._consumers)
            for consumer in self._consumers:
                consumer.start()
            self._parked.start()
            self._delayer.start()
            self._tuning.start()
        except BaseException:
            self._labels.stop()
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
            self._parked.stop()
            self._delayer.stop()
            self._tuning.stop()  # it asks the executor
            self._flow.stop_running()
            self._labels.stop()
            self._executor.stop(grace_s)
            self._flow.drain(MARKS_WITHIN_S)
            for consumer in self._consumers:
                consumer.stop()
            self._flow.stop()
            self._results.stop()
            self._producer.stop()
            self._prompt_producer.stop()
            self._safe_producer.stop()
        self._keys.stop()

    def submit(self, tasks: Sequence[NewTask], *, timeout_s: float) -> list[Submitted]:
        return self._submits.submit(tasks, timeout_s=timeout_s)

    def reserve(self, count: int, *, timeout_s: float) -> range:
        return self._submits.reserve(count, timeout_s=timeout_s)

    def status(self, keys: Sequence[int], *, with_result: bool, timeout_s: float) -> list[TaskStatus]:
        return self._tasks.status(keys, with_result=with_result, timeout_s=timeout_s)

    def wait(self, keys: Sequence[int], *, timeout_s: float) -> list[int]:
        return self._tasks.wait(keys, timeout_s=timeout_s)

    def output(self, key: int) -> OutputView | None:
        return self._tasks.output(key)

    def dead(
        self, chosen: DeadFilter, *, cursor: str, limit: int, with_arguments: bool, timeout_s: float
    ) -> DeadPage:
        return self._dead.page(
            chosen, cursor=cursor, limit=limit, with_arguments=with_arguments, timeout_s=timeout_s
        )

    def settle_dead(
        self, verb: str, chosen: DeadFilter, *, cursor: str, limit: int, who: str, timeout_s: float
    ) -> SettledPage:
        return self._dead.settle(verb, chosen, cursor=cursor, limit=limit, who=who, timeout_s=timeout_s)

    def doubts(self, keys: Sequence[int], *, after: int, with_tasks: bool, timeout_s: float) -> DoubtsPage:
        return self._doubts.page(keys, after=after, with_tasks=with_tasks, timeout_s=timeout_s)

    def resolve_doubts(
        self, keys: Sequence[int], decision: str, *, who: str, timeout_s: float
    ) -> list[ResolvedView]:
        return self._doubts.resolve(keys, decision, who=who, timeout_s=timeout_s)

    def view(self) -> NodeView:
        return self._views.node()

    def members(self) -> list[MemberView]:
        return self._views.members()

    def lanes(self, *, with_reasons: bool) -> LanesView:
        return self._views.lanes(with_reasons=with_reasons)

    def labels(self) -> list[LabelView]:
        return self._views.labels()

    def limits(self) -> LimitsView:
        return self._views.limits()

    def change_limit(
        self, verb: str, subject: str, value: int | None, *, who: str, timeout_s: float
    ) -> LimitsView:
        self._changes.limit(verb, subject, value, who=who, timeout_s=timeout_s)
        return self._views.limits()

    def add_member(self, node: str, *, timeout_s: float) -> list[str]:
        return self._changes.group(self._keys.add_member, node, timeout_s)

    def remove_member(self, node: str, *, timeout_s: float) -> list[str]:
        return self._changes.group(self._keys.remove_member, node, timeout_s)

    def _build_answers(self) -> None:
        settings, limiting = self._settings, self._limiting
        self._changes = Changes(self._keys, limiting)
        self._submits = Submits(
            settings.prefix,
            self._keys,
            self._producer,
            self._prompt_producer,
            self._safe_producer,
            handlers=self._executor.handlers,
            lane_for=self._labels.lane_for,
            max_backlog_s=limiting.max_backlog_s,
        )
        self._dead = DeadTasks(
            settings.kafka,
            settings.prefix,
            self._keys,
            self._results,
            self._submits,
            self._safe_producer,
        )
        self._doubts = Doubts(settings.kafka, settings.prefix, self._keys)
        self._tasks = NodeTasks(
            settings.name,
            self._keys,
            self._flow,
            self._results,
            self._told,
            stopped=lambda: self._stopped,
        )
        self._views = NodeViews(
            settings,
            self._keys,
            self._executor,
            self._flow,
            self._submits,
            lambda: limiting.applied,
            lambda: self._labels.table.rows,
            ready=lambda: bool(self._consumers) and not self.failed.is_set(),
            counted=lambda: {
                **self._submits.counters,
                **self._dead.counters,
                **self._doubts.counters,
                "dead_open": self._dead.open_count(),
            },
        )
        self._tuning = NodeTuning(
            settings,
            limiting,
            self._keys,
            self._executor,
            self._flow,
            self._submits,
            self._told,
            watch=self._doubts.watch,
            failed=self._fail,
        )
        parked = parked_topic(settings.prefix)
        self._parked = ParkedReader(
            group_consumer(settings.kafka, group=parked, name=settings.name),
            self._safe_producer,
            settings.kafka,
            settings.prefix,
            gate=lambda: limiting.gate,
            lane_for=self._labels.lane_for,
            executed=self._keys.executed,
            cancel=self._cancel,
            barrier=self._barrier,
            failed=self._fail,
        )

        self._delayer = Delayer(
            delay_consumer(settings.kafka, group=delay_group(settings.prefix), name=settings.name),
            self._safe_producer,
            settings.kafka,
            settings.prefix,
            lane_for=self._labels.lane_for,
            executed=self._keys.executed,
            failed=self._fail,
        )

    def _consumer(self, lane: str, priority: str) -> LaneConsumer:
        settings = self._settings
        topic = task_topic(settings.prefix, lane, priority)
        return LaneConsumer(
            group_consumer(settings.kafka, group=topic, name=settings.name),
            lane,
            priority,
            topic,
            inlet=self._flow,
            barrier=self._barrier,
            failed=self._fail,
        )

    def _ended(self, outcomes: list[RunOutcome]) -> None:
        self._told.ended(outcomes)
        self._flow.outcomes(outcomes)

    def _room(self, lane: Lane) -> int:
        return 0 if lane.value in self._limiting.paused_lanes else self._executor.room(lane)

    def _cancel(self, keys: Sequence[int]) -> bool:
        try:
            self._keys.execute(list(keys), outcome=Outcome.CANCELLED, timeout_s=CANCEL_S)
        except (ConsensusError, TimeoutError):
            return False
        return True

    def _barrier(self, timeout_s: float) -> bool:
        try:
            self._keys.barrier(timeout_s=timeout_s)
        except (ConsensusError, TimeoutError):
            return False
        return True

    def _fail(self, error: BaseException) -> None:
        if self.failure is None:
            self.failure = error
        self.failed.set()


def _require_available(handlers: Iterable[Handler]) -> None:
    """The executor asks checks, but the way of claimed tasks from Kafka to their marks is not open yet."""
    for each in handlers:
        guarantee = each.promises()
        if guarantee is not Guarantee.AT_LEAST_ONCE:
            raise SettingsError(
                f"handler {each.name!r}: guarantee '{guarantee}' is not available in a cluster yet; use 'at-least-once'"
            )
