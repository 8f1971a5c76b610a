"""What was written at `@handler(check=..)`, as a check and as the terms that the node is told.

`executor.checks` is imported only here and only by who declares a check: it brings clients for mail and HTTP, which most programs that
import the executor have no use for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from executor.errors import HandlerError
from executor.handlers.guarantee import CheckTerms, CheckWhen, parse_check_when

if TYPE_CHECKING:
    from executor.checks import Check
    from executor.checks.answer import Said

    CheckGiven = Check | Callable[..., Said | Awaitable[Said]] | str


def read_check(
    name: str, given: CheckGiven | None, *, when: str, timeout_s: float, settle_s: float | None
) -> tuple[Check | None, CheckTerms | None]:
    """The check of handler `name`; `settle_s` None: as the check itself says. Raises HandlerError for what makes no sense."""
    parsed = parse_check_when(name, when)
    if given is None:
        if settle_s is not None or parsed is not CheckWhen.RECOVERY:
            option = "settle_s" if settle_s is not None else "check_when"
            raise HandlerError(f"handler {name!r}: {option} belongs to a check, and it has none: give check=")
        return None, None
    from executor.checks.answer import require_settle
    from executor.checks.callback_check import as_check, is_coroutine

    check = as_check(given)
    settle_s = check.settle_s if settle_s is None else settle_s
    require_settle(f"handler {name!r}: {check!r}", is_fencing=check.is_fencing, settle_s=settle_s)
    terms = CheckTerms(
        when=parsed,
        is_fencing=check.is_fencing,
        settle_s=float(settle_s),
        timeout_s=timeout_s,
        is_async=is_coroutine(check),
    )
    return check, terms
