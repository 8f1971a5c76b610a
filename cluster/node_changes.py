"""What operators change of the whole cluster through a node: limits and the group of members (shell).

Both go through the ledger. "Not changed", "perhaps changed" and "refused" are told apart, as they need different reactions.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from cluster.errors import Refused, Unavailable
from cluster.node_tuning import Limiting
from cluster.tables.limits import Verb, command
from consensus import ConsensusError, KeyService, NoQuorum
from consensus import Refused as RefusedByLedger

APPLIED_WITHIN_S = 2.0  # a changed limit governs this node before its caller hears of it


class Changes:
    """Thread-safe. All raise `Refused` or `Unavailable`, and are safe to repeat."""

    def __init__(self, keys: KeyService, limiting: Limiting) -> None:
        self._keys, self._limiting = keys, limiting

    def limit(self, verb: str, subject: str, value: int | None, *, who: str, timeout_s: float) -> None:
        """Returns when it governs this node."""
        if verb not in tuple(Verb):
            raise Refused(f"a limit cannot be {verb[:20]!r}: use one of {', '.join(Verb)}")
        deadline = time.monotonic() + timeout_s
        try:
            number, at_ms = self._keys.command(
                command(Verb(verb), subject, value, who or "unknown"), timeout_s=timeout_s
            )
        except NoQuorum as error:
            raise Unavailable(f"nothing was changed: {error}") from error
        except RefusedByLedger as error:
            raise Refused(str(error)) from error
        except (ConsensusError, TimeoutError) as error:
            raise Unavailable(f"it may have been changed, look at `quorate limit list`: {error}") from error
        self._limiting.await_applied(number, min(APPLIED_WITHIN_S, max(0.0, deadline - time.monotonic())))
        while verb == Verb.PURGE and time.time() * 1000 < at_ms + 1 and time.monotonic() < deadline:
            time.sleep(0.0005)  # what the caller submits from now on is not of the purged millisecond

    def group(self, change: Callable[..., tuple[str, ...]], node: str, timeout_s: float) -> list[str]:
        """-> the group afterwards."""
        try:
            return list(change(node, timeout_s=timeout_s))
        except NoQuorum as error:
            raise Unavailable(f"the group was not changed: {error}") from error
        except RefusedByLedger as error:
            raise Refused(f"the group was not changed: {error}") from error
        except (ConsensusError, TimeoutError) as error:
            raise Unavailable(
                f"the group may have changed, look at `quorate member list`: {error}"
            ) from error
