"""The name of a task in systems outside of the cluster: scope and key.

Never the attempt: all attempts of a task are one effect. Keys are unique within a cluster only, and start again at 1 in a new one; two
clusters that write into one data base, folder or service need a scope each, or one takes the other's marks for its own.
"""

from __future__ import annotations

import re

from executor.context import Context
from executor.errors import HandlerError

# Safe as it is in SQL text, file names, URLs, headers and message ids, so that nothing needs to be quoted anywhere.
_SCOPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._]{0,63}\Z")


def require_scope(scope: str) -> str:
    """Returns it; raises HandlerError for one that is not empty and not made of letters, digits, dots and underscores."""
    if scope and not _SCOPE.match(scope):
        raise HandlerError(
            f"scope {scope!r}: use up to 64 letters, digits, dots and underscores, a letter or digit first"
        )
    return scope


def identity(context: Context, scope: str) -> str:
    """ "shop-42", or "42" without a scope."""
    return f"{scope}-{context.key:d}" if scope else f"{context.key:d}"


def public_identity(context: Context, scope: str) -> str:
    """The same for systems that are not ours alone: "quorate-shop-42"."""
    return f"quorate-{identity(context, scope)}"
