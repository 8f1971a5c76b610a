"""The single steps of a claimed task, each of which leaves it waiting for exactly one word. What to do when is decided in `claim_flow.py`.

A task *leaves* when its partition was revoked or the node stops: it ends what it has begun, and begins nothing.
"""

from __future__ import annotations

from collections import Counter

from cluster.claims.instructions import Doubt, Gathered, StoreCopy, StoreDead, StoreRetry
from cluster.claims.values import ClaimedTask, Record, State
from cluster.claims.waits import HELD_FOR_S, HELD_OF_A_PARTITION_MAX, Hours, held_again_s
from cluster.flow_events import Place
from executor import Task

_new = tuple.__new__  # what `Task._replace` does, at a fifth of its price


class Moves:
    """`overtaken` counts marks that came too late: possible double effects. The ledger lists them."""

    def __init__(self) -> None:
        self._tasks: dict[int, ClaimedTask] = {}
        self._session = 0
        self._is_leased = True
        self._is_stopping = False
        self._hours = Hours()
        self._held: Counter[Place] = Counter()
        self.overtaken = 0

    def _leaves(self, task: ClaimedTask) -> bool:
        return task.is_gone or self._is_stopping

    def _claim(self, task: ClaimedTask, out: Gathered) -> None:
        task.state = State.CLAIMING
        out.claims.append((task.record.task.key, task.record.after))

    def _again(self, task: ClaimedTask, out: Gathered) -> None:
        """It holds no claim any more, and its record is not settled: the ledger says what to do with it."""
        task.asked = 0
        task.is_recovered = False
        if self._leaves(task):
            self._drop(task, out)
        else:
            self._claim(task, out)

    def _run(self, task: ClaimedTask, out: Gathered) -> None:
        task.state = State.RUNNING
        task.is_stopped = False
        out.runs.append(_attempt(task))

    def _settle(self, task: ClaimedTask, now: float, out: Gathered) -> None:
        task.asked, task.asked_since = 0, now
        if task.record.terms.settle_s > 0:
            self._wait(task, State.SETTLING, now + task.record.terms.settle_s)
        else:
            self._check(task, out)

    def _check(self, task: ClaimedTask, out: Gathered) -> None:
        task.state = State.CHECKING
        out.checks.append(_attempt(task))

    def _release(self, task: ClaimedTask, out: Gathered) -> None:
        """Only of what has not begun under this attempt."""
        task.state = State.RELEASING
        out.releases.append((task.key, task.attempt))

    def _execute(self, task: ClaimedTask, outcome: str, out: Gathered) -> None:
        task.state, task.outcome = State.EXECUTING, outcome
        key = task.record.task.key
        if task.attempt:
            out.executes.setdefault(outcome, []).append((key, task.attempt))
        else:
            out.marks.setdefault(outcome, []).append(key)

    def _retry(
        self, task: ClaimedTask, after_s: float, error: str, out: Gathered, *, is_counted: bool
    ) -> None:
        """A run without a claim was the first."""
        task.state = State.STORING_RETRY
        attempt = task.attempt or 1
        out.single.append(
            StoreRetry(key=task.key, attempt=attempt, after_s=after_s, is_counted=is_counted, error=error)
        )

    def _die(self, task: ClaimedTask, reason: str, out: Gathered) -> None:
        task.state = State.STORING_DEAD
        out.single.append(StoreDead(key=task.key, attempt=task.attempt or 1, reason=reason))

    def _fail(self, task: ClaimedTask, out: Gathered) -> None:
        task.state = State.FAILING
        out.fails.append((task.key, task.attempt))

    def _doubt(self, task: ClaimedTask, why: str, out: Gathered) -> None:
        task.state, task.error = State.DOUBTING, why
        out.single.append(Doubt(key=task.key, why=why))

    def _park(self, task: ClaimedTask, why: str, out: Gathered) -> None:
        task.state = State.STORING_COPY
        out.single.append(StoreCopy(key=task.key, why=why))

    def _hold(self, task: ClaimedTask, now: float, out: Gathered) -> None:
        """Another session has it."""
        if not task.asked:
            task.asked_since = now
        if now - task.asked_since >= HELD_FOR_S or self._held[task.record.place] >= HELD_OF_A_PARTITION_MAX:
            self._park(task, "held", out)
        else:
            self._held[task.record.place] += 1
            self._wait(task, State.HELD, now + held_again_s(task.asked))
            task.asked += 1

    def _wait(self, task: ClaimedTask, state: State, due: float) -> None:
        task.state, task.due = state, due
        self._hours.add(due, task.key)

    def _unhold(self, task: ClaimedTask) -> None:
        place = task.record.place
        self._held[place] -= 1
        if not self._held[place]:
            del self._held[place]

    def _complete(self, record: Record, out: Gathered) -> None:
        out.completed.setdefault(record.place, []).append(record.offset)

    def _finish(self, task: ClaimedTask, out: Gathered, *, is_final: bool) -> None:
        """Its record is settled. `is_final`: and so is its key."""
        self._complete(task.record, out)
        del self._tasks[task.record.task.key]
        if task.doubles:
            settled = [each for each in task.doubles if is_final or each.after == task.record.after]
            for record in settled:
                self._complete(record, out)
            self._next([each for each in task.doubles if each not in settled], out)

    def _drop(self, task: ClaimedTask, out: Gathered) -> None:
        """It is left to others: nothing is under way, no claim of it is ours, its offset stays open."""
        del self._tasks[task.key]
        if not self._is_stopping:
            self._next(task.doubles, out)

    def _next(self, doubles: list[Record], out: Gathered) -> None:
        if doubles:
            task = ClaimedTask(record=doubles[0], doubles=doubles[1:])
            self._tasks[task.key] = task
            self._claim(task, out)


def _attempt(task: ClaimedTask) -> Task:
    one = task.record.task
    return _new(Task, (one.seq, one.key, task.attempt, one.handler, one.arguments, one.kind, one.level))
