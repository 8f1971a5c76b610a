"""What a check answers: done, not done, or unknown; and the shape of every check.

After a crash between the effect of an exactly-once task and its mark nobody in the cluster knows whether the effect happened. The task's
check asks the world outside: the data base, the folder, the service that the effect went to. UNKNOWN is always a right answer: it costs a
delay, then an operator. A wrong DONE loses an effect and a wrong NOT_DONE doubles it, so a check that met any trouble says UNKNOWN.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable
from typing import Any, Protocol, runtime_checkable

from executor.context import Context
from executor.errors import HandlerError
from executor.task import Answer, CheckResult

Said = CheckResult | Answer | bool | None


@runtime_checkable
class Check(Protocol):
    """What stands at `@handler(check=...)`; called with the context and the arguments of the task in question.

    `is_fencing`: it excludes a late effect of an earlier attempt by itself (a unique row, an exclusive file, an idempotency key).
    `settle_s`: of one that only observes: how long after the end of an attempt its effect may still be on the way; nobody asks before.
    """

    @property
    def is_fencing(self) -> bool: ...
    @property
    def settle_s(self) -> float: ...
    def __call__(self, context: Context, /, *args: Any, **kwargs: Any) -> Said | Awaitable[Said]: ...


def read_answer(said: object) -> CheckResult:
    """What a check returned, as a result: also True (done), False (not done) and None (unknown). Anything else is unknown, and says so."""
    match said:
        case CheckResult(Answer(), str()):
            return said
        case Answer():
            return CheckResult(said)
        case True:
            return CheckResult(Answer.DONE)
        case False:
            return CheckResult(Answer.NOT_DONE)
        case None:
            return CheckResult(Answer.UNKNOWN, "the check could not tell")
    kind = type(said).__name__
    return CheckResult(Answer.UNKNOWN, f"the check returned a {kind}; it should return True, False or None")


def require_settle(name: str, *, is_fencing: bool, settle_s: float) -> None:
    """Raises HandlerError unless the two make sense together: what only observes must know how long to wait."""
    if isinstance(settle_s, bool) or not math.isfinite(settle_s) or settle_s < 0:
        raise HandlerError(f"{name}: settle_s is {settle_s!r}; give seconds, 0 or more")
    if not is_fencing and settle_s == 0:
        raise HandlerError(
            f"{name} only observes, so an effect may still be on the way when it is asked: give settle_s, the seconds after which it "
            "surely has arrived; or is_fencing=True if a second effect of the same key is excluded over there"
        )


def require_timeout(name: str, timeout_s: float) -> None:
    """Raises HandlerError unless it is a finite time above 0."""
    if isinstance(timeout_s, bool) or not math.isfinite(timeout_s) or timeout_s <= 0:
        raise HandlerError(f"{name}: timeout_s is {timeout_s!r}; give seconds above 0")
