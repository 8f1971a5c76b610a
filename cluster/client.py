"""How an application submits tasks and follows them, and how an operator sees and steers a cluster; `async_client.py` has its twin.

    with Client("10.0.0.1:7101,10.0.0.2:7101,10.0.0.3:7101") as client:
        handle = client.submit("send_mail", to="a@b.example")
        print(handle.key, handle.result(timeout_s=60))

Any node will do; the client finds a living one by itself. Times are seconds. Raises `Unavailable` (try
later), `Exhausted` (the cluster has work enough: later, it says when), `Refused` (the request is wrong),
`WaitTimeout`, `TaskDead`.
"""

from __future__ import annotations

import getpass
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import TracebackType
from typing import Any

from cluster.api import (
    UNIQUE_FOR_S,
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
from cluster.call_parts import submit_parts
from cluster.conversation import Ask, Conversation, Steps, parse_addresses
from cluster.errors import Exhausted, QuorateError, Refused, Unavailable
from cluster.gathering import Gathering
from cluster.rpc.channel import Channels
from executor import PayloadError, decode_value, encode_arguments

TIMEOUT_S = 30.0
CALLS_AT_ONCE = 3  # of one submit of many: one is made, one is on its way, one is answered
KEYS_BLOCK = 64  # one trip through Raft for so many single submits; what is left at the end is never used

Arguments = Sequence[Any] | Mapping[str, Any]


def new_task(
    handler: str,
    arguments: Arguments,
    *,
    kind: str = "",
    priority: str = "normal",
    unique: str = "",
    unique_for_s: float = UNIQUE_FOR_S,
) -> NewTask:
    """A sequence becomes positional arguments, a mapping keyword arguments. Raises `Refused` when they cannot
    be carried.
    """
    args, kwargs = ((), dict(arguments)) if isinstance(arguments, Mapping) else (tuple(arguments), {})
    return call_task(
        handler, args, kwargs, kind=kind, priority=priority, unique=unique, unique_for_s=unique_for_s
    )


def call_task(handler: str, args: tuple[Any, ...], kwargs: dict[str, Any], **fields: Any) -> NewTask:
    """As `new_task`, for positional and keyword arguments together; `fields` are those of `NewTask`."""
    try:
        encoded = encode_arguments(args, kwargs)
    except PayloadError as error:
        raise Refused(f"arguments of {handler!r}: {error}") from error
    return NewTask(handler=handler, arguments=encoded, **fields)


def caller() -> str:
    """user@host, for the record of who changed a limit. It is what this machine says, not a proof."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no entry for this user id, as in some containers
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


class TaskHandle:
    """A submitted task, known by its globally unique `key`."""

    __slots__ = ("_client", "key")

    def __init__(self, client: Client, key: int) -> None:
        self._client = client
        self.key = key

    def __repr__(self) -> str:
        return f"TaskHandle(key={self.key})"

    def status(self) -> TaskStatus:
        return self._client.status(self.key)

    def wait(self, timeout_s: float = TIMEOUT_S) -> None:
        self._client.wait([self.key], timeout_s)

    def result(self, timeout_s: float = TIMEOUT_S) -> Any:
        return self._client.result(self.key, timeout_s)


class Client:
    """Blocking and thread-safe. `addresses` is "host:port,host:port"; `timeout_s` bounds every call that
    names none.
    """

    def __init__(self, addresses: str, *, timeout_s: float = TIMEOUT_S, keys_block: int = KEYS_BLOCK) -> None:
        parsed = parse_addresses(addresses)
        self._timeout_s = timeout_s
        self._talk = Conversation(parsed, keys_block=keys_block, clock=time.monotonic)
        self._channels = Channels()
        self._gathering = Gathering(self.submit_tasks)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._channels.close()

    def submit(
        self,
        handler: str,
        *args: Any,
        kind: str = "",
        unique: str = "",
        unique_for_s: float = UNIQUE_FOR_S,
        **kwargs: Any,
    ) -> TaskHandle:
        """Returns when the broker has the task. Threads that submit at once share calls.

        `kind` names a part of the handler's work whose cost is learnt apart. All submits of one `unique` value, to whatever node, are one
        task for `unique_for_s` and until it was executed: the handle of a later one is that of the first. Arguments of the handler's
        own with these names go by `submit_many` or `new_task`.
        """
        task = call_task(handler, args, kwargs, kind=kind, unique=unique, unique_for_s=unique_for_s)
        (answer,) = accepted([self._gathering.submit(task)])
        return TaskHandle(self, answer.key)

    def submit_many(
        self, handler: str, arguments: Iterable[Arguments], *, kind: str = ""
    ) -> list[TaskHandle]:
        """One task per element, sent 1000 a call. When some are refused, the error says which; the others are stored."""
        tasks = [new_task(handler, one, kind=kind) for one in arguments]
        return [TaskHandle(self, answer.key) for answer in accepted(self.submit_tasks(tasks))]

    def submit_tasks(self, tasks: Sequence[NewTask], timeout_s: float | None = None) -> list[Submitted]:
        """For callers that keep keys themselves: an answer per task instead of an error for all."""
        chosen_s, parts = self._or_default(timeout_s), submit_parts(tasks)
        if len(parts) < 2:
            answers: list[Submitted] = self._run(self._talk.submit(tasks, chosen_s))
            return answers
        deadline = time.monotonic() + chosen_s

        def submit(part: Sequence[NewTask]) -> list[Submitted]:
            answers: list[Submitted] = self._run(
                self._talk.submit(part, max(0.0, deadline - time.monotonic()))
            )
            return answers

        pool = ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="quorate-submit")
        try:
            return [answer for answers in pool.map(submit, parts) for answer in answers]
        finally:
            pool.shutdown(cancel_futures=True)

    def reserve(self, count: int) -> list[int]:
        """Keys for `submit_tasks`, to be written down before the submit."""
        keys: list[int] = self._run(self._talk.draw(count, self._timeout_s))
        return keys

    def status(self, key: int) -> TaskStatus:
        return self.statuses([key])[0]

    def statuses(self, keys: Sequence[int]) -> list[TaskStatus]:
        statuses: list[TaskStatus] = self._run(self._talk.status(keys, False, self._timeout_s))
        return statuses

    def wait(self, keys: Sequence[int], timeout_s: float = TIMEOUT_S) -> None:
        """Returns when all are executed, done or dead. Raises `WaitTimeout`."""
        self._run(self._talk.wait(keys, timeout_s))

    def result(self, key: int, timeout_s: float = TIMEOUT_S) -> Any:
        return decode_value(self._run(self._talk.result(key, timeout_s)))

    def nodes(self) -> list[NodeView]:
        """What each node says of itself; those that do not answer are left out."""
        views: list[NodeView] = self._run(self._talk.nodes())
        return views

    def members(self) -> list[MemberView]:
        """The nodes of the group, as the first that answers knows it."""
        members: list[MemberView] = self._run(self._talk.members(self._timeout_s))
        return members

    def add_member(self, node: str, timeout_s: float | None = None) -> list[str]:
        """-> the group afterwards. `node` is its address for the other members; it should run and wait to join. Safe to repeat."""
        group: list[str] = self._run(self._talk.change_member("AddMember", node, self._or_default(timeout_s)))
        return group

    def remove_member(self, node: str, timeout_s: float | None = None) -> list[str]:
        """-> the group afterwards. The node may be down; stop it in any case. Safe to repeat."""
        group: list[str] = self._run(
            self._talk.change_member("RemoveMember", node, self._or_default(timeout_s))
        )
        return group

    def lanes(self, *, with_reasons: bool = False) -> list[LanesView]:
        """Lanes, runners and, if asked for, the newest decisions of each node that answers."""
        views: list[LanesView] = self._run(self._talk.lanes(with_reasons))
        return views

    def labels(self) -> list[LabelView]:
        """What was learnt of each (handler, kind), as the first node that answers knows it."""
        labels: list[LabelView] = self._run(self._talk.labels(self._timeout_s))
        return labels

    def limits(self) -> LimitsView:
        limits: LimitsView = self._run(self._talk.limits(self._timeout_s))
        return limits

    def set_limit(self, subject: str, value: int, *, who: str | None = None) -> LimitsView:
        """`subject`: "handler:NAME" or "lane:NAME" (tasks at once on each node), "workers", "io-threads", "loop-tasks",
        "max-backlog-s". -> what is in force afterwards. It holds on every node, also after restarts, until it is cleared.
        """
        return self._change_limit("set", subject, value, who)

    def clear_limit(self, subject: str, *, who: str | None = None) -> LimitsView:
        """ "purge:handler:NAME" forgets a purge."""
        return self._change_limit("clear", subject, None, who)

    def pause(self, subject: str, *, who: str | None = None) -> LimitsView:
        """`subject`: "handler:NAME" or "lane:NAME". Nothing of it is started any more; what runs may end, tasks are still taken."""
        return self._change_limit("pause", subject, None, who)

    def resume(self, subject: str, *, who: str | None = None) -> LimitsView:
        return self._change_limit("resume", subject, None, who)

    def purge(self, subject: str, *, who: str | None = None) -> LimitsView:
        """Of "handler:NAME" or "lane:NAME" all that was submitted before and did not start is cancelled, wherever it is stored."""
        return self._change_limit("purge", subject, None, who)

    def output(self, key: int) -> OutputView | None:
        """The last part of what the task printed and logged; None when no node that answers keeps it (any more)."""
        view: OutputView | None = self._run(self._talk.output(key))
        return view

    def dead(self, chosen: DeadFilter, *, with_arguments: bool = False) -> Iterator[DeadPage]:
        """Dead tasks that nobody has dealt with, in slices; those named by key or place in any case."""
        cursor, is_over = "", False
        while not is_over:
            page: DeadPage = self._run(self._talk.dead(chosen, cursor, with_arguments, self._timeout_s))
            cursor, is_over = page.cursor, not page.cursor
            yield page

    def settle_dead(self, verb: str, chosen: DeadFilter, *, who: str | None = None) -> Iterator[SettledPage]:
        """`verb`: "retry" (each as a new task) or "discard". Goes on as the pages are asked for, and may be cut off and begun again:
        nothing is retried twice.
        """
        cursor, is_over = "", False
        while not is_over:
            page: SettledPage = self._run(
                self._talk.settle_dead(verb, chosen, cursor, who or caller(), self._timeout_s)
            )
            cursor, is_over = page.cursor, not page.cursor
            yield page

    def doubts(self, keys: Sequence[int] = (), *, with_tasks: bool = False) -> Iterator[DoubtsPage]:
        """Keys in doubt, all or those of `keys` that are; `with_tasks`: and what their parked records say."""
        after, is_over = 0, False
        while not is_over:
            page: DoubtsPage = self._run(self._talk.doubts(keys, after, with_tasks, self._timeout_s))
            after, is_over = page.next, not page.next
            yield page

    def resolve_doubts(
        self, keys: Sequence[int], decision: str, *, who: str | None = None
    ) -> list[ResolvedView]:
        """`decision`: "executed" (the effect is there) or "retry" (it is not). An answer for each key."""
        views: list[ResolvedView] = self._run(
            self._talk.resolve_doubts(keys, decision, who or caller(), self._timeout_s)
        )
        return views

    def _change_limit(self, verb: str, subject: str, value: int | None, who: str | None) -> LimitsView:
        limits: LimitsView = self._run(
            self._talk.change_limit(verb, subject, value, who or caller(), self._timeout_s)
        )
        return limits

    def _or_default(self, timeout_s: float | None) -> float:
        return self._timeout_s if timeout_s is None else timeout_s

    def _run(self, steps: Steps) -> Any:
        try:
            step = next(steps)
            while True:
                try:
                    answer = None
                    if isinstance(step, Ask):
                        answer = self._channels.call(step.address, step.method, step.request, step.timeout_s)
                    else:
                        time.sleep(step.pause_s)
                except QuorateError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            return end.value


def accepted(answers: Sequence[Submitted]) -> Sequence[Submitted]:
    """Raises `Refused`, `Exhausted` or `Unavailable` when an answer is an error, naming the first."""
    failed = [(place, answer) for place, answer in enumerate(answers) if answer.error is not None]
    if not failed:
        return answers
    place, first = failed[0]
    sentence = first.error or ""
    if len(answers) > 1:
        stored = len(answers) - len(failed)
        sentence = f"{len(failed)} of {len(answers)} tasks failed ({stored} are stored), first number {place}: {sentence}"
    raise error_of(replace(first, error=sentence))


def error_of(answer: Submitted) -> QuorateError:
    """The class that says what to do about a task that was not stored."""
    sentence = answer.error or ""
    match answer.code:
        case "unavailable":
            return Unavailable(sentence)
        case "resource-exhausted":
            return Exhausted(sentence, retry_after_s=answer.retry_after_s)
        case _:
            return Refused(sentence)
