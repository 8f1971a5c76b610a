"""The values of `cluster.api` as protobuf messages and back. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Iterable

from cluster.api import (
    UNIQUE_FOR_S,
    LaneView,
    MemberView,
    NewTask,
    NodeView,
    PeerView,
    ProgressView,
    Submitted,
    TaskState,
    TaskStatus,
)
from cluster.rpc import quorate_pb2 as pb

MESSAGE_BYTES_MAX = (
    16 * 1024 * 1024
)  # a batch of submits; a single payload is limited to 900 kB by the executor
RETRY_AFTER = "retry-after-s"  # the trailer of RESOURCE_EXHAUSTED; without it, it is gRPC's own word for a message over the limit
KEYS_MAX = 8192  # in one call of Reserve: some seconds of a client's fast submits
TASKS_MAX = 1000  # tasks or keys in one call: bounds the time a node's thread is busy with one caller


def tasks_to_message(tasks: Iterable[NewTask], keys: Iterable[int]) -> pb.SubmitRequest:
    """`keys` take the place of the tasks' own. Messages are made in place: half the cost of making them apart."""
    request = pb.SubmitRequest()
    add = request.tasks.add
    for task, key in zip(tasks, keys, strict=True):
        one = add(
            key=key, handler=task.handler, arguments=task.arguments, priority=task.priority, kind=task.kind
        )
        if task.unique:
            one.unique, one.unique_for_s = task.unique, task.unique_for_s
    return request


def task_from_message(message: pb.NewTask) -> NewTask:
    return NewTask(
        handler=message.handler,
        arguments=message.arguments,
        key=message.key,
        priority=message.priority or "normal",
        kind=message.kind,
        unique=message.unique,
        unique_for_s=message.unique_for_s or UNIQUE_FOR_S,
    )


def submitted_to_message(answers: Iterable[Submitted]) -> pb.SubmitResponse:
    response = pb.SubmitResponse()
    add = response.tasks.add
    for one in answers:
        if one.error is None:
            add(key=one.key, was_bound=one.was_bound)
        else:
            add(key=one.key, code=one.code, error=one.error, retry_after_s=one.retry_after_s)
    return response


def submitted_from_message(message: pb.Submitted) -> Submitted:
    if not message.code:
        return Submitted(key=message.key, was_bound=message.was_bound)
    return Submitted(
        key=message.key, error=message.error, code=message.code, retry_after_s=message.retry_after_s
    )


def status_to_message(value: TaskStatus) -> pb.TaskStatus:
    told = value.progress
    progress = None if told is None else pb.Progress(done=told.done, total=told.total, note=told.note)
    return pb.TaskStatus(
        key=value.key,
        state=value.state.value,
        result=value.result,
        error=value.error,
        node=value.node,
        progress=progress,
    )


def status_from_message(message: pb.TaskStatus) -> TaskStatus:
    return TaskStatus(
        key=message.key,
        state=TaskState(message.state),
        result=message.result if message.HasField("result") else None,
        error=message.error if message.HasField("error") else None,
        node=message.node if message.HasField("node") else None,
        progress=_progress(message.progress) if message.HasField("progress") else None,
    )


def _progress(message: pb.Progress) -> ProgressView:
    total = message.total if message.HasField("total") else None
    return ProgressView(done=message.done, total=total, note=message.note)


def lane_to_message(lane: LaneView) -> pb.LaneView:
    return pb.LaneView(
        lane=lane.lane,
        queued=lane.queued,
        running=lane.running,
        slots=lane.slots,
        room=lane.room,
        backlog_s=lane.backlog_s,
        mean_s=lane.mean_s,
        median_wait_s=lane.median_wait_s,
    )


def lane_from_message(message: pb.LaneView) -> LaneView:
    return LaneView(
        lane=message.lane,
        queued=message.queued,
        running=message.running,
        slots=message.slots,
        room=message.room,
        backlog_s=message.backlog_s,
        mean_s=message.mean_s,
        median_wait_s=message.median_wait_s,
    )


def view_to_message(view: NodeView) -> pb.ViewResponse:
    return pb.ViewResponse(
        name=view.name,
        peer=view.peer,
        api=view.api,
        pid=view.pid,
        version=view.version,
        ready=view.ready,
        leader=view.leader,
        is_leader=view.is_leader,
        term=view.term,
        session=view.session,
        executed=view.executed,
        high_water=view.high_water,
        state_hash=view.state_hash,
        kafka=view.kafka,
        worker_pids=view.worker_pids,
        handlers=view.handlers,
        lanes=[lane_to_message(lane) for lane in view.lanes],
        peers=[
            pb.PeerView(
                name=peer.name,
                peer=peer.peer,
                api=peer.api,
                connected=peer.connected,
                round_trip_ms=peer.round_trip_ms,
            )
            for peer in view.peers
        ],
        counters=view.counters,
    )


def view_from_message(message: pb.ViewResponse) -> NodeView:
    return NodeView(
        name=message.name,
        peer=message.peer,
        api=message.api,
        pid=message.pid,
        version=message.version,
        ready=message.ready,
        leader=message.leader if message.HasField("leader") else None,
        is_leader=message.is_leader,
        term=message.term,
        session=message.session if message.HasField("session") else None,
        executed=message.executed,
        high_water=message.high_water,
        state_hash=message.state_hash,
        kafka=message.kafka,
        worker_pids=tuple(message.worker_pids),
        handlers=tuple(message.handlers),
        lanes=tuple(lane_from_message(lane) for lane in message.lanes),
        peers=tuple(
            PeerView(
                name=peer.name,
                peer=peer.peer,
                api=peer.api,
                connected=peer.connected,
                round_trip_ms=peer.round_trip_ms if peer.HasField("round_trip_ms") else None,
            )
            for peer in message.peers
        ),
        counters=dict(message.counters),
    )


def member_to_message(member: MemberView) -> pb.MemberView:
    return pb.MemberView(node=member.node, is_leader=member.is_leader, connected=member.connected)


def member_from_message(message: pb.MemberView) -> MemberView:
    return MemberView(node=message.node, is_leader=message.is_leader, connected=message.connected)
