"""Importing handler modules, in a worker process only."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Mapping, Sequence

from executor.errors import HandlerLoadError
from executor.handlers.registry import Registered, registered


def load(modules: Sequence[str]) -> Mapping[str, Registered]:
    """Imports the modules and returns what they declared; without modules nothing needs to be declared.

    Raises HandlerLoadError that names the module and the reason, also when a module ends with SystemExit.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except BaseException as error:
            raise HandlerLoadError(f"handler module {module!r} cannot be loaded: {reason(error)}") from error
    found = registered()
    if modules and not found:
        raise HandlerLoadError(f"no handler is declared in {', '.join(modules)}; put @handler on a function")
    return found


def reason(error: BaseException) -> str:
    """Type, message and place of an error in code that is not ours."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" (at {frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"
