"""One life of one simulated node: the real core, and a shell that fulfils the duties of its instructions in the slowest ways allowed.

Every word takes its time, is overtaken by others, and may be cut off by a death on either side of the wire.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, assert_never

from cluster.claims.claim_flow import ClaimFlow
from cluster.claims.events import (
    Claimed,
    DoubtAnswered,
    Event,
    Executed,
    FailAnswered,
    Kept,
    Lease,
    ReleaseAnswered,
    SessionOpened,
    Stopping,
    Tick,
)
from cluster.claims.instructions import (
    Check,
    Claim,
    Complete,
    Doubt,
    Execute,
    ExecuteUnclaimed,
    Fail,
    Instruction,
    Release,
    Run,
    Stop,
    StoreCopy,
    StoreDead,
    StoreResults,
    StoreRetry,
)
from consensus import ClaimAnswer, ClaimKind, ClaimState, operations
from consensus.operations import Operation
from tests.claims.kafka import Stored
from tests.claims.ledger import NoLife, SessionClosed
from tests.claims.reader import Reader
from tests.claims.runners import Runners

if TYPE_CHECKING:
    from tests.claims.world import World

LEASE_S, MARGIN_S, RENEW_S = 10.0, 1.0, 3.0
KILL_S = 2.0  # before the end of the lease: time to end what runs


class Life:
    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.core = ClaimFlow()
        self.proposer = world.ledger.new_life()
        self.session = 0
        self.lease_until = 0.0
        self.paused_until = self.cut_until = 0.0
        self.is_alive = True
        self.is_expelled = self.is_stopping = self.was_told_lease_ends = False
        self.runners, self.reader = Runners(self), Reader(self)
        self.tick_at: float | None = None

    def begin(self) -> None:
        self.open_session()
        self.renewing()
        self.reader.committing()

    # -- events in, instructions out

    def hear(self, event: Event) -> None:
        if not self.is_alive:
            return
        self.world.trace(f"{self} hears {event}")
        for instruction in self.core.handle(event, self.world.now):
            self.world.trace(f"{self}   wants {instruction}")
            self.carry_out(instruction)
        if not self.world.is_mutant:
            self.core.check_invariants()
        self.runners.see_claims()
        due = self.core.next_due()
        if due is not None and (self.tick_at is None or due < self.tick_at):
            self.tick_at = due
            self.world.act(self.tick, due, life=self)

    def tick(self) -> None:
        self.tick_at = None
        self.hear(Tick())

    def carry_out(self, instruction: Instruction) -> None:
        match instruction:
            case Claim(pairs=pairs):
                self.ask(operations.claim(pairs), pairs, self.claimed)
            case Release(pairs=pairs):
                self.ask(
                    operations.release(pairs), pairs, lambda keys, said: ReleaseAnswered(keys=keys, owns=said)
                )
            case Fail(pairs=pairs):
                self.ask(operations.fail(pairs), pairs, lambda keys, said: FailAnswered(keys=keys, owns=said))
            case Execute(pairs=pairs, outcome=outcome):
                self.ask(
                    operations.execute(pairs, outcome),
                    pairs,
                    lambda keys, said: Executed(keys=keys, answers=said),
                )
            case ExecuteUnclaimed(keys=keys, outcome=outcome):
                self.ask(
                    operations.execute(keys, outcome),
                    [(key, 0) for key in keys],
                    lambda keys, said: Executed(keys=keys, answers=said),
                )
            case Doubt(key=key, why=why):
                self.ask(
                    operations.doubt([key], why),
                    [(key, 0)],
                    lambda keys, said: DoubtAnswered(keys=keys, doubted=set(said)),
                )
            case Run(tasks=tasks, session=session):
                for task in tasks:
                    self.runners.offer(task, session)
            case Check(tasks=tasks):
                for task in tasks:
                    self.runners.check(task)
            case Stop(keys=keys):
                for key in keys:
                    self.world.act(lambda key=key: self.runners.stop(key), life=self)  # type: ignore[misc]
            case StoreResults(keys=keys):
                for key in keys:
                    self.store(key, lambda key=key: self.world.kafka.results.append(key))  # type: ignore[misc]
            case StoreDead(key=key):
                self.store(key, lambda: self.world.kafka.dead.append(key))
            case StoreRetry():
                self.store(instruction.key, self.retry_of(instruction))
            case StoreCopy(key=key):
                record = self.core.record(key)
                assert record is not None
                copy = Stored(key=key, after=record.after, uncounted=record.uncounted, is_marked=True)
                self.store(key, lambda: self.world.put_later(copy, self.world.chance.uniform(5, 60)))
            case Complete(place=place, offsets=offsets):
                self.reader.complete(place, list(offsets))
            case _:
                assert_never(instruction)

    def claimed(self, keys: list[int], said: list[ClaimAnswer]) -> Claimed:
        held = [key for key, each in zip(keys, said, strict=True) if each.kind is ClaimKind.HELD]
        claims = [self.world.ledger.machine.claims.get(key) for key in held]
        doubted = {each.key for each in claims if each is not None and each.state is ClaimState.IN_DOUBT}
        return Claimed(keys=keys, answers=said, doubted=doubted)

    def retry_of(self, instruction: StoreRetry) -> Callable[[], None]:
        record = self.core.record(instruction.key)
        assert record is not None
        retry = Stored(
            key=instruction.key,
            after=instruction.attempt,
            uncounted=record.uncounted + (not instruction.is_counted),
        )
        return lambda: self.world.put_later(retry, instruction.after_s)

    # -- the wire

    def store(self, key: int, put: Callable[[], None]) -> None:
        """The acknowledgement may be lost: then it is stored again."""

        def arrived() -> None:
            put()
            if self.world.chance.random() < 0.05:
                self.world.send(self, arrived)
            else:
                self.world.act(lambda: self.hear(Kept(keys=[key])), life=self)

        self.world.send(self, arrived)

    def ask(
        self,
        operation: Operation[Any],
        pairs: Any,
        event: Callable[[list[int], Any], Event],
    ) -> None:
        keys = [key for key, _ in pairs]
        entry = self.world.ledger.entry(self.proposer, operation.command(self.session))

        def arrived(again: bool = False) -> None:
            try:
                said = self.world.ledger.arrive(entry, operation, keys, again=again)
            except NoLife:
                return
            except SessionClosed:
                self.world.act(refused, life=self)
                return
            if self.world.chance.random() < 0.1:  # nobody knows what became of it: repeated by its id
                self.world.send(self, lambda: arrived(True))
            elif self.world.chance.random() < 0.02:  # and even the id is forgotten: asked anew
                self.ask(operation, pairs, event)
            else:
                self.world.act(lambda: self.hear(event(keys, said)), life=self)

        def refused() -> None:
            self.open_session()
            self.ask(operation, pairs, event)

        self.world.send(self, arrived)

    # -- session and lease

    def open_session(self) -> None:
        """At once: what matters is when the former one was closed, and that is the leader's doing."""
        machine = self.world.ledger.machine
        if not machine.sessions.open(self.session):
            self.session = self.world.ledger.open(self.proposer, self.name)
            self.world.renewed[self.session] = self.world.now
            self.lease_until = self.world.now + LEASE_S
            self.was_told_lease_ends = False
            self.watch_lease()
            self.hear(SessionOpened(session=self.session))

    def renewing(self) -> None:
        self.world.act(self.renewing, self.world.now + RENEW_S, life=self)
        sent_at, session = self.world.now, self.session

        def arrived() -> None:
            try:
                self.world.ledger.renew(self.proposer, session)
            except NoLife:
                return
            except SessionClosed:
                self.world.act(self.open_session, life=self)
                return
            self.world.renewed[session] = self.world.now
            self.world.act(lambda: self.renewed(session, sent_at + LEASE_S), life=self)

        self.world.send(self, arrived)

    def renewed(self, session: int, until: float) -> None:
        if session != self.session:
            return
        self.lease_until = max(self.lease_until, until)
        if self.was_told_lease_ends and self.lease_until - KILL_S > self.world.now:
            self.was_told_lease_ends = False
            self.hear(Lease(is_held=True))
        self.watch_lease()

    def watch_lease(self) -> None:
        """The node's own clock; what it forgets while it is paused, its runners keep."""
        until = self.lease_until

        def near() -> None:
            if until == self.lease_until and not self.was_told_lease_ends:
                self.was_told_lease_ends = True
                self.hear(Lease(is_held=False))

        self.world.act(near, until - KILL_S, life=self)
        self.world.act(self.runners.lease_ends, until)

    # -- ends

    def stop_node(self) -> None:
        """As SIGTERM: nothing begins, what has not begun comes back, then it ends."""
        if self.is_alive and not self.is_stopping:
            self.is_stopping = True
            self.hear(Stopping())
            self.world.act(
                lambda: self.world.faults.kill(self), self.world.now + self.world.chance.uniform(1, 8)
            )

    def die(self) -> None:
        self.is_alive = False
        self.runners.die()

    def __str__(self) -> str:
        return f"{self.name}/{self.session}"
