"""The consumer of one simulated node: it reads what it is assigned, completes what it was told, and commits now and then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.claims.events import (
    Adopted,
    Arrived,
    Revoked,
)
from cluster.claims.values import WINDOW_RECORDS_MAX, Record, needs_claim
from cluster.flow_events import Place
from cluster.kafka.offsets import OffsetWindow
from executor import Task
from tests.claims.kafka import Stored

if TYPE_CHECKING:
    from tests.claims.node import Life


@dataclass(eq=False, slots=True)
class Assignment:
    place: Place
    window: OffsetWindow
    position: int
    taken: int = 0


class Reader:
    def __init__(self, life: Life) -> None:
        self.life, self.world = life, life.world
        self.assignments: dict[int, Assignment] = {}
        self.former: list[Assignment] = []  # for a mutant only

    def assigned(self, number: int, place: Place) -> None:
        position = self.world.kafka.partitions[number].committed
        self.assignments[number] = Assignment(place, OffsetWindow(), position)
        self.fetch(place)

    def revoked(self, number: int) -> None:
        assignment = self.assignments.pop(number, None)
        if assignment is not None:
            self.former.append(assignment)
            self.life.hear(Revoked(place=assignment.place))

    def fetch(self, place: Place) -> None:
        assignment = self.assignments.get(place.partition)
        if assignment is None or assignment.place != place or self.life.is_stopping:
            return
        self.world.act(
            lambda: self.fetch(place), self.world.now + self.world.chance.uniform(0.1, 1.0), life=self.life
        )
        log = self.world.kafka.partitions[place.partition].records
        batch = log[assignment.position : assignment.position + self.world.chance.randint(1, 4)]
        if batch:
            offsets = list(range(assignment.position, assignment.position + len(batch)))
            assignment.position = offsets[-1] + 1
            assignment.window.deliver(offsets)
            for stored, offset in zip(batch, offsets, strict=True):
                self.read(assignment, stored, offset)

    def read(self, assignment: Assignment, stored: Stored, offset: int) -> None:
        world, key = self.world, stored.key
        position = 0 if assignment.taken < world.plan.window else WINDOW_RECORDS_MAX
        assignment.taken += 1
        terms = world.terms[key]
        task = Task(key, key, 0, "h", b"", "", 2)
        record = Record(task, stored.after, assignment.place, offset, terms, b"", stored.uncounted)
        is_claimed = needs_claim(terms, after=stored.after, position=position, is_marked=stored.is_marked)
        executed = {key} if key in world.ledger.machine.executed and world.chance.random() < 0.7 else set()
        if is_claimed or key in self.life.core or executed or key in world.ledger.machine.executed:
            self.life.hear(Arrived(records=[record], executed=executed))
        else:
            self.life.hear(Adopted(records=[record]))
            self.life.runners.offer(task._replace(attempt=1), 0)

    def complete(self, place: Place, offsets: list[int]) -> None:
        assignment = self.assignments.get(place.partition)
        if assignment is not None and assignment.place == place:
            assignment.window.complete(offsets)
        elif self.world.completes_for_others:
            for former in self.former:
                if former.place == place:
                    former.window.complete(offsets)

    def committing(self) -> None:
        self.world.act(self.committing, self.world.now + self.world.chance.uniform(0.2, 3), life=self.life)
        if self.life.cut_until <= self.world.now:
            self.commit()

    def commit(self) -> None:
        former = self.former if self.world.completes_for_others else []
        for assignment in (*former, *self.assignments.values()):
            offset = assignment.window.to_commit()
            if offset is not None and self.world.kafka.commit(self.life, assignment.place.partition, offset):
                assignment.window.mark_committed(offset)
