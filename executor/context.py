"""What a handler is told about its task, if it has a parameter named `context`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Given to handlers that have a parameter named `context`."""

    key: int
    attempt: int
    handler: str
