"""Labels between this node and the others: what its executor learns goes into the ledger, what the ledger says routes (shell).

One thread, `labels`. It wakes when the table has changed, tells the executor what the cluster knows, and asks it each second for news.
Without a majority nothing is told; tasks are routed by what was known before.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

from cluster.label_news import worth_telling
from cluster.routing import lane_of
from cluster.tables.labels import LabelsTable, Rows, forget, learn, learnt_by, routing_labels
from consensus import ConsensusError, KeyService, NoQuorum, OutcomeUnknown
from executor import Executor, Handler, Label, Lane

NEWS_EVERY_S = 1.0  # one command at most, of 32 labels
TURN_S = 0.1  # changes of the table are looked at together
TELL_S = 2.0
AGAIN_S = 5.0  # after the ledger did not take it

_log = logging.getLogger(__name__)


class ClusterLabels:
    """`lane_for` may be called by any thread at any time; before the first label everything is routed as declared. `node`: its address in
    the group. `failed(error)` hears of the thread's death."""

    def __init__(self, node: str, *, failed: Callable[[BaseException], None]) -> None:
        self._has_changed = threading.Event()
        self.table = LabelsTable(self._has_changed.set)
        self._node, self._failed = node, failed
        self._lanes: Mapping[tuple[str, str], Lane] = {}  # replaced as a whole
        self._routing: list[Label] = []
        self._seen: Rows | None = None
        self._handlers: Mapping[str, Handler] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="labels", daemon=True)

    def start(self, keys: KeyService, executor: Executor) -> None:
        self._keys, self._executor, self._handlers = keys, executor, executor.handlers
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._has_changed.set()
        if self._thread.is_alive():
            self._thread.join(TELL_S + NEWS_EVERY_S)

    def lane_for(self, handler: str, kind: str) -> Lane:
        """Where a task is stored: the declared lane, else the one learnt by the cluster, else where handlers of its form begin."""
        declared = self._handlers.get(handler)
        if declared is not None and declared.lane is not None:
            return declared.lane
        learnt = self._lanes.get((handler, kind))
        if learnt is not None:
            return learnt
        return Lane(lane_of(None, is_async=declared is not None and declared.is_async))

    def _run(self) -> None:
        tell_at = time.monotonic() + NEWS_EVERY_S
        try:
            while not self._stopping.wait(TURN_S):
                self._has_changed.wait(max(0.0, tell_at - time.monotonic()))
                self._has_changed.clear()
                self._follow()
                if time.monotonic() >= tell_at and not self._stopping.is_set():
                    tell_at = time.monotonic() + (NEWS_EVERY_S if self._tell() else AGAIN_S)
        except BaseException as error:
            self._failed(error)

    def _follow(self) -> None:
        rows = self.table.rows
        if rows is self._seen:
            return
        self._seen = rows
        routing = routing_labels(rows)
        if routing == self._routing:
            return
        for label in routing:
            before = self._lanes.get((label.handler, label.kind))
            if before is not label.lane:
                _log.info(
                    "routing_label handler=%s kind=%s lane=%s before=%s why=%s",
                    label.handler,
                    label.kind,
                    label.lane,
                    before,
                    label.why,
                )
        self._routing = routing
        self._lanes = {(label.handler, label.kind): label.lane for label in routing}
        self._executor.tell(routing)

    def _tell(self) -> bool:
        """False: the ledger did not take it."""
        news = worth_telling(self._executor.labels(), learnt_by(self.table.rows, self._node))
        commands = [learn(self._node, news)] if news else []
        gone = {key.node for key in self.table.rows} - set(self._keys.members()) - {self._node}
        if gone and self._keys.statistics().is_leader:
            commands.append(forget(gone))
        try:
            for command in commands:
                self._keys.command(command, timeout_s=TELL_S)
        except (NoQuorum, OutcomeUnknown) as error:
            _log.debug("labels_not_told why=%s", error)  # no majority: the node says so elsewhere
            return False
        except ConsensusError as error:
            _log.warning(
                "labels_not_told why=%s", error
            )  # a member of an older version does not know the table
            return False
        return True
