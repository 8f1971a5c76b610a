"""The outside witness, who counts starts and effects, and the laws that every history must keep."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

from cluster.claims.values import Guarantee
from consensus import Outcome


class Broken(Exception):
    """A law does not hold."""


class Witness:
    """Sees the world only: which run began, which had its effect, which still lives."""

    def __init__(self, guarantees: Mapping[int, Guarantee]) -> None:
        self.guarantees = guarantees
        self.effects: Counter[int] = Counter()
        self.starts: Counter[int] = Counter()
        self.live: defaultdict[int, set[object]] = defaultdict(set)  # claimed runs
        self.attempts: set[tuple[int, int]] = set()
        self.checks: Counter[str] = Counter()

    def started(self, key: int, run: object, attempt: int | None, *, is_claimed: bool) -> None:
        """`attempt` None: a first run that was begun without a claim."""
        self.starts[key] += 1
        if self.guarantees[key] is Guarantee.AT_MOST_ONCE and self.starts[key] > 1:
            raise Broken(f"at-most-once key {key} was started a second time, attempt {attempt}")
        if attempt is not None:
            if (key, attempt) in self.attempts:
                raise Broken(f"attempt {attempt} of key {key} was started twice")
            self.attempts.add((key, attempt))
        if is_claimed:
            self.became_claimed(key, run)

    def became_claimed(self, key: int, run: object) -> None:
        self.live[key].add(run)
        self.checks["live claimed runs"] += 1
        if len(self.live[key]) > 1:
            raise Broken(f"key {key} has two live claimed runs")

    def over(self, key: int, run: object) -> None:
        self.live[key].discard(run)

    def effect(self, key: int) -> None:
        self.effects[key] += 1
        self.checks["effects"] += 1
        if self.guarantees[key] is Guarantee.EXACTLY_ONCE and self.effects[key] > 1:
            raise Broken(f"exactly-once key {key} had a second effect")

    def judge_end(self, key: int, outcome: Outcome | None) -> None:
        self.checks["keys at the end"] += 1
        guarantee, effects = self.guarantees[key], self.effects[key]
        if outcome is None:
            raise Broken(f"key {key} ({guarantee.value}) was never executed: {effects} effects")
        if outcome is Outcome.DONE and effects == 0:
            raise Broken(f"key {key} ({guarantee.value}) is done without any effect")
        if outcome is Outcome.ABANDONED and guarantee is not Guarantee.AT_MOST_ONCE:
            raise Broken(f"key {key} ({guarantee.value}) was abandoned")
