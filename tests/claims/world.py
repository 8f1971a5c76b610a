"""A simulated cluster as a function of its seed: acts that wait for their hour, one chance for all, and blows between any two steps.

What a node does is an *act*; an instruction that goes out, arrives and is answered is three, so that a death can fall between any of them.
Which act is next among those that are due is chance. After the faults comes a calm time in which everything must come to its end.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from heapq import heappop, heappush

from executor.checks import Answer
from tests.claims.faults import Faults
from tests.claims.judges import Broken, Witness
from tests.claims.kafka import Kafka, Stored
from tests.claims.ledger import Ledger
from tests.claims.node import Life
from tests.claims.plan import FAULTS_S, Plan

CALM_S = 4000.0  # more than a check may be unable to tell, and what is held may be parked
CALM_SLOW_S = 0.5
ACTS_MAX = 60_000
NODES = "abc"
BLOW_S = 25.0  # of the single blow of a plan: longer than a lease


class World:
    def __init__(
        self, plan: Plan, *, trace: Callable[[str], None] | None = None, is_mutant: bool = False
    ) -> None:
        """`is_mutant`: the core is broken on purpose, and the judges are to find it, not its own assertions."""
        self.plan, self._trace, self.is_mutant = plan, trace, is_mutant
        self.chance = random.Random(plan.seed)
        self.now = 0.0
        self.acts = self.steps = 0
        self.is_calm = False
        self.completes_for_others = False  # a mutant
        self._due: list[tuple[float, int, Callable[[], None], Life | None, bool]] = []
        self._ready: list[tuple[Callable[[], None], Life | None, bool]] = []
        self._number = 0
        self.terms = plan.terms
        self.blind, self.unsure, self.slow_s = set(plan.blind), plan.unsure, plan.slow_s
        self.witness = Witness({key: terms.guarantee for key, terms in plan.terms.items()})
        self.ledger = Ledger(len(plan.terms))
        self.renewed: dict[int, float] = {}  # session -> when the leader last saw it renewed
        self.kafka = Kafka(plan.partitions)
        self.lives = [Life(self, name) for name in NODES]
        self.faults = Faults(self)

    def act(self, do: Callable[[], None], at: float | None = None, *, life: Life | None = None) -> None:
        """Done when its hour has come, and its node, if it is a node's, is alive and awake. `at` None: one of the steps of a task, soon."""
        self._number += 1
        due = self.now + self.chance.random() * self.slow_s if at is None else at
        heappush(self._due, (due, self._number, do, life, at is None))

    def send(self, life: Life, arrived: Callable[[], None]) -> None:
        """Onto the wire. What is cut off waits; of what a dead node had sent some arrives all the same, however late."""
        delay_s = self.chance.choice((0.01, 0.01, 1.0, 20.0 * self.slow_s)) * self.chance.random()
        survives = self.chance.random() < 0.5

        def at_the_wire() -> None:
            if life.cut_until > self.now and life.is_alive:
                self.act(at_the_wire, life.cut_until)
            elif life.is_alive or survives:
                arrived()

        self.act(at_the_wire, self.now + delay_s)

    def run(self) -> None:
        """Raises Broken."""
        self._begin()
        while not self._is_over():
            if not self._step():
                raise Broken("nothing is left to do")
            if self.acts > ACTS_MAX or self.now > FAULTS_S + CALM_S:
                raise Broken(self._why_not_over())
        self._judge_end()

    def trace(self, text: str) -> None:
        if self._trace is not None:
            self._trace(f"{self.now:9.3f} {text}")

    def put(self, stored: Stored) -> None:
        self.chance.choice(self.kafka.partitions).records.append(stored)

    def put_later(self, stored: Stored, after_s: float) -> None:
        """By way of a topic where records wait; its reader may die on the way and bring it twice."""
        self.trace(f"stored for later: {stored}")
        self.kafka.waiting += 1

        def moved() -> None:
            self.put(stored)
            if self.chance.random() < 0.05 and not self.is_calm:
                self.act(moved, self.now + self.chance.uniform(0, 5))
            else:
                self.kafka.waiting -= 1

        self.act(moved, self.now + after_s)

    def truth(self, key: int) -> Answer:
        if key in self.blind or self.chance.random() < self.unsure:
            return Answer.UNKNOWN
        return Answer.DONE if self.witness.effects[key] else Answer.NOT_DONE

    def calm(self) -> None:
        self.trace("no faults any more")
        self.is_calm = True
        self.unsure = 0.0
        self.slow_s = min(self.slow_s, CALM_SLOW_S)

    def _begin(self) -> None:
        for key in self.terms:
            at = self.chance.choice((0.0, self.plan.submits_s)) * self.chance.random()
            for _ in range(2 if self.chance.random() < 0.15 else 1):
                self._submit(key, at)
        for life in self.lives:
            life.begin()
        self.faults.begin()

    def _submit(self, key: int, at: float) -> None:
        self.kafka.waiting += 1

        def acknowledged() -> None:
            self.kafka.waiting -= 1
            self.put(Stored(key=key))

        self.act(acknowledged, at)

    def _step(self) -> bool:
        self.now += self.chance.random() * 0.001
        while self._due and self._due[0][0] <= self.now:
            _, _, do, life, is_step = heappop(self._due)
            self._ready.append((do, life, is_step))
        if not self._ready:
            if not self._due:
                return False
            self.now = self._due[0][0]
            return True
        place = self.chance.randrange(len(self._ready))
        self._ready[place], self._ready[-1] = self._ready[-1], self._ready[place]
        do, life, is_step = self._ready.pop()
        self.acts += 1
        if life is not None and is_step and life.is_alive and life.paused_until <= self.now:
            self._strike(life)
        if life is None:
            do()
        elif life.is_alive and life.paused_until > self.now:
            self.act(do, life.paused_until, life=life)
        elif life.is_alive:
            do()
        return True

    def _strike(self, life: Life) -> None:
        """Just before a step of this node."""
        self.steps += 1
        match self.plan.at_step:
            case (step, blow) if step == self.steps:
                self.faults.blow(life, blow, BLOW_S)
            case None if not self.is_calm and self.chance.random() < self.plan.sudden:
                self.faults.strike(life)

    def _is_over(self) -> bool:
        return (
            (self.is_calm or self.plan.at_step is not None)
            and self.kafka.is_empty()
            and all(key in self.ledger.machine.executed for key in self.terms)
            and not any(len(life.core) for life in self.lives if life.is_alive)
        )

    def _why_not_over(self) -> str:
        machine = self.ledger.machine
        open_keys = [key for key in self.terms if key not in machine.executed]
        lags = [each.lag for each in self.kafka.partitions]
        in_hand = {
            str(life): {key: life.core.state(key) for key in self.terms if key in life.core}
            for life in self.lives
        }
        return (
            f"no end after {self.now:.0f} s and {self.acts} acts: keys {open_keys} not executed, lag {lags}, "
            f"{self.kafka.waiting} wait, claims {list(machine.claims.all())}, in hand {in_hand}"
        )

    def _judge_end(self) -> None:
        machine = self.ledger.machine
        for key in self.terms:
            self.witness.judge_end(key, machine.executed.outcome(key))
        if len(machine.claims):
            raise Broken(f"claims are left: {list(machine.claims.all())}")
