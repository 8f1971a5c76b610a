"""The judge of a recorded history: what was stored, what the ledger says, what really happened.

Three witnesses that know nothing of one another: the keys of the records in Kafka, the keys that the ledger calls executed, and the
keys of the effects, one entry for each time that the effect happened. No counter of the program is asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Numbers of keys, but `effects` and `doubled_effects`, which count single effects."""

    submitted: int  # distinct keys that Kafka holds: a record written twice is one task
    executed: int  # distinct keys that the ledger calls executed
    lost: int  # submitted and not executed
    effects: int  # all effects, repeated ones too
    doubled_effects: int  # effects after the first one of their key: allowed under at-least-once
    missing_effects: int  # executed with no effect: the mark lies, unless the task is dead

    @property
    def nothing_lost(self) -> bool:
        return self.lost == 0 and self.missing_effects == 0


def judge(
    *, submitted: Iterable[int], executed: Iterable[int], effects: Iterable[int], dead: Iterable[int] = ()
) -> Verdict:
    """`effects` has a key as often as its effect happened. `dead` keys failed for good: they owe no effect."""
    submitted_keys, executed_keys = set(submitted), set(executed)
    effect_list = list(effects)
    effect_keys = set(effect_list)
    return Verdict(
        submitted=len(submitted_keys),
        executed=len(executed_keys),
        lost=len(submitted_keys - executed_keys),
        effects=len(effect_list),
        doubled_effects=len(effect_list) - len(effect_keys),
        missing_effects=len(executed_keys - effect_keys - set(dead)),
    )
