"""What to do when this machine lacks a part that a test needs: fail if all are required, else skip with the reason."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """The marker is what tests/conftest.py lists loudly at the end of a run."""
    reason = f"MISSING PART: {what}"
    if os.environ.get("QUORATE_REQUIRE_ALL") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
