"""From the replicated tables to what runs here: limits to the executor and the gate; and what this node tells the others (shell).

The ledger's thread replaces the gate and says that something changed. The thread `tuning` then tells the executor, which gives back what
waits of a handler that was paused or purged, so that the gate judges it anew. Every node logs every change with who made it. The thread
`backlog` asks Kafka what waits and feeds admission; a broker that is away holds up nothing else.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from cluster.admission import LaneLoad
from cluster.api import ProgressView
from cluster.broadcast import KEYS_MAX, PROGRESS_MAX, NodeNews, decode_news, encode_news
from cluster.errors import Unavailable
from cluster.flow_thread import FlowThread
from cluster.gate import Gate
from cluster.kafka.lag import LagReader
from cluster.node_submits import Submits
from cluster.routing import LANES, PARKED, PRIORITIES, parked_topic, task_topic
from cluster.settings import NodeSettings
from cluster.tables.limits import LimitsState, LimitsTable
from cluster.told import Told
from consensus import KeyService
from executor import Executor, Lane

NEWS_EVERY_S = 1.0  # as often as statuses travel
BACKLOG_EVERY_S = 2.0
NEWS_OLD_S = 10.0  # a node that was silent for so long does not count
LOGGED_MAX = 50  # changes at once, when a node has caught up

_log = logging.getLogger(__name__)


class Limiting:
    """What the limits say now. `gate` and `paused_lanes` follow the ledger at once, so that they hold behind a barrier; `apply` tells the
    executor.
    """

    def __init__(self, max_backlog_s: float) -> None:
        self.table = LimitsTable(on_change=self._follow)
        self.gate = Gate()
        self.paused_lanes: frozenset[str] = frozenset()
        self.applied = LimitsState()
        self.has_changed = threading.Event()
        self._max_backlog_s = max_backlog_s
        self._applied = threading.Condition()

    def _follow(self) -> None:
        """On the ledger's thread."""
        state = self.table.state
        self.gate = Gate.of(state)
        self.paused_lanes = state.paused_lanes()
        self.has_changed.set()

    def max_backlog_s(self) -> float:
        told = self.applied.value("max-backlog-s")
        return self._max_backlog_s if told is None else float(told)

    def apply(self, executor: Executor) -> None:
        """Only by one thread."""
        state, before = self.table.state, self.applied
        if state.number == before.number:
            return
        executor.tune(state.for_executor())
        handlers = set(state.paused_handlers() - before.paused_handlers())
        handlers |= dict(state.purged_handlers().items() - before.purged_handlers().items()).keys()
        lanes = dict(state.purged_lanes().items() - before.purged_lanes().items()).keys()
        if handlers or lanes:
            executor.give_back(handlers, {Lane(lane) for lane in lanes})
        with self._applied:
            self.applied = state
            self._applied.notify_all()
        for change in [one for one in state.history if one.number > before.number][-LOGGED_MAX:]:
            _log.info(
                "limit_changed number=%d who=%s at_ms=%d what=%s subject=%s value=%s",
                change.number,
                change.who,
                change.at_ms,
                change.verb,
                change.subject,
                change.value,
            )

    def await_applied(self, number: int, timeout_s: float) -> None:
        """Until the change with this number governs this node, or the time is over."""
        with self._applied:
            self._applied.wait_for(lambda: self.applied.number >= number, timeout_s)


class NodeTuning:
    """Two threads; `failed(error)` hears of the death of either. `watch` is called about once a second."""

    def __init__(
        self,
        settings: NodeSettings,
        limiting: Limiting,
        keys: KeyService,
        executor: Executor,
        flow: FlowThread,
        submits: Submits,
        told: Told,
        *,
        watch: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._watch = watch
        self._settings, self._limiting, self._keys, self._executor = settings, limiting, keys, executor
        self._flow, self._submits, self._told, self._failed = flow, submits, told, failed
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(turn,), name=name, daemon=True)
            for name, turn in (("tuning", self._tune), ("backlog", self._look_at_backlog))
        ]
        topics = [task_topic(settings.prefix, lane, priority) for lane in LANES for priority in PRIORITIES]
        self._parked = parked_topic(settings.prefix)
        self._lag = LagReader(settings.kafka, {topic: [topic] for topic in (*topics, self._parked)})

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        self._stopping.set()
        self._limiting.has_changed.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout_s)
        if not any(thread.is_alive() for thread in self._threads):
            self._lag.close()  # else it is being read; the process ends anyway

    def _run(self, turn: Callable[[], None]) -> None:
        try:
            while not self._stopping.is_set():
                turn()
        except BaseException as error:
            self._failed(error)

    def _tune(self) -> None:
        self._limiting.has_changed.wait(NEWS_EVERY_S)
        self._limiting.has_changed.clear()
        self._limiting.apply(self._executor)
        self._keys.broadcast_status(encode_news(self._news()))
        self._watch()

    def _news(self) -> NodeNews:
        return NodeNews(
            name=self._settings.name,
            api=self._settings.api,
            lanes=self._loads(),
            in_hand=self._flow.in_hand(KEYS_MAX),
            progress={
                one.key: ProgressView(done=one.done, total=one.total, note=one.note)
                for one in self._told.newest(PROGRESS_MAX)
            },
        )

    def _loads(self) -> dict[str, LaneLoad]:
        return {
            lane.value: LaneLoad(slots=one.slots, mean_s=one.mean_s)
            for lane, one in self._executor.statistics().lanes.items()
        }

    def _look_at_backlog(self) -> None:
        try:
            records = self._lag.read()
        except Unavailable as error:
            _log.debug("backlog_unknown why=%s", error)  # admission goes by what it saw last
        else:
            by_lane = {
                lane: sum(records.get(task_topic(self._settings.prefix, lane, p), 0) for p in PRIORITIES)
                for lane in LANES
            }
            by_lane[PARKED] = records.get(self._parked, 0)
            peers = [
                decode_news(status).lanes
                for age_s, status in self._keys.peer_status().values()
                if age_s < NEWS_OLD_S
            ]
            self._submits.backlog_seen(by_lane, [self._loads(), *peers])
        self._stopping.wait(BACKLOG_EVERY_S)
