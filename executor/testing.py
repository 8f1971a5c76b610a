"""Runs a handler in your own tests, at once and in this thread, as a worker would.

Arguments and return value go through the same bytes as in a cluster, so a test finds what cannot be sent. The context is real: progress is
recorded, `context.logger` and prints are kept, the time limit strikes. What the handler raises, `run` raises.

    from executor.testing import run

    def test_thumbnail() -> None:
        ran = run(thumbnail, "cat.png", width=64, key=7)
        assert ran.value == "cat-64.png"
        assert ran.progress[-1].done == 1

`check` asks the handler's check, as after a crash:

    def test_a_payment_that_was_made_is_found() -> None:
        run(pay, "order-7", 100, key=7)
        assert check(pay, "order-7", 100, key=7).answer is Answer.DONE
"""

from __future__ import annotations

import asyncio
import inspect
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from executor.context import Context
from executor.errors import HandlerError, TimeLimitExceeded
from executor.handlers.declaration import Handler
from executor.handlers.registry import Registered, place, registered
from executor.payload import decode_value, encode_arguments, encode_value
from executor.runners.inside.calls import Known, Misfit
from executor.runners.inside.meter import Meter
from executor.runners.inside.output import Capture, Output
from executor.runners.inside.questions import question
from executor.task import Answer, CheckResult, Progress, Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What one run gave. `value`: as the one who waits for the task gets it. `progress`: every report, also those that would not leave a
    worker because they come too fast. `output`: the end of what was printed and logged."""

    value: Any
    progress: tuple[Progress, ...]
    output: str
    sample: Sample


def run(
    function: Callable[..., Any],
    /,
    *args: object,
    key: int = 1,
    attempt: int = 1,
    kind: str = "",
    timeout_s: float | None = None,
    **kwargs: object,
) -> Ran:
    """Runs `function(*args, **kwargs)` as a task; `timeout_s` None: the handler's own limit.

    Raises what the handler raises; TimeLimitExceeded when its time is over; PayloadError for arguments or a return value that cannot be
    sent; TypeError for arguments that do not fit. A time limit needs the main thread.
    """
    found = _registered(function)
    known = Known(found, found.declaration.name)
    reports: list[Progress] = []
    context = Context(
        key=key,
        attempt=attempt,
        handler=known.handler,
        kind=kind,
        report=lambda done, total, note: reports.append(
            Progress(seq=0, key=key, done=done, total=total, note=note)
        ),
    )
    try:
        positional, named = known.arguments(encode_arguments(args, kwargs), lambda: context)
    except Misfit as misfit:
        raise TypeError(str(misfit)) from None
    limit_s = timeout_s if timeout_s is not None else known.timeout_s
    capture, meter = Capture(), Meter(is_alone=True)
    try:
        with _kept(capture):
            meter.begin()
            try:
                if known.is_async:
                    value = asyncio.run(_limited(known, limit_s, positional, named))
                else:
                    with _struck_after(limit_s, known.handler):
                        value = function(*positional, **named)
            finally:
                sample = meter.end(io_s=context.io_s)
    finally:
        meter.close()
    return Ran(
        value=decode_value(encode_value(value)),
        progress=tuple(reports),
        output=capture.take() or "",
        sample=sample,
    )


def check(
    function: Callable[..., Any],
    /,
    *args: object,
    key: int = 1,
    attempt: int = 2,
    kind: str = "",
    timeout_s: float | None = None,
    **kwargs: object,
) -> CheckResult:
    """Asks the check of the handler `function` about this task, in this thread; `timeout_s` None: its check_timeout_s.

    Whatever the check does, the answer is a result; too late is UNKNOWN. Raises HandlerError for a handler without a check.
    """
    found = question(_registered(function))
    if found is None:
        name = getattr(function, "__name__", function)
        raise HandlerError(f"handler {name!r} has no check: give it one with @handler(check=...)")
    known = Known(found, found.declaration.name)
    context = Context(key=key, attempt=attempt, handler=known.handler, kind=kind)
    positional, named = known.arguments(encode_arguments(args, kwargs), lambda: context)
    limit_s = timeout_s if timeout_s is not None else known.timeout_s
    try:
        if known.is_async:
            answer, why = asyncio.run(_limited(known, limit_s, positional, named))
        else:
            with _struck_after(limit_s, known.handler):
                answer, why = known.function(*positional, **named)
    except TimeLimitExceeded:
        return CheckResult(Answer.UNKNOWN, f"the check did not answer within {limit_s:g} s")
    return CheckResult(Answer(answer), why)


def _registered(function: Callable[..., Any]) -> Registered:
    for each in registered().values():
        if place(each.function) == place(function):
            return each
    signature = inspect.signature(function)
    return Registered(
        declaration=Handler(
            name=getattr(function, "__name__", "function"), is_async=inspect.iscoroutinefunction(function)
        ),
        function=function,
        signature=signature,
        wants_context="context" in signature.parameters,
    )


@contextmanager
def _kept(capture: Capture) -> Iterator[None]:
    output = Output()
    output.everywhere = capture
    output.install()
    try:
        yield
    finally:
        output.remove()


def _over(name: str, limit_s: float) -> TimeLimitExceeded:
    return TimeLimitExceeded(f"handler {name!r} ran longer than its timeout_s of {limit_s:g}")


@contextmanager
def _struck_after(limit_s: float | None, name: str) -> Iterator[None]:
    if limit_s is None:
        yield
        return
    if threading.current_thread() is not threading.main_thread():
        raise ValueError(
            f"a time limit of {limit_s:g} s can only strike in the main thread; run the test there"
        )
    seconds = limit_s

    def strike(number: int, frame: FrameType | None) -> None:
        raise _over(name, seconds)

    before = signal.signal(signal.SIGALRM, strike)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


async def _limited(known: Known, limit_s: float | None, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Its time over, a coroutine is cancelled, as in a worker."""
    limit = asyncio.timeout(limit_s)
    try:
        async with limit:
            return await known.function(*args, **kwargs)
    except TimeoutError:
        if limit.expired() and limit_s is not None:
            raise _over(known.handler, limit_s) from None
        raise
