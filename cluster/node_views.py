"""What a node shows of itself and of the cluster: reads of its parts, put into the values of `cluster.api` (shell: it reads clocks)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata

from cluster.api import (
    BacklogView,
    ChangeView,
    LabelView,
    LanesView,
    LaneView,
    LimitsView,
    MemberView,
    NodeView,
    PeerView,
    ReasonView,
    RunnerView,
)
from cluster.broadcast import decode_news
from cluster.flow_thread import FlowThread
from cluster.node_submits import Submits
from cluster.routing import LANES, PARKED
from cluster.settings import NodeSettings
from cluster.tables.labels import Rows, routing_labels
from cluster.tables.limits import Change, LimitsState
from consensus import KeyService
from executor import Executor, ExecutorStatistics

REASONS_MAX = 500


class NodeViews:
    """`ready`: the node takes and runs tasks. `counted`: what other parts count."""

    def __init__(
        self,
        settings: NodeSettings,
        keys: KeyService,
        executor: Executor,
        flow: FlowThread,
        submits: Submits,
        limits: Callable[[], LimitsState],
        labels: Callable[[], Rows],
        *,
        ready: Callable[[], bool],
        counted: Callable[[], Mapping[str, int]],
    ) -> None:
        self._settings, self._keys, self._executor = settings, keys, executor
        self._flow, self._submits, self._ready = flow, submits, ready
        self._limits, self._labels, self._counted = limits, labels, counted

    def node(self) -> NodeView:
        ledger = self._keys.statistics()
        executor = self._executor.statistics()
        told = {peer: decode_news(status) for peer, (_, status) in self._keys.peer_status().items()}
        settings = self._settings
        return NodeView(
            name=settings.name,
            peer=settings.listen,
            api=settings.api,
            pid=os.getpid(),
            version=metadata.version("quorate"),
            ready=ledger.ready and self._ready(),
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
            lanes=_lanes(executor),
            peers=tuple(
                PeerView(
                    name=told[peer.address].name if peer.address in told else "",
                    peer=peer.address,
                    api=told[peer.address].api if peer.address in told else "",
                    connected=peer.connected,
                    round_trip_ms=peer.round_trip_ms,
                )
                for peer in ledger.peers
            ),
            counters={
                **self._flow.counters,
                **self._counted(),
                "in_doubt": ledger.in_doubt_count,
                "double_effects": ledger.double_effect_count,
            },
        )

    def members(self) -> list[MemberView]:
        ledger = self._keys.statistics()
        connected = {peer.address for peer in ledger.peers if peer.connected} | {ledger.node}
        return [
            MemberView(node=node, is_leader=node == ledger.leader, connected=node in connected)
            for node in ledger.members
        ]

    def lanes(self, *, with_reasons: bool) -> LanesView:
        executor = self._executor.statistics()
        paused = self._limits().paused_lanes()
        backlogs = [(lane, self._submits.backlog(lane)) for lane in (*LANES, PARKED)]
        return LanesView(
            node=self._settings.name,
            lanes=_lanes(executor),
            runners=tuple(
                RunnerView(
                    pid=one.pid,
                    form=one.form.value,
                    is_long=one.is_long,
                    slots=one.slots,
                    running=one.running,
                    state=one.state,
                    rss_bytes=one.rss_bytes,
                )
                for one in executor.runners
            ),
            backlog=tuple(
                BacklogView(lane=lane, tasks=seen.records, seconds=seen.seconds, paused=lane in paused)
                for lane, seen in backlogs
            ),
            reasons=self._reasons() if with_reasons else (),
        )

    def labels(self) -> list[LabelView]:
        rows = self._labels()
        stored = {(label.handler, label.kind): label.lane for label in routing_labels(rows)}
        return [
            LabelView(
                handler=key.handler,
                kind=key.kind,
                node=key.node,
                lane=label.lane.value,
                why=label.why,
                mean_s=label.mean_s,
                p95_s=label.p95_s,
                cpu_s=label.cpu_s,
                samples=label.samples,
                routes=label.lane is stored[key.handler, key.kind],
            )
            for key, label in sorted(rows.items())
        ]

    def limits(self) -> LimitsView:
        state = self._limits()
        return LimitsView(
            numbers=_changes(state.numbers.values()),
            paused=_changes(state.paused.values()),
            purged=_changes(state.purged.values()),
            history=_changes(state.history),
        )

    def _reasons(self) -> tuple[ReasonView, ...]:
        """Their times are of this process's monotonic clock; people read wall clocks."""
        offset_s = time.time() - time.monotonic()
        return tuple(
            ReasonView(
                at_ms=int((one.at_s + offset_s) * 1000),
                subject=one.subject,
                decision=one.decision,
                why=one.why,
            )
            for one in list(self._executor.reasons())[-REASONS_MAX:]
        )


def _lanes(executor: ExecutorStatistics) -> tuple[LaneView, ...]:
    return tuple(
        LaneView(
            lane=lane.value,
            queued=one.queued,
            running=one.running,
            slots=one.slots,
            room=one.room,
            backlog_s=one.backlog_s,
            mean_s=one.mean_s,
            median_wait_s=one.median_wait_s,
        )
        for lane, one in executor.lanes.items()
    )


def _changes(changes: Iterable[Change]) -> tuple[ChangeView, ...]:
    return tuple(
        ChangeView(
            number=one.number,
            at_ms=one.at_ms,
            who=one.who,
            verb=one.verb.value,
            subject=one.subject,
            value=one.value,
        )
        for one in changes
    )
