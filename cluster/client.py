"""How an application submits tasks and follows them: `Client` for threads, `AsyncClient` for asyncio.

    with Client("10.0.0.1:7101,10.0.0.2:7101,10.0.0.3:7101") as client:
        handle = client.submit("send_mail", to="a@b.example")
        print(handle.key, handle.result(timeout_s=60))

Any node will do; the client finds a living one by itself. Times are seconds. Raises `Unavailable` (try
later), `Refused` (the request is wrong), `WaitTimeout`, `TaskDead`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

from cluster.api import MemberView, NewTask, NodeView, Submitted, TaskStatus
from cluster.conversation import Ask, Conversation, Steps, parse_addresses
from cluster.errors import QuorateError, Refused, Unavailable
from cluster.rpc.channel import AsyncChannels, Channels
from executor import PayloadError, decode_value, encode_arguments

TIMEOUT_S = 30.0
KEYS_BLOCK = 64  # one trip through Raft for so many single submits; what is left at the end is never used

Arguments = Sequence[Any] | Mapping[str, Any]


def new_task(handler: str, arguments: Arguments) -> NewTask:
    """A sequence becomes positional arguments, a mapping keyword arguments. Raises `Refused` when they cannot
    be carried.
    """
    if isinstance(arguments, Mapping):
        return _call_task(handler, (), dict(arguments))
    return _call_task(handler, tuple(arguments), {})


def _call_task(handler: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NewTask:
    try:
        return NewTask(handler=handler, arguments=encode_arguments(args, kwargs))
    except PayloadError as error:
        raise Refused(f"arguments of {handler!r}: {error}") from error


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

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._channels.close()

    def submit(self, handler: str, *args: Any, **kwargs: Any) -> TaskHandle:
        """Returns when the broker has the task."""
        (answer,) = _accepted(self.submit_tasks([_call_task(handler, args, kwargs)]))
        return TaskHandle(self, answer.key)

    def submit_many(self, handler: str, arguments: Iterable[Arguments]) -> list[TaskHandle]:
        """One task per element, sent 1000 a call. When some are refused, the error says which; the others are stored."""
        tasks = [new_task(handler, one) for one in arguments]
        return [TaskHandle(self, answer.key) for answer in _accepted(self.submit_tasks(tasks))]

    def submit_tasks(self, tasks: Sequence[NewTask], timeout_s: float | None = None) -> list[Submitted]:
        """For callers that keep keys themselves: an answer per task instead of an error for all."""
        answers: list[Submitted] = self._run(self._talk.submit(tasks, self._or_default(timeout_s)))
        return answers

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


class AsyncTaskHandle:
    """A submitted task, for asyncio."""

    __slots__ = ("_client", "key")

    def __init__(self, client: AsyncClient, key: int) -> None:
        self._client = client
        self.key = key

    def __repr__(self) -> str:
        return f"AsyncTaskHandle(key={self.key})"

    async def status(self) -> TaskStatus:
        return await self._client.status(self.key)

    async def wait(self, timeout_s: float = TIMEOUT_S) -> None:
        await self._client.wait([self.key], timeout_s)

    async def result(self, timeout_s: float = TIMEOUT_S) -> Any:
        return await self._client.result(self.key, timeout_s)


class AsyncClient:
    """The twin of `Client` for one asyncio loop; cancelling a call is safe, a cancelled submit may still be
    stored.
    """

    def __init__(self, addresses: str, *, timeout_s: float = TIMEOUT_S, keys_block: int = KEYS_BLOCK) -> None:
        parsed = parse_addresses(addresses)
        self._timeout_s = timeout_s
        self._talk = Conversation(parsed, keys_block=keys_block, clock=time.monotonic)
        self._channels = AsyncChannels()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._channels.close()

    async def submit(self, handler: str, *args: Any, **kwargs: Any) -> AsyncTaskHandle:
        (answer,) = _accepted(await self.submit_tasks([_call_task(handler, args, kwargs)]))
        return AsyncTaskHandle(self, answer.key)

    async def submit_many(self, handler: str, arguments: Iterable[Arguments]) -> list[AsyncTaskHandle]:
        tasks = [new_task(handler, one) for one in arguments]
        return [AsyncTaskHandle(self, answer.key) for answer in _accepted(await self.submit_tasks(tasks))]

    async def submit_tasks(self, tasks: Sequence[NewTask], timeout_s: float | None = None) -> list[Submitted]:
        chosen_s = self._timeout_s if timeout_s is None else timeout_s
        answers: list[Submitted] = await self._run(self._talk.submit(tasks, chosen_s))
        return answers

    async def status(self, key: int) -> TaskStatus:
        return (await self.statuses([key]))[0]

    async def statuses(self, keys: Sequence[int]) -> list[TaskStatus]:
        statuses: list[TaskStatus] = await self._run(self._talk.status(keys, False, self._timeout_s))
        return statuses

    async def wait(self, keys: Sequence[int], timeout_s: float = TIMEOUT_S) -> None:
        await self._run(self._talk.wait(keys, timeout_s))

    async def result(self, key: int, timeout_s: float = TIMEOUT_S) -> Any:
        return decode_value(await self._run(self._talk.result(key, timeout_s)))

    async def nodes(self) -> list[NodeView]:
        views: list[NodeView] = await self._run(self._talk.nodes())
        return views

    async def members(self) -> list[MemberView]:
        members: list[MemberView] = await self._run(self._talk.members(self._timeout_s))
        return members

    async def add_member(self, node: str, timeout_s: float | None = None) -> list[str]:
        chosen_s = self._timeout_s if timeout_s is None else timeout_s
        group: list[str] = await self._run(self._talk.change_member("AddMember", node, chosen_s))
        return group

    async def remove_member(self, node: str, timeout_s: float | None = None) -> list[str]:
        chosen_s = self._timeout_s if timeout_s is None else timeout_s
        group: list[str] = await self._run(self._talk.change_member("RemoveMember", node, chosen_s))
        return group

    async def _run(self, steps: Steps) -> Any:
        try:
            step = next(steps)
            while True:
                try:
                    answer = None
                    if isinstance(step, Ask):
                        answer = await self._channels.call(
                            step.address, step.method, step.request, step.timeout_s
                        )
                    else:
                        await asyncio.sleep(step.pause_s)
                except QuorateError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            return end.value


def _accepted(answers: Sequence[Submitted]) -> Sequence[Submitted]:
    """Raises `Refused` or `Unavailable` when an answer is an error, naming the first."""
    failed = [(place, answer) for place, answer in enumerate(answers) if answer.error is not None]
    if not failed:
        return answers
    place, first = failed[0]
    sentence = first.error or ""
    if len(answers) > 1:
        stored = len(answers) - len(failed)
        sentence = f"{len(failed)} of {len(answers)} tasks failed ({stored} are stored), first number {place}: {sentence}"
    raise (Unavailable if first.code == "unavailable" else Refused)(sentence)
