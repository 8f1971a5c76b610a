"""What a client says to which node, as generators: they yield `Ask` and `Pause` and are sent the answers.

The blocking and the asyncio client drive the same steps, so that retry, rotation and key blocks exist
once and are tested without a clock. A node that does not answer is left for the next one; after a full
round the steps pause, longer each round, until the caller's deadline. Keys are drawn before a task is
sent: repeating an unanswered submit is then the same task.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.api import DeadFilter, NewTask, NodeView, Submitted, TaskState, TaskStatus
from cluster.call_parts import fitting, key_parts
from cluster.errors import Exhausted, SettingsError, TaskDead, Unavailable, WaitTimeout
from cluster.rpc import quorate_pb2 as pb
from cluster.rpc import wire, wire_settling, wire_tuning

ATTEMPT_S = 5.0  # one node's chance to answer; longer than an election, so a healthy node is not left in vain
VIEW_S = 2.0  # a dead host must not hold up the list of the living
WAIT_SLICE_S = 5.0  # as in the server
LOOK_S = 15.0  # a node looks through a slice of a topic, and may have to store what it found
DEAD_TASKS_A_CALL = 200
CHANGE_S = 20.0  # a node that joins is fed the whole ledger first
BLOCK_SHOULD_LAST_S = 1.0  # all submits of a client wait while one draws keys
PAUSE_FIRST_S = 0.05
PAUSE_MAX_S = 1.0
RESULT_PAUSE_S = 0.05  # the mark is replicated faster than the result is read back from Kafka
RESULT_GRACE_S = 5.0
KEYS_NAMED_MAX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    address: str
    method: str
    request: Any
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    pause_s: float


Steps = Generator["Ask | Pause", Any, Any]


def parse_addresses(text: str) -> tuple[str, ...]:
    """Text "h:p,h:p" as a tuple. Raises `SettingsError`."""
    addresses = tuple(part.strip() for part in text.split(",") if part.strip())
    if not addresses:
        raise SettingsError("no API address given: expected host:port[,host:port]")
    for address in addresses:
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise SettingsError(f"{address!r} is no API address: expected host:port")
    return addresses


class Conversation:
    """One client's memory: which node answered last, and the keys drawn but not used. `clock` is monotonic
    seconds.
    """

    def __init__(self, addresses: Sequence[str], *, keys_block: int, clock: Callable[[], float]) -> None:
        self.addresses = tuple(addresses)
        self._current = 0
        self._keys_block = keys_block
        self._keys_drawn_s: float | None = None
        self._keys: deque[int] = deque()
        self._clock = clock

    def submit(self, tasks: Sequence[NewTask], timeout_s: float) -> Steps:
        """-> list[Submitted] in the given order; tasks without a key get one first. Answers with code
        "unavailable" are repeated until the deadline, then left in the list; those with "resource-exhausted"
        are left at once. Raises `Unavailable`, `Refused`.
        """
        deadline = self._clock() + timeout_s
        fresh = iter((yield from self._draw(sum(not task.key for task in tasks), deadline)))
        keys = [task.key or next(fresh) for task in tasks]
        answers: list[Submitted | None] = [None] * len(tasks)
        pause_s = PAUSE_FIRST_S
        open_places = list(range(len(tasks)))
        while open_places:
            batch = fitting(tasks, open_places)
            request = wire.tasks_to_message(
                (tasks[place] for place in batch), (keys[place] for place in batch)
            )
            try:
                response = yield from self._call("Submit", request, deadline)
            except Exhausted as error:
                for place in batch:
                    answers[place] = Submitted(
                        key=keys[place],
                        error=str(error),
                        code="resource-exhausted",
                        retry_after_s=error.retry_after_s,
                    )
                done = set(batch)
                open_places = [place for place in open_places if place not in done]
                continue
            if len(response.tasks) != len(batch):
                raise Unavailable(f"{len(response.tasks)} answers came for {len(batch)} tasks: submit again")
            for place, message in zip(batch, response.tasks, strict=True):
                answers[place] = wire.submitted_from_message(message)
            repeat = {
                place for place, task in zip(batch, response.tasks, strict=True) if task.code == "unavailable"
            }
            done = set(batch) - repeat
            open_places = [place for place in open_places if place not in done]
            if repeat:
                if self._clock() + pause_s >= deadline:
                    break
                self._rotate()
                yield Pause(pause_s=pause_s)
                pause_s = min(pause_s * 2, PAUSE_MAX_S)
        return [
            answer or Submitted(key=key, error="the deadline passed before it was sent", code="unavailable")
            for answer, key in zip(answers, keys, strict=True)
        ]

    def status(self, keys: Sequence[int], with_result: bool, timeout_s: float) -> Steps:
        """-> list[TaskStatus]."""
        deadline = self._clock() + timeout_s
        statuses: list[TaskStatus] = []
        for part in key_parts(keys):
            request = pb.StatusRequest(keys=part, with_result=with_result)
            response = yield from self._call("Status", request, deadline)
            statuses += [wire.status_from_message(message) for message in response.tasks]
        return statuses

    def wait(self, keys: Sequence[int], timeout_s: float) -> Steps:
        """-> None when all are executed. Raises `WaitTimeout`, or `Unavailable` when no node could be asked."""
        deadline = self._clock() + timeout_s
        still_open = list(dict.fromkeys(keys))
        while still_open:
            part = still_open[: wire.TASKS_MAX]
            left_s = max(deadline - self._clock(), 0.0)
            request = pb.WaitRequest(keys=part, timeout_s=min(left_s, WAIT_SLICE_S))
            # The call may outlive the deadline a little: the node's answer says more than our time-out.
            response = yield from self._call("Wait", request, deadline + 1.0, attempt_s=WAIT_SLICE_S + 1.0)
            still_open = list(response.open_keys) + still_open[len(part) :]
            if still_open and self._clock() >= deadline:
                named = ", ".join(str(key) for key in still_open[:KEYS_NAMED_MAX])
                more = ", .." if len(still_open) > KEYS_NAMED_MAX else ""
                raise WaitTimeout(
                    f"{len(still_open)} of {len(set(keys))} tasks not executed within {timeout_s:g} s "
                    f"(keys {named}{more}): they are stored and will run, wait again"
                )

    def result(self, key: int, timeout_s: float) -> Steps:
        """-> the encoded value. Raises `TaskDead`, `WaitTimeout`, `Unavailable`."""
        deadline = self._clock() + timeout_s
        yield from self.wait([key], timeout_s)
        grace_end = max(deadline, self._clock() + 1.0)
        grace_end = min(grace_end, self._clock() + RESULT_GRACE_S)
        while True:
            (status,) = yield from self.status([key], True, max(grace_end - self._clock(), 0.5))
            if status.state is TaskState.DEAD:
                raise TaskDead(status.error or f"task {key} failed for good; its record is in the dead topic")
            if status.state is TaskState.CANCELLED:
                raise TaskDead(f"task {key} was cancelled before it ran: it, or all of its kind, was dropped")
            if status.result is not None:
                return status.result
            if self._clock() >= grace_end:
                raise WaitTimeout(
                    f"task {key} is executed, but its result is kept by no node: it may have expired"
                )
            self._rotate()
            yield Pause(pause_s=RESULT_PAUSE_S)

    def view(self, address: str) -> Steps:
        """-> NodeView of this node, or None when it does not answer."""
        try:
            message = yield Ask(address=address, method="View", request=pb.ViewRequest(), timeout_s=VIEW_S)
        except Unavailable:
            return None
        return wire.view_from_message(message)

    def nodes(self) -> Steps:
        """-> list[NodeView] of those that answer."""
        views: list[NodeView] = []
        for address in self.addresses:
            view = yield from self.view(address)
            if view is not None:
                views.append(view)
        return views

    def members(self, timeout_s: float) -> Steps:
        """-> list[MemberView] as the first node that answers knows the group."""
        response = yield from self._call("Members", pb.MembersRequest(), self._clock() + timeout_s)
        return [wire.member_from_message(message) for message in response.members]

    def change_member(self, method: str, node: str, timeout_s: float) -> Steps:
        """`method`: AddMember or RemoveMember. -> the group afterwards. Raises `Refused`, `Unavailable`."""
        request, deadline = pb.ChangeMemberRequest(node=node), self._clock() + timeout_s
        response = yield from self._call(method, request, deadline, attempt_s=CHANGE_S)
        return list(response.group)

    def lanes(self, with_reasons: bool) -> Steps:
        """-> list[LanesView] of the nodes that answer."""
        views = []
        for address in self.addresses:
            request = pb.LanesRequest(with_reasons=with_reasons)
            try:
                message = yield Ask(address=address, method="Lanes", request=request, timeout_s=VIEW_S)
            except Unavailable:
                continue
            views.append(wire_tuning.lanes_from_message(message))
        return views

    def labels(self, timeout_s: float) -> Steps:
        """-> list[LabelView] as the first node that answers knows them."""
        response = yield from self._call("Labels", pb.LabelsRequest(), self._clock() + timeout_s)
        return [wire_tuning.label_from_message(message) for message in response.labels]

    def limits(self, timeout_s: float) -> Steps:
        """-> LimitsView as the first node that answers knows it."""
        response = yield from self._call("Limits", pb.LimitsRequest(), self._clock() + timeout_s)
        return wire_tuning.limits_from_message(response)

    def change_limit(self, verb: str, subject: str, value: int | None, who: str, timeout_s: float) -> Steps:
        """-> LimitsView afterwards. Raises `Refused`, `Unavailable`."""
        request = pb.ChangeLimitRequest(verb=verb, subject=subject, value=value, who=who)
        response = yield from self._call("ChangeLimit", request, self._clock() + timeout_s)
        return wire_tuning.limits_from_message(response)

    def output(self, key: int) -> Steps:
        """-> OutputView of the node that keeps it, or None. Raises `Unavailable` when no node answers."""
        heard = 0
        for address in self.addresses:
            try:
                message = yield Ask(
                    address=address, method="Output", request=pb.OutputRequest(key=key), timeout_s=VIEW_S
                )
            except Unavailable:
                continue
            heard += 1
            if (view := wire_tuning.output_from_message(message)) is not None:
                return view
        if not heard:
            raise Unavailable("no node answers: check the addresses, or ask later")
        return None

    def dead(self, chosen: DeadFilter, cursor: str, with_arguments: bool, timeout_s: float) -> Steps:
        """-> DeadPage from `cursor` on. Raises `Refused`, `Unavailable`."""
        request = pb.DeadRequest(
            filter=wire_settling.filter_to_message(chosen),
            cursor=cursor,
            limit=DEAD_TASKS_A_CALL,
            with_arguments=with_arguments,
        )
        response = yield from self._call("Dead", request, self._clock() + timeout_s, attempt_s=LOOK_S)
        return wire_settling.dead_from_message(response)

    def settle_dead(self, verb: str, chosen: DeadFilter, cursor: str, who: str, timeout_s: float) -> Steps:
        """-> SettledPage from `cursor` on: repeating it where no answer came is safe. Raises `Refused`, `Unavailable`."""
        request = pb.SettleDeadRequest(
            verb=verb,
            filter=wire_settling.filter_to_message(chosen),
            cursor=cursor,
            limit=DEAD_TASKS_A_CALL,
            who=who,
        )
        response = yield from self._call("SettleDead", request, self._clock() + timeout_s, attempt_s=LOOK_S)
        return wire_settling.settled_from_message(response)

    def doubts(self, keys: Sequence[int], after: int, with_tasks: bool, timeout_s: float) -> Steps:
        """-> DoubtsPage of all above `after`, or of `keys`."""
        request = pb.DoubtsRequest(keys=keys, after=after, with_tasks=with_tasks)
        response = yield from self._call("Doubts", request, self._clock() + timeout_s, attempt_s=LOOK_S)
        return wire_settling.doubts_from_message(response)

    def resolve_doubts(self, keys: Sequence[int], decision: str, who: str, timeout_s: float) -> Steps:
        """-> list[ResolvedView]. Raises `Refused`, `Unavailable`."""
        deadline = self._clock() + timeout_s
        views = []
        for part in key_parts(keys):
            request = pb.ResolveDoubtsRequest(keys=part, decision=decision, who=who)
            response = yield from self._call("ResolveDoubts", request, deadline)
            views += wire_settling.resolved_from_message(response)
        return views

    def draw(self, count: int, timeout_s: float) -> Steps:
        """-> list of `count` fresh keys."""
        return (yield from self._draw(count, self._clock() + timeout_s))

    def _draw(self, count: int, deadline: float) -> Generator[Ask | Pause, Any, list[int]]:
        drawn: list[int] = []
        while len(drawn) < count:
            try:
                drawn.append(self._keys.popleft())  # atomic, so that threads never share a key
            except IndexError:
                wanted = min(max(count - len(drawn), self._block_of_now()), wire.KEYS_MAX)
                response = yield from self._call("Reserve", pb.ReserveRequest(count=wanted), deadline)
                fresh = range(response.first, response.first + response.count)
                missing = count - len(drawn)
                drawn += fresh[:missing]
                self._keys.extend(fresh[missing:])
        return drawn

    def _block_of_now(self) -> int:
        """A block that is used up within a second was too small: the next is twice as large. What is left at the end is never used."""
        now = self._clock()
        is_fast = self._keys_drawn_s is not None and now - self._keys_drawn_s < BLOCK_SHOULD_LAST_S
        self._keys_block = min(self._keys_block * 2, wire.KEYS_MAX) if is_fast else self._keys_block
        self._keys_drawn_s = now
        return self._keys_block

    def _call(self, method: str, request: Any, deadline: float, *, attempt_s: float = ATTEMPT_S) -> Steps:
        pause_s, failures = PAUSE_FIRST_S, 0
        while True:
            address = self.addresses[self._current % len(self.addresses)]
            left_s = max(deadline - self._clock(), 0.01)
            try:
                return (
                    yield Ask(
                        address=address, method=method, request=request, timeout_s=min(left_s, attempt_s)
                    )
                )
            except Unavailable as error:
                last = error
            self._rotate()
            failures += 1
            if self._clock() >= deadline:
                raise Unavailable(f"no node answered {method} in time; the last said: {last}") from None
            if failures % len(self.addresses) == 0:
                yield Pause(pause_s=max(min(pause_s, deadline - self._clock()), 0.0))
                pause_s = min(pause_s * 2, PAUSE_MAX_S)

    def _rotate(self) -> None:
        self._current = (self._current + 1) % len(self.addresses)
