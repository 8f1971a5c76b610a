"""Functions that were submitted without being declared: found by `module:qualname`, when first needed.

The node announces each name once; the import happens at the first task, so that a module that cannot be imported fails the tasks that need
it and nothing else. A function of the user's own script (`__main__` there) is found by executing that file once under another module
name: its `if __name__ == "__main__"` part does not run again.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from types import ModuleType

from executor.errors import HandlerLoadError, TaskCancelled, TimeLimitExceeded
from executor.handlers.declaration import NAME_CHARS_MAX, Handler
from executor.handlers.loading import reason
from executor.handlers.registry import Registered, place, registered

SCRIPT_MODULE = "__quorate_main__"


class Functions:
    """What was announced, by name."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[str, str | None]] = {}

    def announce(self, name: str, module: str, file: str | None) -> None:
        self._places[name] = (module, file)

    def find(self, name: str) -> Registered | None:
        """None: never announced. Raises HandlerLoadError when it cannot be imported."""
        if name not in self._places:
            return None
        module_name, file = self._places[name]
        try:
            target: object = (
                importlib.import_module(module_name) if file is None else _load_script(module_name, file)
            )
            for part in name.rpartition(":")[2].split("."):
                target = getattr(target, part)
        except (TimeLimitExceeded, TaskCancelled):
            raise
        except BaseException as error:
            source = module_name if file is None else file
            raise HandlerLoadError(
                f"function {name!r} cannot be imported from {source}: {reason(error)}"
            ) from error
        if not callable(target):
            raise HandlerLoadError(f"{name!r} is a {type(target).__name__} and cannot be called")
        declared = registered().get(getattr(target, "__name__", ""))
        try:
            signature = inspect.signature(target)
        except (ValueError, TypeError):
            signature = None
        return Registered(
            declaration=Handler(
                name=name[:NAME_CHARS_MAX],
                timeout_s=declared.declaration.timeout_s
                if declared is not None and place(declared.function) == place(target)
                else None,
                is_async=inspect.iscoroutinefunction(target),
            ),
            function=target,
            signature=signature,
            wants_context=signature is not None and "context" in signature.parameters,
            is_declared=False,
        )


def _load_script(module_name: str, file: str) -> ModuleType:
    known = sys.modules.get(SCRIPT_MODULE)
    if known is not None and known.__file__ == file:
        return known
    spec = importlib.util.spec_from_file_location(SCRIPT_MODULE, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} of module {module_name} is no Python source")
    module = importlib.util.module_from_spec(spec)
    sys.modules[SCRIPT_MODULE] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[SCRIPT_MODULE]
        raise
    return module
