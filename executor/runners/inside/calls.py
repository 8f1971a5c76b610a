"""One task as a call: which function, with which arguments, and what is said of its value or its failure.

`Calls.known` finds the function once for each (handler, kind) and keeps what every task of it needs. A call that cannot be made (unknown
name, bytes that are no arguments, arguments that do not fit) is a `Misfit`: its text is written for the one who submitted the task.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from executor.context import Context
from executor.errors import HandlerError, PayloadError, RetryLater, TaskCancelled, TimeLimitExceeded
from executor.handlers.functions import Functions
from executor.handlers.guarantee import checked_handler
from executor.handlers.registry import Registered
from executor.payload import decode_arguments, encode_arguments, encode_value
from executor.retries import class_names
from executor.runners.inside.meter import Pace
from executor.runners.inside.questions import question
from executor.task import Fault, Status

ERROR_CHARS_MAX = 2_000
TRACEBACK_CHARS_MAX = 16_000
KNOWN_MAX = 10_000  # kinds are chosen by those who submit
IMPORT_S = 60.0  # the import of a submitted function counts as running only after this
NO_ARGUMENTS = encode_arguments((), {})
CLASSES_MAX = 16  # named of an error
FINAL = Fault(is_final=True)  # the call itself cannot be made, or its value not be sent
_OURS = (
    "executor.runners.",
    "asyncio.",
)  # asyncio: what a coroutine is run by, at the beginning of a traceback


class Misfit(Exception):
    """This call cannot be made; the text is the task's error."""


class UnknownHandler(Misfit):
    """No handler has this name."""


class Known:
    """What all tasks of one (handler, kind) share. `is_plain`: nothing but arguments goes in, and no limit is set."""

    __slots__ = (
        "_context_at",
        "function",
        "handler",
        "is_async",
        "is_plain",
        "pace",
        "registered",
        "timeout_s",
    )

    def __init__(self, registered: Registered, handler: str) -> None:
        self.registered = registered
        self.handler = handler
        self.function: Callable[..., Any] = registered.function
        self.is_async = registered.declaration.is_async
        self.timeout_s = registered.declaration.timeout_s
        self.is_plain = not (self.is_async or registered.wants_context or self.timeout_s is not None)
        self.pace = Pace()
        self._context_at = _position(registered)

    def arguments(self, encoded: bytes, context: Callable[[], Context]) -> tuple[list[Any], dict[str, Any]]:
        """What the function is called with; raises Misfit."""
        if encoded == NO_ARGUMENTS:
            args: list[Any] = []
            kwargs: dict[str, Any] = {}
        else:
            try:
                args, kwargs = decode_arguments(encoded)
            except PayloadError as error:
                raise Misfit(f"PayloadError: {error}") from None
        if self.registered.wants_context:
            if self._is_given(args, kwargs):
                if self.registered.is_declared:
                    raise Misfit(f"{self.handler}: 'context' is given by the executor, not by the caller")
            else:
                self._give(args, kwargs, context())
        return args, kwargs

    def _give(self, args: list[Any], kwargs: dict[str, Any], context: Context | None) -> None:
        """Callers leave the context out, wherever it stands: `def f(context, a)` is called with `a` alone."""
        at = self._context_at
        if at is not None and len(args) >= at:
            args.insert(at, context)
        else:
            kwargs["context"] = context

    def call(self, encoded: bytes) -> Any:
        """The short way, for a plain function only."""
        try:
            args, kwargs = decode_arguments(encoded)
        except PayloadError as error:
            raise Misfit(f"PayloadError: {error}") from None
        return self.function(*args, **kwargs)

    def _is_given(self, args: list[Any], kwargs: dict[str, Any]) -> bool:
        if self.registered.is_declared or "context" in kwargs or self.registered.signature is None:
            return "context" in kwargs
        try:
            return "context" in self.registered.signature.bind_partial(*args, **kwargs).arguments
        except TypeError:
            return False

    def misfit(self, error: BaseException, encoded: bytes) -> str | None:
        """The text if `error` only says that the arguments do not fit the function; None if it came from the function itself."""
        signature = self.registered.signature
        if type(error) is not TypeError or signature is None or _handler_part(error) is not None:
            return None
        try:
            args, kwargs = decode_arguments(encoded)
            if self.registered.wants_context and not self._is_given(args, kwargs):
                self._give(args, kwargs, None)
            signature.bind(*args, **kwargs)
        except TypeError as mismatch:
            name = self.handler
            text = (
                f"TypeError: wrong arguments for handler {name!r}, declared as {name}{signature}: {mismatch}"
            )
            return clean(text[:ERROR_CHARS_MAX])
        except PayloadError:
            return None
        return None


