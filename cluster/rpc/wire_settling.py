"""What waits for an operator's word (dead tasks, keys in doubt) as protobuf messages and back. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Iterable

from cluster.api import (
    AttemptView,
    DeadFilter,
    DeadPage,
    DeadView,
    DoubtsPage,
    DoubtView,
    ResolvedView,
    SettledPage,
    SettledView,
)
from cluster.rpc import quorate_pb2 as pb


def filter_to_message(value: DeadFilter) -> pb.DeadFilter:
    return pb.DeadFilter(
        keys=value.keys,
        places=value.places,
        handler=value.handler,
        since_ms=value.since_ms,
        error=value.error,
    )


def filter_from_message(message: pb.DeadFilter) -> DeadFilter:
    return DeadFilter(
        keys=tuple(message.keys),
        places=tuple(message.places),
        handler=message.handler,
        since_ms=message.since_ms,
        error=message.error,
    )


def dead_to_message(page: DeadPage) -> pb.DeadResponse:
    return pb.DeadResponse(
        tasks=[
            pb.DeadTask(
                key=one.key,
                place=one.place,
                handler=one.handler,
                kind=one.kind,
                submitted_ms=one.submitted_ms,
                died_ms=one.died_ms,
                error=one.error,
                retry_of=one.retry_of,
                attempts=_attempts_to_messages(one.attempts),
                arguments=one.arguments,
                settled=one.settled,
            )
            for one in page.tasks
        ],
        cursor=page.cursor,
        looked=page.looked,
        total=page.total,
    )


def dead_from_message(message: pb.DeadResponse) -> DeadPage:
    return DeadPage(
        tasks=tuple(
            DeadView(
                key=one.key,
                place=one.place,
                handler=one.handler,
                kind=one.kind,
                submitted_ms=one.submitted_ms,
                died_ms=one.died_ms,
                error=one.error,
                retry_of=one.retry_of,
                attempts=_attempts_from_messages(one.attempts),
                arguments=one.arguments if one.HasField("arguments") else None,
                settled=one.settled,
            )
            for one in message.tasks
        ),
        cursor=message.cursor,
        looked=message.looked,
        total=message.total,
    )


def settled_to_message(page: SettledPage) -> pb.SettleDeadResponse:
    return pb.SettleDeadResponse(
        tasks=[
            pb.SettledView(key=one.key, place=one.place, new_key=one.new_key, error=one.error)
            for one in page.tasks
        ],
        cursor=page.cursor,
        looked=page.looked,
        total=page.total,
    )


def settled_from_message(message: pb.SettleDeadResponse) -> SettledPage:
    return SettledPage(
        tasks=tuple(
            SettledView(key=one.key, place=one.place, new_key=one.new_key, error=one.error)
            for one in message.tasks
        ),
        cursor=message.cursor,
        looked=message.looked,
        total=message.total,
    )


def doubts_to_message(page: DoubtsPage) -> pb.DoubtsResponse:
    return pb.DoubtsResponse(
        doubts=[
            pb.DoubtView(
                key=one.key,
                why=one.why,
                attempt=one.attempt,
                after=one.after,
                session=one.session,
                node=one.node,
                session_open=one.session_open,
                handler=one.handler,
                kind=one.kind,
                arguments=one.arguments,
                submitted_ms=one.submitted_ms,
                attempts=_attempts_to_messages(one.attempts),
            )
            for one in page.doubts
        ],
        total=page.total,
        next=page.next,
    )


def doubts_from_message(message: pb.DoubtsResponse) -> DoubtsPage:
    return DoubtsPage(
        doubts=tuple(
            DoubtView(
                key=one.key,
                why=one.why,
                attempt=one.attempt,
                after=one.after,
                session=one.session,
                node=one.node,
                session_open=one.session_open,
                handler=one.handler,
                kind=one.kind,
                arguments=one.arguments if one.HasField("arguments") else None,
                submitted_ms=one.submitted_ms,
                attempts=_attempts_from_messages(one.attempts),
            )
            for one in message.doubts
        ),
        total=message.total,
        next=message.next,
    )


def resolved_to_message(views: Iterable[ResolvedView]) -> pb.ResolveDoubtsResponse:
    return pb.ResolveDoubtsResponse(keys=[pb.ResolvedView(key=one.key, error=one.error) for one in views])


def resolved_from_message(message: pb.ResolveDoubtsResponse) -> list[ResolvedView]:
    return [ResolvedView(key=one.key, error=one.error) for one in message.keys]


def _attempts_to_messages(attempts: Iterable[AttemptView]) -> list[pb.AttemptView]:
    return [
        pb.AttemptView(attempt=one.attempt, at_ms=one.at_ms, node=one.node, error=one.error)
        for one in attempts
    ]


def _attempts_from_messages(messages: Iterable[pb.AttemptView]) -> tuple[AttemptView, ...]:
    return tuple(
        AttemptView(attempt=one.attempt, at_ms=one.at_ms, node=one.node, error=one.error) for one in messages
    )
