"""The delay ladder: on which rung a record waits, and when it leaves it (pure).

A rung is a topic in which every record waits equally long: 15 s, a minute, four minutes, and so on to eleven days. So the head of a
partition is always the next to leave, and a reader needs to know no other record, however many millions stand behind it. A record goes
to the largest rung that is not longer than what it still has to wait, and from there to the next; the last stretch of less than 15 s is
spent in the heap of the node that read it (`due_heap.py`). What is due so soon from the beginning goes to `.delay.near`, which is read
at once.

The wait of a rung counts from the hour at which a node placed the record there, by that node's clock. (By the broker's, a broker whose
clock is behind would send records round at once, again and again.) A record leaves a little before its wait is over, as the way to the
next rung takes time too; nothing is fired there, so it is never early.
"""

from __future__ import annotations

import math
from bisect import bisect_right

RUNGS_S = tuple(15 * 4**step for step in range(9))  # to 11.4 days, which repeats
NEAR_S = RUNGS_S[0]
EARLY_SHARE, EARLY_MAX_S = 16, 5.0  # a hop's head start: the 16th of the wait, at most
DUE_MAX_S = 400 * 86_400.0  # a year, and what it takes to say it in months; more is a wrong unit


def rung_s(rest_ms: int) -> int | None:
    """The wait of the rung for a record that is due in `rest_ms`; None: it is near."""
    found = bisect_right(RUNGS_S, rest_ms / 1000)
    return RUNGS_S[found - 1] if found else None


def leaves_ms(wait_s: int, placed_ms: int) -> int:
    """When a record that was placed on the rung of `wait_s` goes on."""
    return placed_ms + wait_s * 1000 - int(1000 * min(wait_s / EARLY_SHARE, EARLY_MAX_S))


def due_ms(now_ms: int, after_s: float) -> int:
    """Rounded up, so that no rounding makes it early."""
    return now_ms + math.ceil(min(max(0.0, after_s), DUE_MAX_S) * 1000)