def _position(registered: Registered) -> int | None:
    """Where among positional arguments the context stands; None: it is given by name."""
    if not registered.is_declared or registered.signature is None:
        return None
    for index, parameter in enumerate(registered.signature.parameters.values()):
        if parameter.name == "context":
            return None if parameter.kind is parameter.KEYWORD_ONLY else index
    return None


class Calls:
    """All functions that this process can call."""

    def __init__(self, handlers: Mapping[str, Registered], functions: Functions) -> None:
        self._handlers = handlers
        self._functions = functions
        self._known: dict[tuple[str, str], Known] = {}

    def is_known(self, handler: str, kind: str) -> bool:
        """Nothing needs to be imported for it."""
        return (handler, kind) in self._known

    def known(self, handler: str, kind: str) -> Known:
        """Raises Misfit when there is no such function here. The first call of a submitted function imports its module."""
        found = self._known.get((handler, kind))
        if found is None:
            found = Known(self._find(handler), handler)
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            self._known[(handler, kind)] = found
        return found

    def _find(self, handler: str) -> Registered:
        registered = self._handlers.get(handler)
        if registered is None and (name := checked_handler(handler)) is not None:
            declared = self._handlers.get(name)
            registered = None if declared is None else question(declared)
        if registered is None:
            try:
                registered = self._functions.find(handler)
            except HandlerError as error:
                raise Misfit(clean(f"HandlerLoadError: {error}"[:ERROR_CHARS_MAX])) from None
        if registered is None:
            raise UnknownHandler(f"no handler is named {handler!r} in this worker")
        return registered


def result_bytes(name: str, value: object) -> bytes | None:
    """The value as it travels, None for None; raises Misfit when it cannot be sent."""
    if value is None:
        return None
    try:
        return encode_value(value)
    except PayloadError as error:
        raise Misfit(f"PayloadError: the return value of {name!r} cannot be sent: {error}") from None


def ending(
    name: str, known: Known | None, error: BaseException, encoded: bytes, why: type[BaseException] | None
) -> tuple[Status, str, str | None, Fault | None]:
    """Status, error, traceback and fault of a task of handler `name` that ended with `error`; `why`: the runner itself had struck it
    with this."""
    if isinstance(error, UnknownHandler):  # another node, or a newer worker, may know it
        return Status.UNKNOWN_HANDLER, clean(str(error)[:ERROR_CHARS_MAX]), None, None
    if isinstance(error, Misfit):
        return Status.FAILED, clean(str(error)[:ERROR_CHARS_MAX]), None, FINAL
    misfit = known.misfit(error, encoded) if known is not None else None
    if misfit is not None:
        return Status.FAILED, misfit, None, FINAL
    if why is TimeLimitExceeded:
        limit_s = known.timeout_s if known is not None else None
        text = f"handler {name!r} ran longer than its timeout_s of {limit_s}"
        return Status.TIMED_OUT, text, _trace(error), None
    if why is TaskCancelled:
        return Status.CANCELLED, f"the task of handler {name!r} was cancelled", _trace(error), None
    return Status.FAILED, _message(error), _trace(error), _fault(error)


def _fault(error: BaseException) -> Fault:
    """A class may say anything of itself: what cannot be named or sent is left out."""
    try:
        classes = tuple(map(clean, class_names(type(error))[:CLASSES_MAX]))
        return Fault(classes, float(error.after_s) if isinstance(error, RetryLater) else None)
    except BaseException:
        return Fault()


def clean(text: str) -> str:
    """Text that can surely be encoded."""
    return text.encode("utf-8", "replace").decode()


def _message(error: BaseException) -> str:
    try:
        message = str(error)
    except BaseException as broken:
        message = f"(its message cannot be shown: {type(broken).__name__})"
    return clean(f"{type(error).__name__}: {message}"[:ERROR_CHARS_MAX])


def _trace(error: BaseException) -> str | None:
    """Frames of the runner at its beginning are left out."""
    try:
        lines = traceback.format_exception(type(error), error, _handler_part(error))
        return clean("".join(lines)[-TRACEBACK_CHARS_MAX:])
    except BaseException:
        return None


def _handler_part(error: BaseException) -> TracebackType | None:
    """The traceback from the first frame that is neither the runner's nor what it runs coroutines by; None if there is none."""
    trace = error.__traceback__
    while trace is not None and str(trace.tb_frame.f_globals.get("__name__", "")).startswith(_OURS):
        trace = trace.tb_next
    return trace
