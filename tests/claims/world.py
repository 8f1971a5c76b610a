"""A simulated cluster as a function of its seed: acts that wait for their hour, one chance for all, and faults between any two acts.

What a node does is an *act*; an instruction that goes out, arrives and is answered is three, so that a death can fall between any of them.
Which act is next among those that are due is chance. After the faults comes a calm time in which everything must come to its end.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from heapq import heappop, heappush

from cluster.claims.values import Guarantee, Terms
from cluster.flow_events import Place
from consensus import Decision, operations
from consensus.operations import Operation
from executor.checks import Answer
from tests.claims.judges import Broken, Witness
from tests.claims.kafka import Kafka, Stored
from tests.claims.ledger import Ledger
from tests.claims.node import LEASE_S, MARGIN_S, Life

FAULTS_S = 60.0
CALM_S = 4000.0  # more than a check may be unable to tell, and what is held may be parked
ACTS_MAX = 60_000
GUARANTEES = tuple(Guarantee)
BLOWS = ("kill", "pause", "cut", "move", "stop")
THEMES = (  # how often each blow falls; how long pauses and cuts may last
    ((30, 22, 18, 25, 5), (1.0, 5.0, 15.0, 40.0)),
    ((5, 60, 15, 15, 5), (15.0, 40.0, 40.0)),
    ((5, 15, 10, 70, 0), (1.0, 40.0)),
    ((60, 5, 5, 30, 0), (1.0, 5.0)),
)


class World:
    def __init__(
        self,
        seed: int,
        *,
        trace: Callable[[str], None] | None = None,
        kill_at: int | None = None,
        guarantee: Guarantee | None = None,
        nodes: int = 3,
        keys: int | None = None,
    ) -> None:
        """`kill_at`: the node that is about to do this act dies before it, and there are no other faults."""
        self.chance = random.Random(seed)
        self.seed, self._trace, self.kill_at = seed, trace, kill_at
        self.now = 0.0
        self.acts = 0
        self.completes_for_others = False
        self.is_calm = False
        self._due: list[tuple[float, int, Callable[[], None], Life | None, bool]] = []
        self._ready: list[tuple[Callable[[], None], Life | None, bool]] = []
        self._number = 0
        count = keys if keys is not None else self.chance.choice((1, 1, 2, 3, 6))
        self.keys = range(1, count + 1)
        self.terms = {key: self._draw_terms(guarantee) for key in self.keys}
        self.blind = {key for key in self.keys if self.chance.random() < 0.1}  # checks that never can tell
        self.unsure = self.chance.choice((0.0, 0.1, 0.4))
        self.window = self.chance.choice((0, 2, 500))
        self.fault_every_s = self.chance.choice((2.0, 6.0, 20.0))
        self.slow_s = self.chance.choice((0.05, 0.05, 0.5, 3.0))  # how long a word may lie before it is heard
        self.sudden = (
            self.chance.choice((0.0, 0.02, 0.06)) if kill_at is None else 0.0
        )  # faults just before an act
        self.queue_s = self.chance.choice((0.05, 0.05, 15.0))  # how long a run may wait for its runner
        self.blows, self.lasts_s = self.chance.choice(THEMES)
        self.long_s = self.chance.choice((0.1, 2.0, 25.0))
        self.fates = self.chance.choice(((90, 5, 3, 2), (60, 22, 10, 8), (20, 50, 15, 15)))
        self.witness = Witness({key: terms.guarantee for key, terms in self.terms.items()})
        self.ledger = Ledger(count)
        self.renewed: dict[int, float] = {}  # session -> when the leader last saw it renewed
        self.kafka = Kafka(self.chance.choice((1, 1, 2, 3)))
        self._assignments = 0
        self.lives = [Life(self, name) for name in "abc"[:nodes]]

    def _draw_terms(self, guarantee: Guarantee | None) -> Terms:
        return Terms(
            guarantee=guarantee or self.chance.choice(GUARANTEES),
            is_always_checked=self.chance.random() < 0.2,
            settle_s=self.chance.choice((0.0, 0.0, 2.0)),
            attempts_max=6,
        )

    # -- the machinery

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
        self._begin()
        while not self._is_over():
            if not self._step():
                raise Broken("nothing is left to do")
            if self.acts > ACTS_MAX or self.now > FAULTS_S + CALM_S:
                raise Broken(self._why_not_over())
        self._judge_end()

    def _begin(self) -> None:
        for key in self.keys:
            at = (
                0.0
                if self.kill_at is not None
                else self.chance.choice((0.0, 0.6 * FAULTS_S)) * self.chance.random()
            )
            for _ in range(2 if self.chance.random() < 0.15 else 1):
                self.submit(key, at)
        for life in self.lives:
            life.begin()
        for number in range(len(self.kafka.partitions)):
            self.assign(number)
        self.leader()
        self.operator()
        if self.kill_at is None:
            self.act(self.fault, self.now + self.chance.expovariate(1 / self.fault_every_s))
            self.act(self.calm, FAULTS_S)
        else:
            self.act(self.calm, 20.0)

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
        if life is not None:
            if not life.is_alive:
                return True
            if life.paused_until > self.now:
                self.act(do, life.paused_until, life=life)
                return True
        self.acts += 1
        if is_step and life is not None and not self.is_calm and self.chance.random() < self.sudden:
            self.strike(life)
        if self.acts == self.kill_at:
            victim = life or self.chance.choice(self.lives)
            self.trace("the death that was asked for")
            self.kill(victim)
        if life is None or life.is_alive:
            if life is not None and life.paused_until > self.now:
                self.act(do, life.paused_until, life=life)
            else:
                do()
        return True

    def trace(self, text: str) -> None:
        if self._trace is not None:
            self._trace(f"{self.now:9.3f} {text}")

    # -- Kafka

    def put(self, stored: Stored) -> None:
        self.chance.choice(self.kafka.partitions).records.append(stored)

    def submit(self, key: int, at: float) -> None:
        self.kafka.waiting += 1

        def acknowledged() -> None:
            self.kafka.waiting -= 1
            self.put(Stored(key=key))

        self.act(acknowledged, at)

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

    def assign(self, number: int) -> None:
        """To any member that the group knows."""
        members = [
            each for each in self.lives if each.is_alive and not each.is_expelled and not each.is_stopping
        ]
        partition = self.kafka.partitions[number]
        if not members:
            self.act(lambda: self.assign(number), self.now + 1.0)
            return
        self._assignments += 1
        life = partition.owner = self.chance.choice(members)
        place = Place("cpu-short", "normal", "t", number, self._assignments)
        self.act(lambda: self._assigned(life, number, place), life=life)

    def _assigned(self, life: Life, number: int, place: Place) -> None:
        if self.kafka.partitions[number].owner is life and not life.is_stopping:
            life.assigned(number, place)

    def move(self, number: int) -> None:
        """A rebalance with the consent of the owner, who commits what is completed, or has not come to it."""
        life = self.kafka.partitions[number].owner
        if life is None:
            return

        def revoke() -> None:
            if self.kafka.partitions[number].owner is life:
                if self.chance.random() < 0.7 and life.cut_until <= self.now:
                    life.commit()
                life.revoked(number)
                self.assign(number)

        self.act(revoke, life=life)

    def expel(self, life: Life) -> None:
        """The group has not heard of it for too long. It learns so when it is back."""
        if life.is_expelled or not life.is_alive:
            return
        self.trace(f"{life} is expelled from the group")
        life.is_expelled = True
        mine = [number for number, each in enumerate(self.kafka.partitions) if each.owner is life]
        for number in mine:
            self.kafka.partitions[number].owner = None
            self.assign(number)
        self.act(
            lambda: self.join_again(life),
            max(self.now, life.paused_until, life.cut_until) + self.chance.random(),
            life=life,
        )

    def join_again(self, life: Life) -> None:
        for number in list(life.assignments):
            life.revoked(number)
        life.is_expelled = False

    # -- the others

    def leader(self) -> None:
        self.act(self.leader, self.now + 0.5)
        machine = self.ledger.machine
        for session, at in list(self.renewed.items()):
            if self.now - at > LEASE_S + MARGIN_S:
                del self.renewed[session]
                if machine.sessions.open(session):
                    self.trace(f"session {session} is closed")
                    self.ledger.close(session)

    def operator(self) -> None:
        """Looks at what is in doubt, finds out the truth and says it."""
        self.act(self.operator, self.now + self.chance.uniform(20, 120))
        for key in self.ledger.machine.claims.in_doubt():
            if self.chance.random() < 0.5:
                self.blind.discard(key)
                decision = Decision.EXECUTED if self.witness.effects[key] else Decision.RETRY
                self.trace(f"the operator says of key {key}: {decision.name}")
                decided: Operation[list[int]] = operations.resolve([key], decision)
                self.ledger.decide(decided)
                if decision is Decision.EXECUTED:
                    self.ledger.fresh_marks[key] += 1

    def truth(self, key: int) -> Answer:
        if key in self.blind or self.chance.random() < self.unsure:
            return Answer.UNKNOWN
        return Answer.DONE if self.witness.effects[key] else Answer.NOT_DONE

    # -- faults

    def fault(self) -> None:
        if self.is_calm:
            return
        self.act(self.fault, self.now + self.chance.expovariate(1 / self.fault_every_s))
        alive = [life for life in self.lives if life.is_alive]
        if not alive:
            return
        if self.chance.random() < 0.05:
            for life in alive:
                self.kill(life)
        else:
            self.strike(self.chance.choice(alive))

    def strike(self, life: Life) -> None:
        lasts_s = self.chance.choice(self.lasts_s) * self.chance.random()
        match self.chance.choices(BLOWS, self.blows)[0]:
            case "kill":
                self.kill(life)
            case "pause":
                self.trace(f"{life} is paused for {lasts_s:.1f} s")
                life.paused_until = self.now + lasts_s
                self._expel_after(life, lasts_s)
            case "cut":
                self.trace(f"{life} is cut off for {lasts_s:.1f} s")
                life.cut_until = self.now + lasts_s
                self._expel_after(life, lasts_s)
            case "move":
                owned = [number for number, each in enumerate(self.kafka.partitions) if each.owner is life]
                if owned:
                    self.move(self.chance.choice(owned))
            case "stop":
                self.trace(f"{life} is asked to stop")
                life.stop_node()

    def _expel_after(self, life: Life, lasts_s: float) -> None:
        patience_s = self.chance.uniform(4, 10)
        if lasts_s > patience_s:
            self.act(lambda: self.expel(life), self.now + patience_s)

    def kill(self, life: Life) -> None:
        if not life.is_alive:
            return
        self.trace(f"{life} is killed")
        life.die()
        self.act(
            lambda: self.restart(life), self.now + self.chance.choice((1.0, 5.0, 20.0)) * self.chance.random()
        )
        owned = [number for number, each in enumerate(self.kafka.partitions) if each.owner is life]
        for number in owned:
            self.kafka.partitions[number].owner = None
            self.act(lambda number=number: self.assign(number), self.now + self.chance.uniform(0.5, 8))  # type: ignore[misc]

    def restart(self, life: Life) -> None:
        fresh = Life(self, life.name)
        self.lives[self.lives.index(life)] = fresh
        fresh.begin()
        if self.chance.random() < 0.5:
            self.act(lambda: self.move(self.chance.randrange(len(self.kafka.partitions))), self.now + 1.0)

    def calm(self) -> None:
        self.trace("no faults any more")
        self.is_calm = True
        self.unsure = 0.0
        self.slow_s = min(self.slow_s, 0.5)

    # -- the end

    def _is_over(self) -> bool:
        return (
            self.is_calm
            and self.kafka.is_empty()
            and all(key in self.ledger.machine.executed for key in self.keys)
            and not any(len(life.core) for life in self.lives if life.is_alive)
        )

    def _why_not_over(self) -> str:
        machine = self.ledger.machine
        open_keys = [key for key in self.keys if key not in machine.executed]
        lags = [each.lag for each in self.kafka.partitions]
        in_hand = {
            str(life): {key: life.core.state(key) for key in self.keys if key in life.core}
            for life in self.lives
        }
        return (
            f"no end after {self.now:.0f} s and {self.acts} acts: keys {open_keys} not executed, lag {lags}, {self.kafka.waiting} "
            f"wait, claims {list(machine.claims.all())}, in hand {in_hand}"
        )

    def _judge_end(self) -> None:
        machine = self.ledger.machine
        for key in self.keys:
            self.witness.judge_end(key, machine.executed.outcome(key))
        if len(machine.claims):
            raise Broken(f"claims are left: {list(machine.claims.all())}")
