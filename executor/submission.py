"""`submit(function, ...)` without a declaration: which name a function travels under, and the future of its run.

A function is sent as the name of its module and its place in there, never as code: the runner imports it. So it must be importable; what
is not (a lambda, a function inside a function, a method of an object) is refused with a sentence. A function of the script that the
program was started with is found by the file of that script, as `multiprocessing` does it.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from executor.errors import ExecutorStopped, HandlerError, PayloadError, TaskDied, TaskFailed, TaskTimedOut
from executor.handlers.declaration import Handler
from executor.handlers.functions import SCRIPT_MODULE
from executor.handlers.registry import registered
from executor.payload import decode_value
from executor.task import Outcome, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """Where a runner finds it; `file`: of the script that is `__main__` here."""

    name: str
    module: str
    file: str | None
    declaration: Handler

    @property
    def fields(self) -> tuple[str, str, str | None]:
        return self.name, self.module, self.file


def locate(function: Callable[..., Any]) -> Function:
    """Raises HandlerError, in words that say what to do, when no other process could import it."""
    place = getattr(function, "__qualname__", None)
    module = getattr(function, "__module__", None)
    if not callable(function) or not isinstance(place, str) or not isinstance(module, str):
        raise HandlerError(
            f"{function!r} cannot be submitted: it has no name that a worker process could import; define a function in a module"
        )
    if "<lambda>" in place or "<locals>" in place:
        raise HandlerError(
            f"{module}.{place} cannot be submitted: it exists only inside another function; move it to the top of its module"
        )
    if module == SCRIPT_MODULE:
        raise HandlerError(
            f"{place} cannot be submitted while its own script is loaded by a worker process; "
            'let the script start its work under: if __name__ == "__main__"'
        )
    found: Any = sys.modules.get(module)
    for part in place.split("."):
        found = getattr(found, part, None)
    if found is not function:
        raise HandlerError(
            f"{module}.{place} cannot be submitted: that name leads to {found!r:.60}; submit a function by the name it has there"
        )
    module, file = _importable(module, place)
    name = f"{module}:{place}"
    for known in registered().values():
        if known.function is function:
            return Function(
                name=name, module=module, file=file, declaration=replace(known.declaration, name=name)
            )
    declaration = Handler(name=name, is_async=inspect.iscoroutinefunction(function))
    return Function(name=name, module=module, file=file, declaration=declaration)


def _importable(module: str, place: str) -> tuple[str, str | None]:
    if module != "__main__":
        return module, None
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:  # python -m package.module
        return str(spec.name), None
    file = getattr(main, "__file__", None)
    if file is None:
        raise HandlerError(
            f"{place} cannot be submitted: it was typed into an interpreter, and no worker process can import it; put it into a file"
        )
    return "__main__", str(file)


class TaskFuture(Future[Any]):
    """The run of one submitted function."""

    def __init__(self, cancel: Callable[[], bool]) -> None:
        super().__init__()
        self._ask_to_cancel = cancel

    def cancel(self) -> bool:
        """Takes the task back while it waits, interrupts it while it runs. It counts as cancelled once it has really ended."""
        if self.done():
            return self.cancelled()
        return self._ask_to_cancel()

    def conclude(self, outcome: Outcome) -> None:
        """What became of it."""
        if outcome.status is Status.CANCELLED:
            super().cancel()
            self.set_running_or_notify_cancel()
        elif outcome.status is Status.DONE:
            try:
                value = None if outcome.result is None else decode_value(outcome.result)
            except PayloadError as error:
                self.set_exception(error)
            else:
                self.set_result(value)
        else:
            self.set_exception(_error(outcome))


def _error(outcome: Outcome) -> Exception:
    text = outcome.error or outcome.status.value
    match outcome.status:
        case Status.TIMED_OUT:
            return TaskTimedOut(text)
        case Status.DIED | Status.LOST:
            return TaskDied(text)
        case Status.RETURNED:
            return ExecutorStopped(text)
        case _:
            failed = TaskFailed(text)
            failed.traceback = outcome.traceback
            return failed
