"""Kafka as far as it matters here: partitions, a group, commits, and the topics where records wait for their hour.

A member that the group has expelled cannot commit until it has joined again. One that is in the group may commit any partition, also one
that it no longer owns: so does the real one, and who completes what is the consumer's own duty.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.claims.node import Life


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """`is_marked`: claimed before, and held."""

    key: int
    after: int = 0
    uncounted: int = 0
    is_marked: bool = False


@dataclass(slots=True, kw_only=True)
class Partition:
    records: list[Stored] = field(default_factory=list)
    committed: int = 0
    owner: Life | None = None

    @property
    def lag(self) -> int:
        return len(self.records) - self.committed


class Kafka:
    def __init__(self, partitions: int) -> None:
        self.partitions = [Partition() for _ in range(partitions)]
        self.waiting = 0  # records in the topics of delays and of what is parked
        self.dead: list[int] = []
        self.results: list[int] = []

    def commit(self, life: Life, number: int, offset: int) -> bool:
        if life.is_expelled or not life.is_alive:
            return False
        self.partitions[number].committed = offset
        return True

    def is_empty(self) -> bool:
        return not self.waiting and all(each.lag <= 0 for each in self.partitions)
