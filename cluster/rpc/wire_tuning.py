"""What operators see and change (lanes, labels, limits, output) as protobuf messages and back. Nothing is decided here."""

from __future__ import annotations

from cluster.api import (
    BacklogView,
    ChangeView,
    LabelView,
    LanesView,
    LimitsView,
    OutputView,
    ReasonView,
    RunnerView,
)
from cluster.rpc import quorate_pb2 as pb
from cluster.rpc.wire import lane_from_message, lane_to_message


def lanes_to_message(view: LanesView) -> pb.LanesResponse:
    return pb.LanesResponse(
        node=view.node,
        lanes=[lane_to_message(lane) for lane in view.lanes],
        runners=[
            pb.RunnerView(
                pid=one.pid,
                form=one.form,
                is_long=one.is_long,
                slots=one.slots,
                running=one.running,
                state=one.state,
                rss_bytes=one.rss_bytes,
            )
            for one in view.runners
        ],
        backlog=[
            pb.BacklogView(lane=one.lane, tasks=one.tasks, seconds=one.seconds, paused=one.paused)
            for one in view.backlog
        ],
        reasons=[
            pb.ReasonView(at_ms=one.at_ms, subject=one.subject, decision=one.decision, why=one.why)
            for one in view.reasons
        ],
    )


def lanes_from_message(message: pb.LanesResponse) -> LanesView:
    return LanesView(
        node=message.node,
        lanes=tuple(lane_from_message(lane) for lane in message.lanes),
        runners=tuple(
            RunnerView(
                pid=one.pid,
                form=one.form,
                is_long=one.is_long,
                slots=one.slots,
                running=one.running,
                state=one.state,
                rss_bytes=one.rss_bytes,
            )
            for one in message.runners
        ),
        backlog=tuple(
            BacklogView(lane=one.lane, tasks=one.tasks, seconds=one.seconds, paused=one.paused)
            for one in message.backlog
        ),
        reasons=tuple(
            ReasonView(at_ms=one.at_ms, subject=one.subject, decision=one.decision, why=one.why)
            for one in message.reasons
        ),
    )


def label_to_message(view: LabelView) -> pb.LabelView:
    return pb.LabelView(
        handler=view.handler,
        kind=view.kind,
        node=view.node,
        lane=view.lane,
        why=view.why,
        mean_s=view.mean_s,
        p95_s=view.p95_s,
        cpu_s=view.cpu_s,
        samples=view.samples,
        routes=view.routes,
    )


def label_from_message(message: pb.LabelView) -> LabelView:
    return LabelView(
        handler=message.handler,
        kind=message.kind,
        node=message.node,
        lane=message.lane,
        why=message.why,
        mean_s=message.mean_s,
        p95_s=message.p95_s,
        cpu_s=message.cpu_s,
        samples=message.samples,
        routes=message.routes,
    )


def limits_to_message(view: LimitsView) -> pb.LimitsResponse:
    return pb.LimitsResponse(
        numbers=[_change_to_message(one) for one in view.numbers],
        paused=[_change_to_message(one) for one in view.paused],
        purged=[_change_to_message(one) for one in view.purged],
        history=[_change_to_message(one) for one in view.history],
    )


def limits_from_message(message: pb.LimitsResponse) -> LimitsView:
    return LimitsView(
        numbers=tuple(_change_from_message(one) for one in message.numbers),
        paused=tuple(_change_from_message(one) for one in message.paused),
        purged=tuple(_change_from_message(one) for one in message.purged),
        history=tuple(_change_from_message(one) for one in message.history),
    )


def _change_to_message(view: ChangeView) -> pb.ChangeView:
    return pb.ChangeView(
        number=view.number,
        at_ms=view.at_ms,
        who=view.who,
        verb=view.verb,
        subject=view.subject,
        value=view.value,
    )


def _change_from_message(message: pb.ChangeView) -> ChangeView:
    return ChangeView(
        number=message.number,
        at_ms=message.at_ms,
        who=message.who,
        verb=message.verb,
        subject=message.subject,
        value=message.value if message.HasField("value") else None,
    )


def output_to_message(view: OutputView | None) -> pb.OutputResponse:
    if view is None:
        return pb.OutputResponse()
    return pb.OutputResponse(output=pb.OutputView(key=view.key, node=view.node, text=view.text))


def output_from_message(message: pb.OutputResponse) -> OutputView | None:
    if not message.HasField("output"):
        return None
    return OutputView(key=message.output.key, node=message.output.node, text=message.output.text)
