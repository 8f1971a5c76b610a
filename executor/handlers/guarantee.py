"""What is promised of a handler's tasks, and what is known of the check that an exactly-once handler needs.

The check itself is the user's code and stays in the worker. The node knows when to ask it, for how long, and that the executor asks it as
a handler of its own, named after the one that it belongs to: so its cost is learnt apart, and it runs where its own nature puts it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from executor.errors import HandlerError

CHECK_TIMEOUT_S = 30.0  # a data base that is being restarted answers within that, or is asked again
CHECK_OF = "check of "


class Guarantee(StrEnum):
    AT_LEAST_ONCE = "at-least-once"
    EXACTLY_ONCE = "exactly-once"
    AT_MOST_ONCE = "at-most-once"


class CheckWhen(StrEnum):
    RECOVERY = "recovery"  # before every run but the first undisturbed one
    ALWAYS = "always"  # before that one too


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckTerms:
    """What the node knows of a check. `is_fencing`, `settle_s`: as in `executor.checks.Check`. `timeout_s`: of one question."""

    when: CheckWhen = CheckWhen.RECOVERY
    is_fencing: bool = False
    settle_s: float = 0.0
    timeout_s: float = CHECK_TIMEOUT_S
    is_async: bool = False

    def to_fields(self) -> list[object]:
        """As plain values."""
        return [self.when.value, self.is_fencing, self.settle_s, self.timeout_s, self.is_async]

    @staticmethod
    def from_fields(fields: list[object]) -> CheckTerms:
        """Raises HandlerError when the values make no sense."""
        match fields:
            case [
                str(when),
                bool(is_fencing),
                float() | int() as settle_s,
                float() | int() as timeout_s,
                bool(is_async),
            ] if when in tuple(CheckWhen):
                return CheckTerms(
                    when=CheckWhen(when),
                    is_fencing=is_fencing,
                    settle_s=settle_s,
                    timeout_s=timeout_s,
                    is_async=is_async,
                )
        raise HandlerError(f"a worker declared a check that makes no sense: {fields!r}")


def check_name(handler: str) -> str:
    """Under which the executor asks the check of this handler."""
    return CHECK_OF + handler


def checked_handler(name: str) -> str | None:
    """The handler whose check has this name; None: it is no check's."""
    return name.removeprefix(CHECK_OF) if name.startswith(CHECK_OF) else None


def parse_guarantee(name: str, guarantee: str | None) -> Guarantee | None:
    """The guarantee of this text; raises HandlerError that lists them."""
    try:
        return None if guarantee is None else Guarantee(guarantee)
    except ValueError:
        known = ", ".join(map(repr, map(str, Guarantee)))
        raise HandlerError(f"handler {name!r}: unknown guarantee {guarantee!r}; use one of {known}") from None


def parse_check_when(name: str, when: str) -> CheckWhen:
    """Raises HandlerError that lists the two."""
    try:
        return CheckWhen(when)
    except ValueError:
        raise HandlerError(
            f"handler {name!r}: check_when is {when!r}; use 'recovery' (before every run but the first undisturbed one) or 'always'"
        ) from None


def require_check(name: str, guarantee: Guarantee | None, *, has_check: bool) -> None:
    """Raises HandlerError unless handler `name` has a check just where one is asked."""
    if guarantee is Guarantee.EXACTLY_ONCE and not has_check:
        raise HandlerError(
            f"handler {name!r}: guarantee 'exactly-once' needs a check that says, after a crash, whether a task had its effect: write "
            "@handler(guarantee='exactly-once', check=checks.sql(connect)), or checks.file, checks.http, checks.email, or a function "
            "with the handler's parameters that returns True (done), False (not done) or None (cannot tell); see docs/checks.md"
        )
    if guarantee is Guarantee.AT_MOST_ONCE and has_check:
        raise HandlerError(
            f"handler {name!r}: guarantee 'at-most-once' never runs a task again, so nobody would ask its check: leave out check=, or "
            "write guarantee='exactly-once'"
        )


def require_check_timeout(name: str, timeout_s: float) -> None:
    """Raises HandlerError unless it is a finite time above 0."""
    if isinstance(timeout_s, bool) or not (math.isfinite(timeout_s) and timeout_s > 0):
        raise HandlerError(f"handler {name!r}: check_timeout_s is {timeout_s!r}; give seconds above 0")
