"""From the outcome of a check's run to the check's answer. A core.

Whatever happened to the question, it is answered: a run that ended by itself knows, everything else is UNKNOWN, with the reason. Errors
and traces of checks are not passed on: drivers like to put passwords into them.
"""

from __future__ import annotations

from executor.errors import PayloadError
from executor.handlers.declaration import Handler
from executor.handlers.guarantee import check_name
from executor.payload import decode_value
from executor.task import Answer, CheckResult, Outcome, Status


def answered(outcome: Outcome, name: str, declared: Handler | None) -> Outcome:
    """`outcome`: of a run of the check of handler `name`; `declared`: that check as a handler."""
    checked = _said(outcome.result) if outcome.status is Status.DONE else None
    if checked is None:
        checked = CheckResult(Answer.UNKNOWN, _why(outcome, name, declared))
    return outcome._replace(result=None, error=None, traceback=None, fault=None, checked=checked)


def _said(result: bytes | None) -> CheckResult | None:
    try:
        match None if result is None else decode_value(result):
            case [str(answer), str(why)]:
                return CheckResult(Answer(answer), why)
    except (PayloadError, ValueError):
        pass
    return None


def _why(outcome: Outcome, name: str, declared: Handler | None) -> str:
    match outcome.status:
        case Status.DONE:
            return f"the check of {name!r} gave no answer that can be read"
        case Status.FAILED:
            kind = (outcome.error or "an error").partition(":")[0]
            return f"the check of {name!r} failed: {kind}"
        case Status.TIMED_OUT:
            limit = "" if declared is None else f" within {declared.timeout_s:g} s"
            return f"the check of {name!r} did not answer{limit}"
        case Status.CANCELLED:
            return f"the check of {name!r} was cancelled"
        case Status.RETURNED:
            return f"the check of {name!r} was not asked: the executor gave it back"
        case Status.UNKNOWN_HANDLER:
            return f"there is no check of a handler {name!r} here"
        case Status.DIED | Status.LOST:
            text = outcome.error or f"the process of the check of {name!r} ended"
            return text.replace(repr(check_name(name)), f"the check of {name!r}")
