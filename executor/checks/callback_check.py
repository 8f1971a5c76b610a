"""`checks.callback("shop.sms:was_sent")`: a function of the user's own answers.

It has the parameters of the handler, `context` among them if it wants it, and returns True (done), False (not done) or None (unknown); it
may be a coroutine function. It may also raise: that is unknown. Given by name it is imported when first asked, so that a check may
stand in a module that imports the handlers.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from executor.checks.answer import Check, Said, require_settle
from executor.context import Context
from executor.errors import HandlerError, HandlerLoadError

SETTLE_S = 60.0  # for a service that answers at once and shows within a minute what it has accepted


class CallbackCheck:
    """Observing, unless `is_fencing=True` says that the system asked takes each key once."""

    def __init__(
        self,
        target: str | Callable[..., Said | Awaitable[Said]],
        *,
        is_fencing: bool = False,
        settle_s: float | None = None,
    ) -> None:
        if isinstance(target, str):
            module, _, name = target.partition(":")
            if not module or not name:
                raise HandlerError(f"checks.callback({target!r}): write it as 'module:function'")
        elif not callable(target):
            raise HandlerError(f"checks.callback was given {target!r}, which cannot be called")
        self.is_fencing = is_fencing
        self.settle_s = settle_s if settle_s is not None else 0.0 if is_fencing else SETTLE_S
        self._target = target
        self._function: Callable[..., Said | Awaitable[Said]] | None = None
        self._wants_context = False
        require_settle(repr(self), is_fencing=is_fencing, settle_s=self.settle_s)

    def __repr__(self) -> str:
        target = self._target
        name = target if isinstance(target, str) else getattr(target, "__qualname__", type(target).__name__)
        return f"checks.callback({name!r})"

    @property
    def is_coroutine(self) -> bool:
        """False of a name that was not imported yet."""
        return inspect.iscoroutinefunction(self._target if self._function is None else self._function)

    def load(self) -> Callable[..., Said | Awaitable[Said]]:
        """Imports the function if that was not done yet. Raises HandlerLoadError with the reason."""
        if self._function is None:
            found: object = self._target
            if isinstance(found, str):
                module, _, name = found.partition(":")
                try:
                    found = importlib.import_module(module)
                    for part in name.split("."):
                        found = getattr(found, part)
                except Exception as error:
                    raise HandlerLoadError(
                        f"{self!r} cannot be imported: {type(error).__name__}: {error}"
                    ) from error
            if not callable(found):
                raise HandlerLoadError(f"{self!r} is a {type(found).__name__} and cannot be called")
            self._wants_context = _has_context(found)
            self._function = found
        return self._function

    def __call__(self, context: Context, /, *args: Any, **kwargs: Any) -> Said | Awaitable[Said]:
        function = self.load()
        return function(*args, **kwargs, **({"context": context} if self._wants_context else {}))


def as_check(given: object) -> Check:
    """What was written at `check=`, as a check: one of `checks`, any object of that shape, a function, or "module:function"."""
    if isinstance(given, Check) and not isinstance(given, type):
        require_settle(repr(given), is_fencing=given.is_fencing, settle_s=given.settle_s)
        return given
    if isinstance(given, str) or callable(given):
        return CallbackCheck(given)
    raise HandlerError(f"check={given!r} is no check: use one of executor.checks, or a function")


def is_coroutine(check: Check) -> bool:
    """Asking it takes an event loop, as far as can be told without importing anything."""
    if isinstance(check, CallbackCheck):
        return check.is_coroutine
    return inspect.iscoroutinefunction(type(check).__call__)


def _has_context(function: Callable[..., object]) -> bool:
    try:
        return "context" in inspect.signature(function).parameters
    except (ValueError, TypeError):
        return False
