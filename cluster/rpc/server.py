"""The door of a node: a gRPC server in front of any `NodeApi`.

Every call has a deadline: the caller's, or `CALL_S` when it gave none. Waiting calls hold a thread, so
they are cut into slices of `WAIT_SLICE_S` (the client asks again) and only `WAITS_MAX` run at a time; a
full node answers UNAVAILABLE and the client turns to another one. A streaming wait was left out: slices
need no state on the node when a client disappears.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sized
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn, TypeVar

import grpc

from cluster.api import NodeApi, Submitted
from cluster.conversation import parse_addresses
from cluster.errors import Exhausted, Refused, SettingsError, Unavailable
from cluster.rpc import quorate_pb2 as pb
from cluster.rpc import quorate_pb2_grpc, wire, wire_settling, wire_tuning

CALL_S = 10.0  # when the caller gives no deadline
CALL_MAX_S = 60.0  # a node works no longer for one call, whatever the caller says
WAIT_SLICE_S = 5.0  # long enough to be cheap, short enough that stopping a node is not held up
THREADS = 32
WAITS_MAX = 20  # the other threads stay free for submits
ANSWER_MARGIN_S = 0.05  # the answer must be on the wire before the caller's deadline

OPTIONS = [
    ("grpc.so_reuseport", 0),  # two nodes on one port must fail, not share it
    ("grpc.max_receive_message_length", wire.MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", wire.MESSAGE_BYTES_MAX),
]

Answer = TypeVar("Answer")
_log = logging.getLogger(__name__)


class ApiServer:
    """Serves `api` at `address` ("host:port") from `start` to `stop`. Stopping twice is harmless."""

    def __init__(self, api: NodeApi, address: str) -> None:
        self._address = address
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="quorate-api")
        self._server = grpc.server(self._threads, options=OPTIONS)
        servicer = _Servicer(api)
        quorate_pb2_grpc.add_QuorateServicer_to_server(servicer, self._server)  # type: ignore[no-untyped-call]

    def start(self) -> None:
        """Raises `SettingsError` when the address cannot be bound, mostly because the port is in use."""
        try:
            port = self._server.add_insecure_port(self._address)
        except RuntimeError:
            port = 0
        if port == 0:
            self._threads.shutdown(wait=False)
            raise SettingsError(
                f"--api {self._address} cannot be bound: the port is in use or the host is not this machine's; "
                "give another --api"
            )
        self._server.start()

    def stop(self, grace_s: float = 5.0) -> None:
        """Refuses new calls at once; running ones may end within `grace_s`."""
        self._server.stop(grace_s).wait(grace_s + 1.0)
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Servicer(quorate_pb2_grpc.QuorateServicer):
    def __init__(self, api: NodeApi) -> None:
        self._api = api
        self._waits = threading.BoundedSemaphore(WAITS_MAX)

    def Submit(self, request: pb.SubmitRequest, context: grpc.ServicerContext) -> pb.SubmitResponse:
        _check_count(request.tasks, context)
        tasks = [wire.task_from_message(message) for message in request.tasks]
        answers = _answer(
            context, lambda: _some_accepted(self._api.submit(tasks, timeout_s=_left_s(context)))
        )
        return wire.submitted_to_message(answers)

    def Reserve(self, request: pb.ReserveRequest, context: grpc.ServicerContext) -> pb.ReserveResponse:
        if not 1 <= request.count <= wire.KEYS_MAX:
            _refuse(context, f"{request.count} keys asked for: reserve 1 to {wire.KEYS_MAX} a call")
        keys = _answer(context, lambda: self._api.reserve(request.count, timeout_s=_left_s(context)))
        return pb.ReserveResponse(first=keys.start, count=len(keys))

    def Status(self, request: pb.StatusRequest, context: grpc.ServicerContext) -> pb.StatusResponse:
        _check_count(request.keys, context)
        keys = list(request.keys)
        statuses = _answer(
            context,
            lambda: self._api.status(keys, with_result=request.with_result, timeout_s=_left_s(context)),
        )
        return pb.StatusResponse(tasks=[wire.status_to_message(status) for status in statuses])

    def Wait(self, request: pb.WaitRequest, context: grpc.ServicerContext) -> pb.WaitResponse:
        _check_count(request.keys, context)
        timeout_s = max(0.0, min(request.timeout_s, WAIT_SLICE_S, _left_s(context)))
        if not self._waits.acquire(blocking=False):
            context.abort(
                grpc.StatusCode.UNAVAILABLE, f"{WAITS_MAX} callers wait at this node already: ask another one"
            )
        try:
            keys = list(request.keys)
            still_open = _answer(context, lambda: self._api.wait(keys, timeout_s=timeout_s))
        finally:
            self._waits.release()
        return pb.WaitResponse(open_keys=still_open)

    def View(self, request: pb.ViewRequest, context: grpc.ServicerContext) -> pb.ViewResponse:
        return _answer(context, lambda: wire.view_to_message(self._api.view()))

    def Members(self, request: pb.MembersRequest, context: grpc.ServicerContext) -> pb.MembersResponse:
        members = _answer(context, self._api.members)
        return pb.MembersResponse(members=[wire.member_to_message(member) for member in members])

    def AddMember(
        self, request: pb.ChangeMemberRequest, context: grpc.ServicerContext
    ) -> pb.ChangeMemberResponse:
        _check_member(request.node, context)
        group = _answer(context, lambda: self._api.add_member(request.node, timeout_s=_left_s(context)))
        return pb.ChangeMemberResponse(group=group)

    def RemoveMember(
        self, request: pb.ChangeMemberRequest, context: grpc.ServicerContext
    ) -> pb.ChangeMemberResponse:
        _check_member(request.node, context)
        group = _answer(context, lambda: self._api.remove_member(request.node, timeout_s=_left_s(context)))
        return pb.ChangeMemberResponse(group=group)

    def Lanes(self, request: pb.LanesRequest, context: grpc.ServicerContext) -> pb.LanesResponse:
        view = _answer(context, lambda: self._api.lanes(with_reasons=request.with_reasons))
        return wire_tuning.lanes_to_message(view)

    def Labels(self, request: pb.LabelsRequest, context: grpc.ServicerContext) -> pb.LabelsResponse:
        labels = _answer(context, self._api.labels)
        return pb.LabelsResponse(labels=[wire_tuning.label_to_message(label) for label in labels])

    def Limits(self, request: pb.LimitsRequest, context: grpc.ServicerContext) -> pb.LimitsResponse:
        return wire_tuning.limits_to_message(_answer(context, self._api.limits))

    def ChangeLimit(self, request: pb.ChangeLimitRequest, context: grpc.ServicerContext) -> pb.LimitsResponse:
        value = request.value if request.HasField("value") else None
        view = _answer(
            context,
            lambda: self._api.change_limit(
                request.verb, request.subject, value, who=request.who, timeout_s=_left_s(context)
            ),
        )
        return wire_tuning.limits_to_message(view)

    def Output(self, request: pb.OutputRequest, context: grpc.ServicerContext) -> pb.OutputResponse:
        return wire_tuning.output_to_message(_answer(context, lambda: self._api.output(request.key)))

    def Dead(self, request: pb.DeadRequest, context: grpc.ServicerContext) -> pb.DeadResponse:
        _check_names(request.filter, context)
        chosen = wire_settling.filter_from_message(request.filter)
        page = _answer(
            context,
            lambda: self._api.dead(
                chosen,
                cursor=request.cursor,
                limit=request.limit,
                with_arguments=request.with_arguments,
                timeout_s=_left_s(context),
            ),
        )
        return wire_settling.dead_to_message(page)

    def SettleDead(
        self, request: pb.SettleDeadRequest, context: grpc.ServicerContext
    ) -> pb.SettleDeadResponse:
        _check_names(request.filter, context)
        chosen = wire_settling.filter_from_message(request.filter)
        page = _answer(
            context,
            lambda: self._api.settle_dead(
                request.verb,
                chosen,
                cursor=request.cursor,
                limit=request.limit,
                who=request.who,
                timeout_s=_left_s(context),
            ),
        )
        return wire_settling.settled_to_message(page)

    def Doubts(self, request: pb.DoubtsRequest, context: grpc.ServicerContext) -> pb.DoubtsResponse:
        keys = list(request.keys)
        if keys:
            _check_count(keys, context)
        page = _answer(
            context,
            lambda: self._api.doubts(
                keys, after=request.after, with_tasks=request.with_tasks, timeout_s=_left_s(context)
            ),
        )
        return wire_settling.doubts_to_message(page)

    def ResolveDoubts(
        self, request: pb.ResolveDoubtsRequest, context: grpc.ServicerContext
    ) -> pb.ResolveDoubtsResponse:
        _check_count(request.keys, context)
        keys = list(request.keys)
        views = _answer(
            context,
            lambda: self._api.resolve_doubts(
                keys, request.decision, who=request.who, timeout_s=_left_s(context)
            ),
        )
        return wire_settling.resolved_to_message(views)


def _some_accepted(answers: list[Submitted]) -> list[Submitted]:
    """Raises `Exhausted` when nothing was stored because the lanes of all are full."""
    if any(answer.code != "resource-exhausted" for answer in answers):
        return answers
    retry_after_s = min(answer.retry_after_s for answer in answers)
    raise Exhausted(answers[0].error or "", retry_after_s=retry_after_s)


def _left_s(context: grpc.ServicerContext) -> float:
    left_s: float | None = context.time_remaining()
    if left_s is None:
        return CALL_S
    return min(max(left_s - ANSWER_MARGIN_S, 0.001), CALL_MAX_S)


def _check_count(items: Sized, context: grpc.ServicerContext) -> None:
    if not 1 <= len(items) <= wire.TASKS_MAX:
        _refuse(context, f"{len(items)} tasks in one call: send 1 to {wire.TASKS_MAX}")


def _check_names(chosen: pb.DeadFilter, context: grpc.ServicerContext) -> None:
    if chosen.keys or chosen.places:
        _check_count([*chosen.keys, *chosen.places], context)


def _check_member(node: str, context: grpc.ServicerContext) -> None:
    try:
        parse_addresses(node)
    except SettingsError:
        _refuse(context, f"{node[:100]!r} is no member: expected the host:port that it gives as --listen")


def _refuse(context: grpc.ServicerContext, sentence: str) -> NoReturn:
    context.abort(grpc.StatusCode.INVALID_ARGUMENT, sentence)
    raise AssertionError("abort raises")


def _answer(context: grpc.ServicerContext, work: Callable[[], Answer]) -> Answer:
    """Turns our errors into gRPC codes. Anything else is our bug: logged with its trace, and INTERNAL to the
    caller.
    """
    try:
        return work()
    except Unavailable as error:
        code, sentence = grpc.StatusCode.UNAVAILABLE, str(error)
    except Exhausted as error:
        code, sentence = grpc.StatusCode.RESOURCE_EXHAUSTED, str(error)
        context.set_trailing_metadata(((wire.RETRY_AFTER, f"{error.retry_after_s:.3f}"),))
    except Refused as error:
        code, sentence = grpc.StatusCode.INVALID_ARGUMENT, str(error)
    except Exception as error:
        _log.exception("api_call_failed")
        code, sentence = grpc.StatusCode.INTERNAL, f"the node failed: {type(error).__name__}: {error}"
    context.abort(code, sentence)
    raise AssertionError("abort raises")
