"""The runners of one simulated node: they outlive a pause of it, not its death, and end what is claimed when the lease ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.claims.events import (
    CheckAnswered,
    Endings,
    Event,
    Succeeded,
)
from cluster.claims.values import Ended
from cluster.flow_events import Ending
from executor import Task

if TYPE_CHECKING:
    from tests.claims.node import Life


@dataclass(eq=False, slots=True, kw_only=True)
class SimRun:
    task: Task
    session: int  # under which it is claimed; 0: it is not
    is_adopted: bool  # offered without a claim, under attempt 1, which others may have used
    has_begun: bool = False
    had_effect: bool = False
    is_over: bool = False


class Runners:
    """`life`: the node that owns them, and hears how runs ended."""

    def __init__(self, life: Life) -> None:
        self.life, self.world = life, life.world
        self.runs: dict[int, SimRun] = {}

    def offer(self, task: Task, session: int) -> None:
        assert task.key not in self.runs, "a key is run twice at the same time on one node"
        run = SimRun(task=task, session=session, is_adopted=session == 0)
        self.runs[task.key] = run
        self.world.act(
            lambda: self.start(run), self.world.now + self.world.plan.queue_s * self.world.chance.random()
        )

    def start(self, run: SimRun) -> None:
        if run.is_over or not self.life.is_alive:
            return
        if self.life.is_stopping or (run.session and not self.may_begin(run)):
            self.end(run, Ending.RETURNED)
            return
        chance, now, key = self.world.chance, self.world.now, run.task.key
        run.has_begun = True
        attempt = None if run.is_adopted else run.task.attempt
        self.world.witness.started(key, run, attempt, is_claimed=run.session > 0)
        lasts_s = chance.choice((0.01, self.world.plan.long_s)) * chance.random()
        fate = chance.choices(("done", "failed", "died", "lost"), self.world.plan.fates)[0]
        if self.world.is_calm:
            fate = "done"
        if fate in ("done", "lost") or chance.random() < 0.5:
            self.world.act(lambda: self.effect(run), now + lasts_s * chance.random())
        self.world.act(lambda: self.end_as(run, fate), now + lasts_s)

    def may_begin(self, run: SimRun) -> bool:
        return run.session == self.life.session and self.world.now < self.life.lease_until

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
        record = self.life.core.record(run.task.key)
        retry: float | None = None
        if record is not None and (run.task.attempt or 1) - record.uncounted < record.terms.attempts_max:
            retry = self.world.chance.uniform(0, 5)
        ended = Ended(key=run.task.key, ending=ending, error=ending.value, retry_after_s=retry)
        self.tell(run, Endings(endings=[ended]))

    def tell(self, run: SimRun, event: Event) -> None:
        def told() -> None:
            if self.runs.get(run.task.key) is run:
                del self.runs[run.task.key]
            self.life.hear(event)

        self.world.act(told, life=self.life)

    def check(self, task: Task) -> None:
        def asked() -> None:
            if not self.life.is_alive:
                return
            answer = self.world.truth(task.key)
            self.world.act(
                lambda: self.life.hear(CheckAnswered(key=task.key, answer=answer, why="so it said")),
                life=self.life,
            )

        self.world.act(asked)

    def lease_ends(self) -> None:
        """The lease has ended and nothing was heard of the node: runners of claimed tasks end themselves."""
        if self.world.now >= self.life.lease_until:
            for run in list(self.runs.values()):
                if run.session and run.has_begun:
                    self.end(run, Ending.DIED)

    def see_claims(self) -> None:
        """A run that began without a claim may have one by now; from then on it is bound by the lease."""
        for key, run in self.runs.items():
            _, session = self.life.core.holds(key)
            if not run.session and session:
                run.session = session
                if run.has_begun and not run.is_over:
                    self.world.witness.became_claimed(key, run)

    def die(self) -> None:
        for run in self.runs.values():
            if not run.is_over:
                self.over(run)
