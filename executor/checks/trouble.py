"""Trouble met by a check, as an answer: always UNKNOWN, with a sentence in which no password is left.

What a check says is stored, shown and logged by every node, and errors of drivers and servers like to repeat what they were given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

from executor.task import Answer, CheckResult

WHY_CHARS_MAX = 300
_READ_CHARS_MAX = 4_000  # of an endless error; the patterns below are not run over more
_HIDDEN = "***"
_USER_INFO = re.compile(r"(?<=://)[^/\s]+(?=@)")
_NAMED = re.compile(
    r"(?i)((?:password|passwd|pwd|secret|token|api[_-]?key|authorization)\w*\W{0,2}[=:]\s*)"
    r"((?:bearer|basic)\s+\S+|'[^']*'|\"[^\"]*\"|[^\s&;,'\"]+)"
)


def scrubbed(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` without these secrets, without user:password@ in URLs, without the values of what is named like a secret; and not long."""
    for secret in sorted({each for each in secrets if each}, key=len, reverse=True):
        for form in (secret, quote(secret, safe=""), quote_plus(secret)):
            text = text.replace(form, _HIDDEN)
    text = _NAMED.sub(rf"\1{_HIDDEN}", _USER_INFO.sub(_HIDDEN, text[:_READ_CHARS_MAX]))
    return " ".join(text.encode("utf-8", "replace").decode().split())[:WHY_CHARS_MAX]


def unknown(what: str, error: BaseException, secrets: Iterable[str] = ()) -> CheckResult:
    """UNKNOWN because of `error`, met while doing `what`."""
    return CheckResult(Answer.UNKNOWN, scrubbed(f"{what}: {type(error).__name__}: {error}", secrets))
