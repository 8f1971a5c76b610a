"""Asking a check: whatever happens to it, the answer is a `CheckResult`.

`ask` is for processes and threads, `ask_async` for an event loop, which no check may hold up: there a check that is no coroutine is called
on a thread. An exception means UNKNOWN; `TimeLimitExceeded` and `TaskCancelled` are the runner's, and pass.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from executor.checks.answer import Check, Said, read_answer
from executor.checks.callback_check import CallbackCheck
from executor.checks.trouble import scrubbed, unknown
from executor.context import Context
from executor.task import Answer, CheckResult


def ask(
    check: Check, context: Context, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
) -> CheckResult:
    """The answer; a check that is a coroutine gets an event loop of its own. Its time is limited by the runner."""
    try:
        said = check(context, *args, **(kwargs or {}))
        if inspect.isawaitable(said):
            said = asyncio.run(_awaited(said))
    except Exception as error:
        return unknown("the check failed", error)
    return _clean(read_answer(said))


async def ask_async(
    check: Check,
    context: Context,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    timeout_s: float | None = None,
) -> CheckResult:
    """The answer; UNKNOWN after `timeout_s`. A thread that is late is left alone: the built-in checks end by their own time limits."""
    deadline = asyncio.timeout(timeout_s)
    try:
        async with deadline:
            said: Said | Awaitable[Said]
            if await _is_coroutine(check):
                said = check(context, *args, **(kwargs or {}))
            else:
                said = await asyncio.to_thread(check, context, *args, **(kwargs or {}))
            if inspect.isawaitable(said):
                said = await said
    except Exception as error:
        if deadline.expired():
            return CheckResult(Answer.UNKNOWN, f"the check did not answer within {timeout_s} s")
        return unknown("the check failed", error)
    return _clean(read_answer(said))


def _clean(result: CheckResult) -> CheckResult:
    return CheckResult(result.answer, scrubbed(result.why))


async def _is_coroutine(check: Check) -> bool:
    """Called on the loop, then, and never waited for in vain on a thread."""
    function: object = type(check).__call__
    if isinstance(check, CallbackCheck):
        function = await asyncio.to_thread(check.load)  # it may import a module
    return inspect.iscoroutinefunction(function)


async def _awaited(said: Awaitable[Said]) -> Said:
    return await said
