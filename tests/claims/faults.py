"""What befalls the nodes of a simulated cluster, and what the group, the leader and the operator do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.task_flow import Place
from consensus import Decision, operations
from consensus.operations import Operation
from tests.claims.node import LEASE_S, MARGIN_S, Life
from tests.claims.plan import BLOWS, FAULTS_S, Blow

if TYPE_CHECKING:
    from tests.claims.world import World


class Faults:
    def __init__(self, world: World) -> None:
        self.world, self.plan, self.chance = world, world.plan, world.chance
        self._assignments = 0

    def begin(self) -> None:
        for number in range(len(self.world.kafka.partitions)):
            self.assign(number)
        self.leader()
        self.operator()
        self.world.act(self.fault, self.chance.expovariate(1 / self.plan.fault_every_s))
        self.world.act(self.world.calm, FAULTS_S)

    def fault(self) -> None:
        if self.world.is_calm:
            return
        self.world.act(self.fault, self.world.now + self.chance.expovariate(1 / self.plan.fault_every_s))
        alive = [life for life in self.world.lives if life.is_alive]
        if alive and self.chance.random() < 0.05:
            for life in alive:
                self.kill(life)
        elif alive:
            self.strike(self.chance.choice(alive))

    def strike(self, life: Life) -> None:
        lasts_s = self.chance.choice(self.plan.lasts_s) * self.chance.random()
        self.blow(life, self.chance.choices(BLOWS, self.plan.blows)[0], lasts_s)

    def blow(self, life: Life, blow: Blow, lasts_s: float) -> None:
        now = self.world.now
        self.world.trace(f"{life}: {blow.value}, {lasts_s:.1f} s")
        match blow:
            case Blow.KILL:
                self.kill(life)
            case Blow.PAUSE:
                life.paused_until = now + lasts_s
                self._expel_after(life, lasts_s)
            case Blow.CUT:
                life.cut_until = now + lasts_s
                self._expel_after(life, lasts_s)
            case Blow.MOVE:
                owned = [
                    number for number, each in enumerate(self.world.kafka.partitions) if each.owner is life
                ]
                if owned:
                    self.move(self.chance.choice(owned))
            case Blow.STOP:
                life.stop_node()

    # -- the group

    def assign(self, number: int) -> None:
        """To any member that the group knows."""
        members = [
            each for each in self.world.lives if each.is_alive and not (each.is_expelled or each.is_stopping)
        ]
        if not members:
            self.world.act(lambda: self.assign(number), self.world.now + 1.0)
            return
        self._assignments += 1
        life = self.world.kafka.partitions[number].owner = self.chance.choice(members)
        place = Place("cpu-short", "normal", "t", number, self._assignments)

        def told() -> None:
            if self.world.kafka.partitions[number].owner is life and not life.is_stopping:
                life.reader.assigned(number, place)

        self.world.act(told, life=life)

    def move(self, number: int) -> None:
        """A rebalance with the consent of the owner, who commits what is completed, or has not come to it."""
        life = self.world.kafka.partitions[number].owner
        if life is None:
            return

        def revoke() -> None:
            if self.world.kafka.partitions[number].owner is life:
                if self.chance.random() < 0.7 and life.cut_until <= self.world.now:
                    life.reader.commit()
                life.reader.revoked(number)
                self.assign(number)

        self.world.act(revoke, life=life)

    def _expel_after(self, life: Life, lasts_s: float) -> None:
        patience_s = self.chance.uniform(4, 10)
        if lasts_s > patience_s:
            self.world.act(lambda: self.expel(life), self.world.now + patience_s)

    def expel(self, life: Life) -> None:
        """The group has not heard of it for too long. It learns so when it is back."""
        if life.is_expelled or not life.is_alive:
            return
        self.world.trace(f"{life} is expelled from the group")
        life.is_expelled = True
        for number, partition in enumerate(self.world.kafka.partitions):
            if partition.owner is life:
                partition.owner = None
                self.assign(number)
        back = max(self.world.now, life.paused_until, life.cut_until) + self.chance.random()
        self.world.act(lambda: self.join_again(life), back, life=life)

    def join_again(self, life: Life) -> None:
        for number in list(life.reader.assignments):
            life.reader.revoked(number)
        life.is_expelled = False

    def kill(self, life: Life) -> None:
        if not life.is_alive:
            return
        self.world.trace(f"{life} is killed")
        life.die()
        self.world.act(
            lambda: self.restart(life),
            self.world.now + self.chance.choice((1.0, 5.0, 20.0)) * self.chance.random(),
        )
        for number, partition in enumerate(self.world.kafka.partitions):
            if partition.owner is life:
                partition.owner = None
                at = self.world.now + self.chance.uniform(0.5, 8)
                self.world.act(lambda number=number: self.assign(number), at)  # type: ignore[misc]

    def restart(self, life: Life) -> None:
        fresh = Life(self.world, life.name)
        self.world.lives[self.world.lives.index(life)] = fresh
        fresh.begin()
        if self.chance.random() < 0.5:
            number = self.chance.randrange(len(self.world.kafka.partitions))
            self.world.act(lambda: self.move(number), self.world.now + 1.0)

    # -- the leader of the ledger, and the operator

    def leader(self) -> None:
        self.world.act(self.leader, self.world.now + 0.5)
        for session, at in list(self.world.renewed.items()):
            if self.world.now - at > LEASE_S + MARGIN_S:
                del self.world.renewed[session]
                if self.world.ledger.machine.sessions.open(session):
                    self.world.trace(f"session {session} is closed")
                    self.world.ledger.close(session)

    def operator(self) -> None:
        """Looks at what is in doubt, finds out the truth and says it."""
        self.world.act(self.operator, self.world.now + self.chance.uniform(20, 120))
        for key in self.world.ledger.machine.claims.in_doubt():
            if self.chance.random() < 0.5:
                self.world.blind.discard(key)
                decision = Decision.EXECUTED if self.world.witness.effects[key] else Decision.RETRY
                self.world.trace(f"the operator says of key {key}: {decision.name}")
                resolving: Operation[list[int]] = operations.resolve([key], decision)
                if self.world.ledger.decide(resolving) and decision is Decision.EXECUTED:
                    self.world.ledger.fresh_marks[key] += 1
