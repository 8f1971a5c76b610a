"""What to do when this machine lacks a part that a test needs: fail if all are required, else skip with the reason."""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Any, NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """The marker is what tests/conftest.py lists loudly at the end of a run."""
    reason = f"MISSING PART: {what}"
    if os.environ.get("QUORATE_REQUIRE_ALL") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def driver(name: str) -> Any:
    """The module of a data base driver."""
    if importlib.util.find_spec(name) is None:
        missing(f"no {name}: pip install 'quorate[dev]'")
    return importlib.import_module(name)
