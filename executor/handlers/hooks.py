"""`@on_worker_start` and `@on_worker_stop`: what a worker process does once, before its first and after its last task.

For what is dear to make and can be shared by tasks: a connection, a model in memory. A start hook that fails keeps the worker from
taking tasks, and its reason is shown; a stop hook that fails is reported and the others still run. A worker that is killed runs no stop
hook, so nothing may depend on one for correctness.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from executor.errors import HandlerError
from executor.handlers.registry import place

H = TypeVar("H", bound=Callable[[], Any])

_start: dict[str, Callable[[], Any]] = {}
_stop: dict[str, Callable[[], Any]] = {}


def on_worker_start(function: H, /) -> H:
    """Runs `function()` once in every worker process, in the order of declaration; it may be a coroutine function."""
    return _add(_start, "on_worker_start", function)


def on_worker_stop(function: H, /) -> H:
    """Runs `function()` once when a worker process ends by itself, last declared first; it may be a coroutine function."""
    return _add(_stop, "on_worker_stop", function)


def start_hooks() -> Sequence[Callable[[], Any]]:
    """In the order in which they run."""
    return tuple(_start.values())


def stop_hooks() -> Sequence[Callable[[], Any]]:
    """In the order in which they run."""
    return tuple(reversed(_stop.values()))


def _add(hooks: dict[str, Callable[[], Any]], decorator: str, function: H) -> H:
    if not callable(function):
        raise HandlerError(f"@{decorator} was put on {function!r}, which cannot be called")
    hooks[place(function)] = function
    return function
