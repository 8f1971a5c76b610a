"""`@handler`, and the handlers declared so far in this process."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, overload

from executor.errors import HandlerError
from executor.handlers.checking import read_check
from executor.handlers.declaration import Handler, parse_lane
from executor.handlers.guarantee import CHECK_OF, CHECK_TIMEOUT_S, parse_guarantee
from executor.retries import Retry

if TYPE_CHECKING:
    from executor.checks import Check
    from executor.handlers.checking import CheckGiven

F = TypeVar("F", bound=Callable[..., Any])
RETRY = Retry()  # of a handler that says nothing; why: executor/retries.py


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A declaration with its function; `wants_context`: the function has a parameter named `context`.

    `signature` None: it cannot be known, as of some functions written in C. `is_declared` False: a function that was submitted as it is,
    whose caller may fill `context` with something else. `check`: of an exactly-once handler, as it is called.
    """

    declaration: Handler
    function: Callable[..., Any]
    signature: inspect.Signature | None
    wants_context: bool
    is_declared: bool = True
    check: Check | None = None


_registered: dict[str, Registered] = {}


def registered() -> Mapping[str, Registered]:
    """Every handler declared in this process, by name."""
    return _registered


@overload
def handler(function: F, /) -> F: ...
@overload
def handler(
    *,
    name: str | None = None,
    lane: str | None = None,
    guarantee: str | None = None,
    check: CheckGiven | None = None,
    check_when: str = "recovery",
    check_timeout_s: float = CHECK_TIMEOUT_S,
    settle_s: float | None = None,
    timeout_s: float | None = None,
    version: str = "1",
    isolate: bool = False,
    max_running: int | None = None,
    recycle_after: int | None = None,
    retry: Retry | None = RETRY,
) -> Callable[[F], F]: ...
def handler(
    function: F | None = None,
    /,
    *,
    name: str | None = None,
    lane: str | None = None,
    guarantee: str | None = None,
    check: CheckGiven | None = None,
    check_when: str = "recovery",
    check_timeout_s: float = CHECK_TIMEOUT_S,
    settle_s: float | None = None,
    timeout_s: float | None = None,
    version: str = "1",
    isolate: bool = False,
    max_running: int | None = None,
    recycle_after: int | None = None,
    retry: Retry | None = RETRY,
) -> F | Callable[[F], F]:
    """Declares a function or coroutine function as a handler and returns it unchanged. The options are those of `Handler`.

    `check`: one of `executor.checks`, a function with the handler's parameters, or "module:function"; asked before a run that may be a
    second one, with `check_when="always"` before each. `settle_s`: how long an effect may be on its way, if the check should not say it.
    Raises HandlerError for a wrong declaration and for a name that another function already has.
    """

    def declare(target: F) -> F:
        if not callable(target):
            raise HandlerError(f"@handler was put on {target!r}, which cannot be called")
        chosen = name if name is not None else str(getattr(target, "__name__", ""))
        if chosen.startswith(CHECK_OF):
            raise HandlerError(
                f"handler {chosen!r}: names that begin with {CHECK_OF!r} are those of checks; choose another"
            )
        signature = inspect.signature(target)
        asked, terms = read_check(
            chosen, check, when=check_when, timeout_s=check_timeout_s, settle_s=settle_s
        )
        declaration = Handler(
            name=chosen,
            lane=None if lane is None else parse_lane(chosen, lane),
            guarantee=parse_guarantee(chosen, guarantee),
            timeout_s=timeout_s,
            version=version,
            is_async=inspect.iscoroutinefunction(target),
            isolate=isolate,
            max_running=max_running,
            recycle_after=recycle_after,
            retry=retry,
            check=terms,
        )
        known = _registered.get(chosen)
        if known is not None and place(known.function) != place(target):
            raise HandlerError(
                f"two handlers are named {chosen!r}: {place(known.function)} and {place(target)}; "
                "give one of them another name with @handler(name=...)"
            )
        _registered[chosen] = Registered(
            declaration=declaration,
            function=target,
            signature=signature,
            wants_context="context" in signature.parameters,
            check=asked,
        )
        return target

    return declare if function is None else declare(function)


def place(function: Callable[..., Any]) -> str:
    """Where a function is defined, for people; the same after its module was loaded again."""
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', '?')}"
