"""A check as a runner calls it: like a handler of its own, with the task's arguments and context, that returns answer and reason.

A strike (its time is over, the question is withdrawn) passes through, as in any handler. What else comes out of a check is an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from executor.context import Context
from executor.handlers.registry import Registered

Said = tuple[str, str]  # answer and reason, as they travel


def question(registered: Registered) -> Registered | None:
    """The check of this handler; None: it has none."""
    declaration, check = registered.declaration.check_handler(), registered.check
    if declaration is None or check is None:
        return None
    from executor.checks.asking import ask, ask_async  # loaded already, by who declared the check

    name = registered.declaration.name

    def asked(*args: Any, context: Context, **kwargs: Any) -> Said:
        context.handler = name  # the task's own, not that of the check
        answer, why = ask(check, context, args, kwargs)
        return answer.value, why

    async def asked_in_loop(*args: Any, context: Context, **kwargs: Any) -> Said:
        context.handler = name
        answer, why = await ask_async(check, context, args, kwargs)
        return answer.value, why

    function: Callable[..., Any] = asked_in_loop if declaration.is_async else asked
    return Registered(declaration=declaration, function=function, signature=None, wants_context=True)
