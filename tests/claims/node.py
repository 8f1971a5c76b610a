"""One life of one simulated node: the real core, and a shell that fulfils the duties of its instructions in the slowest ways allowed.

Every word takes its time, is overtaken by others, and may be cut off by a death on either side of the wire.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, assert_never

from cluster.claims.claim_flow import ClaimFlow
from cluster.claims.events import (
    Adopted,
    Arrived,
    CheckAnswered,
    Claimed,
    DoubtAnswered,
    Endings,
    Event,
    Executed,
    FailAnswered,
    Kept,
    Lease,
    ReleaseAnswered,
    Revoked,
    SessionOpened,
    Stopping,
    Succeeded,
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
from cluster.claims.values import WINDOW_RECORDS_MAX, Ended, Record, needs_claim
from cluster.flow_events import Ending, Place
from cluster.kafka.offsets import OffsetWindow
from consensus import ClaimAnswer, ClaimKind, ClaimState, operations
from consensus.operations import Operation
from executor import Task
from tests.claims.kafka import Stored
from tests.claims.ledger import NoLife, SessionClosed

if TYPE_CHECKING:
    from tests.claims.world import World

LEASE_S, MARGIN_S, RENEW_S = 10.0, 1.0, 3.0
KILL_S = 2.0  # before the end of the lease: time to end what runs


@dataclass(eq=False, slots=True, kw_only=True)
class SimRun:
    task: Task
    session: int  # under which it was claimed; 0: begun without a claim, under attempt 1, which others may have used
    is_claimed: bool
    has_begun: bool = False
    had_effect: bool = False
    is_over: bool = False


@dataclass(eq=False, slots=True)
class Assignment:
    place: Place
    window: OffsetWindow
    position: int
    taken: int = 0


class Life:
    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.core = ClaimFlow()
        self.proposer = world.ledger.new_life()
        self.session = 0
        self.lease_until = 0.0
        self.paused_until = self.cut_until = 0.0
        self.is_alive, self.is_expelled, self.is_stopping, self.was_told_lease_ends = (
            True,
            False,
            False,
            False,
        )
        self.runs: dict[int, SimRun] = {}
        self.assignments: dict[int, Assignment] = {}
        self.former: list[Assignment] = []  # for a mutant only
        self.tick_at: float | None = None

    def begin(self) -> None:
        self.open_session()
        self.renewing()
        self.committing()

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
        self.see_claims()
        due = self.core.next_due()
        if due is not None and (self.tick_at is None or due < self.tick_at):
            self.tick_at = due
            self.world.act(self.tick, due, life=self)

    def tick(self) -> None:
        self.tick_at = None
        self.hear(Tick())

    def see_claims(self) -> None:
        """A run that began without a claim may have one by now; from then on it is bound by the lease."""
        for key, run in self.runs.items():
            if not run.is_claimed and key in self.core and self.core.attempt(key):
                run.is_claimed = True
                if run.has_begun and not run.is_over:
                    self.world.witness.became_claimed(key, run)

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
                    self.offer(task, session)
            case Check(tasks=tasks):
                for task in tasks:
                    self.check(task)
            case Stop(keys=keys):
                for key in keys:
                    self.world.act(lambda key=key: self.stop(key), life=self)  # type: ignore[misc]
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
                self.complete(place, list(offsets))
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
        self.world.act(self.runners_end, until)

    def runners_end(self) -> None:
        """The lease has ended and nothing was heard of the node: runners of claimed tasks end themselves."""
        if self.world.now >= self.lease_until:
            for run in list(self.runs.values()):
                if run.is_claimed and run.has_begun:
                    self.end(run, Ending.DIED)

    # -- runs

    def offer(self, task: Task, session: int) -> None:
        assert task.key not in self.runs, "a key is run twice at the same time on one node"
        run = SimRun(task=task, session=session, is_claimed=session > 0)
        self.runs[task.key] = run
        self.world.act(
            lambda: self.start(run), self.world.now + self.world.plan.queue_s * self.world.chance.random()
        )

    def start(self, run: SimRun) -> None:
        if run.is_over or not self.is_alive:
            return
        if self.is_stopping or (run.is_claimed and not self.may_begin(run)):
            self.end(run, Ending.RETURNED)
            return
        chance, now, key = self.world.chance, self.world.now, run.task.key
        run.has_begun = True
        attempt = run.task.attempt if run.session else None
        self.world.witness.started(key, run, attempt, is_claimed=run.is_claimed)
        lasts_s = chance.choice((0.01, self.world.plan.long_s)) * chance.random()
        fate = chance.choices(("done", "failed", "died", "lost"), self.world.plan.fates)[0]
        if self.world.is_calm:
            fate = "done"
        if fate in ("done", "lost") or chance.random() < 0.5:
            self.world.act(lambda: self.effect(run), now + lasts_s * chance.random())
        self.world.act(lambda: self.end_as(run, fate), now + lasts_s)

    def may_begin(self, run: SimRun) -> bool:
        return run.session in (0, self.session) and self.world.now < self.lease_until

    def effect(self, run: SimRun) -> None:
        if not (run.is_over or run.had_effect):
            run.had_effect = True
            self.world.witness.effect(run.task.key)

    def end_as(self, run: SimRun, fate: str) -> None:
        if fate in ("done", "lost"):
            self.effect(run)
        match fate:
            case "done" if not run.is_over:
                self.over(run)
                results = [b"r"] if self.world.chance.random() < 0.3 else ()
                self.tell(run, Succeeded(keys=[run.task.key], results=results))
            case "failed":
                self.end(run, Ending.FAILED)
            case "died":
                self.end(run, Ending.DIED)
            case "lost":
                self.end(run, Ending.LOST)

    def stop(self, key: int) -> None:
        run = self.runs.get(key)
        if run is not None and not run.is_over:
            self.end(
                run,
                self.world.chance.choice((Ending.CANCELLED, Ending.DIED))
                if run.has_begun
                else Ending.RETURNED,
            )

    def over(self, run: SimRun) -> None:
        run.is_over = True
        self.world.witness.over(run.task.key, run)

    def end(self, run: SimRun, ending: Ending) -> None:
        if run.is_over:
            return
        self.over(run)
        record = self.core.record(run.task.key)
        retry: float | None = None
        if record is not None and (run.task.attempt or 1) - record.uncounted < record.terms.attempts_max:
            retry = self.world.chance.uniform(0, 5)
        ended = Ended(key=run.task.key, ending=ending, error=ending.value, retry_after_s=retry)
        self.tell(run, Endings(endings=[ended]))

    def tell(self, run: SimRun, event: Event) -> None:
        def told() -> None:
            if self.runs.get(run.task.key) is run:
                del self.runs[run.task.key]
            self.hear(event)

        self.world.act(told, life=self)

    def check(self, task: Task) -> None:
        def asked() -> None:
            if not self.is_alive:
                return
            answer = self.world.truth(task.key)
            self.world.act(
                lambda: self.hear(CheckAnswered(key=task.key, answer=answer, why="so it said")), life=self
            )

        self.world.act(asked)

    # -- the consumer

    def assigned(self, number: int, place: Place) -> None:
        position = self.world.kafka.partitions[number].committed
        self.assignments[number] = Assignment(place, OffsetWindow(), position)
        self.fetch(place)

    def revoked(self, number: int) -> None:
        assignment = self.assignments.pop(number, None)
        if assignment is not None:
            self.former.append(assignment)
            self.hear(Revoked(place=assignment.place))

    def fetch(self, place: Place) -> None:
        assignment = self.assignments.get(place.partition)
        if assignment is None or assignment.place != place or self.is_stopping:
            return
        self.world.act(
            lambda: self.fetch(place), self.world.now + self.world.chance.uniform(0.1, 1.0), life=self
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
        if is_claimed or key in self.core or executed or key in world.ledger.machine.executed:
            self.hear(Arrived(records=[record], executed=executed))
        elif key not in self.runs:
            self.hear(Adopted(records=[record]))
            self.offer(task._replace(attempt=1), 0)

    def complete(self, place: Place, offsets: list[int]) -> None:
        assignment = self.assignments.get(place.partition)
        if assignment is not None and assignment.place == place:
            assignment.window.complete(offsets)
        elif self.world.completes_for_others:
            for former in self.former:
                if former.place == place:
                    former.window.complete(offsets)

    def committing(self) -> None:
        self.world.act(self.committing, self.world.now + self.world.chance.uniform(0.2, 3), life=self)
        if self.cut_until <= self.world.now:
            self.commit()

    def commit(self) -> None:
        former = self.former if self.world.completes_for_others else []
        for assignment in (*former, *self.assignments.values()):
            offset = assignment.window.to_commit()
            if offset is not None and self.world.kafka.commit(self, assignment.place.partition, offset):
                assignment.window.mark_committed(offset)

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
        for run in self.runs.values():
            if not run.is_over:
                self.over(run)

    def __str__(self) -> str:
        return f"{self.name}/{self.session}"
