"""The client for asyncio: the same calls as `client.py`, where each is explained, over the same conversation.

async with AsyncClient("10.0.0.1:7101,10.0.0.2:7101") as client:
    handle = await client.submit("send_mail", to="a@b.example")
    print(handle.key, await handle.result(timeout_s=60))
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
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
from cluster.client import (
    CALLS_AT_ONCE,
    KEYS_BLOCK,
    TIMEOUT_S,
    Arguments,
    accepted,
    call_task,
    caller,
    new_task,
)
from cluster.conversation import Ask, Conversation, Steps, parse_addresses
from cluster.errors import QuorateError
from cluster.gathering import AsyncGathering
from cluster.rpc.channel import AsyncChannels
from executor import decode_value


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
        self._gathering = AsyncGathering(self.submit_tasks)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._gathering.close()
        await self._channels.close()

    async def submit(
        self,
        handler: str,
        *args: Any,
        kind: str = "",
        unique: str = "",
        unique_for_s: float = UNIQUE_FOR_S,
        **kwargs: Any,
    ) -> AsyncTaskHandle:
        task = call_task(handler, args, kwargs, kind=kind, unique=unique, unique_for_s=unique_for_s)
        (answer,) = accepted([await self._gathering.submit(task)])
        return AsyncTaskHandle(self, answer.key)

    async def submit_many(
        self, handler: str, arguments: Iterable[Arguments], *, kind: str = ""
    ) -> list[AsyncTaskHandle]:
        tasks = [new_task(handler, one, kind=kind) for one in arguments]
        return [AsyncTaskHandle(self, answer.key) for answer in accepted(await self.submit_tasks(tasks))]

    async def submit_tasks(self, tasks: Sequence[NewTask], timeout_s: float | None = None) -> list[Submitted]:
        deadline = time.monotonic() + (self._timeout_s if timeout_s is None else timeout_s)
        at_once = asyncio.Semaphore(CALLS_AT_ONCE)

        async def submit(part: Sequence[NewTask]) -> list[Submitted]:
            async with at_once:
                answers: list[Submitted] = await self._run(
                    self._talk.submit(part, max(0.0, deadline - time.monotonic()))
                )
                return answers

        calls = [asyncio.create_task(submit(part)) for part in submit_parts(tasks)]
        try:
            return [answer for answers in await asyncio.gather(*calls) for answer in answers]
        finally:
            for call in calls:  # where one failed, the rest is not sent
                call.cancel()

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

    async def lanes(self, *, with_reasons: bool = False) -> list[LanesView]:
        views: list[LanesView] = await self._run(self._talk.lanes(with_reasons))
        return views

    async def labels(self) -> list[LabelView]:
        labels: list[LabelView] = await self._run(self._talk.labels(self._timeout_s))
        return labels

    async def limits(self) -> LimitsView:
        limits: LimitsView = await self._run(self._talk.limits(self._timeout_s))
        return limits

    async def set_limit(self, subject: str, value: int, *, who: str | None = None) -> LimitsView:
        return await self._change_limit("set", subject, value, who)

    async def clear_limit(self, subject: str, *, who: str | None = None) -> LimitsView:
        return await self._change_limit("clear", subject, None, who)

    async def pause(self, subject: str, *, who: str | None = None) -> LimitsView:
        return await self._change_limit("pause", subject, None, who)

    async def resume(self, subject: str, *, who: str | None = None) -> LimitsView:
        return await self._change_limit("resume", subject, None, who)

    async def purge(self, subject: str, *, who: str | None = None) -> LimitsView:
        return await self._change_limit("purge", subject, None, who)

    async def output(self, key: int) -> OutputView | None:
        view: OutputView | None = await self._run(self._talk.output(key))
        return view

    async def dead(self, chosen: DeadFilter, *, with_arguments: bool = False) -> AsyncIterator[DeadPage]:
        cursor, is_over = "", False
        while not is_over:
            page: DeadPage = await self._run(self._talk.dead(chosen, cursor, with_arguments, self._timeout_s))
            cursor, is_over = page.cursor, not page.cursor
            yield page

    async def settle_dead(
        self, verb: str, chosen: DeadFilter, *, who: str | None = None
    ) -> AsyncIterator[SettledPage]:
        cursor, is_over = "", False
        while not is_over:
            page: SettledPage = await self._run(
                self._talk.settle_dead(verb, chosen, cursor, who or caller(), self._timeout_s)
            )
            cursor, is_over = page.cursor, not page.cursor
            yield page

    async def doubts(
        self, keys: Sequence[int] = (), *, with_tasks: bool = False
    ) -> AsyncIterator[DoubtsPage]:
        after, is_over = 0, False
        while not is_over:
            page: DoubtsPage = await self._run(self._talk.doubts(keys, after, with_tasks, self._timeout_s))
            after, is_over = page.next, not page.next
            yield page

    async def resolve_doubts(
        self, keys: Sequence[int], decision: str, *, who: str | None = None
    ) -> list[ResolvedView]:
        views: list[ResolvedView] = await self._run(
            self._talk.resolve_doubts(keys, decision, who or caller(), self._timeout_s)
        )
        return views

    async def _change_limit(self, verb: str, subject: str, value: int | None, who: str | None) -> LimitsView:
        limits: LimitsView = await self._run(
            self._talk.change_limit(verb, subject, value, who or caller(), self._timeout_s)
        )
        return limits

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
