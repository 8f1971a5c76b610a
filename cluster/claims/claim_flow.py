"""Claimed tasks from record to completed offset, under each of the three guarantees: a pure core. The contract is DESIGN section 4.

    Arrived -> Claim -> GO ------> Run            exactly-once, unless this is the first undisturbed run: Check, then Run
                     -> RECOVER -> Check          exactly-once: an attempt before may have had its effect
                                -> Run            at-least-once
                                -> Execute        at-most-once: "abandoned"
                     -> HELD ----> asked again, or StoreCopy -> Complete
                     -> STALE, EXECUTED -> Complete
    Check -> done -> Execute;   not done -> Run;   unknown -> asked again, at last Doubt -> StoreCopy -> Complete
    Run --> succeeded -> StoreResults? -> Execute -> Complete
        --> failed ----> StoreRetry -> Fail -> Complete,   or, when there are no more, StoreDead -> Execute -> Complete
        --> lost ------> as failed, uncounted;   at-most-once: Execute "abandoned"
        --> returned --> Release -> Claim

Each arrow waits for the word that what stands before it is done, so that wherever a node is cut off the record is delivered again, or
its retry was stored, or the key is executed; and a run is never begun but under a claim of the present session. When an answer of the
ledger says that the claim is not the task's own any more (a mark *overtaken*, a `fail` or `release` not *own*), nothing has ended: the
record is claimed again, and that answer tells what to do with it. To complete it there would lose it if the other one has died meanwhile.

A key stands here once. Its further records wait for the first: they complete with it when the key is final; otherwise those of the same
`after` do, and the next one is claimed on its own, as a retry record may well arrive before the `fail` of its attempt is answered.
"""

from __future__ import annotations

from collections import Counter
from itertools import zip_longest
from typing import assert_never

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
from cluster.claims.instructions import Gathered, Instruction
from cluster.claims.runs import Runs
from cluster.claims.values import ClaimedTask, Ended, Record, State
from cluster.flow_events import Place
from consensus import ClaimAnswer, ClaimKind, ExecuteAnswer, Outcome

OWN = (ClaimKind.GO, ClaimKind.RECOVER)  # the answers that make a claim the task's own


class ClaimFlow(Runs):
    """All claimed tasks that this node has read and not completed, by key. Bounded by what the consumers deliver."""

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, key: int) -> bool:
        """Its runs end here: in `Succeeded` or `Endings`."""
        return key in self._tasks

    def state(self, key: int) -> State | None:
        task = self._tasks.get(key)
        return None if task is None else task.state

    def holds(self, key: int) -> tuple[int, int]:
        """(attempt, session) of the claim that it holds, or held last. (0, 0): it runs without one, or is not here."""
        task = self._tasks.get(key)
        return (0, 0) if task is None else (task.attempt, task.session)

    def record(self, key: int) -> Record | None:
        """That of a task that is not completed: what copies, retries and dead records of it are made from."""
        task = self._tasks.get(key)
        return None if task is None else task.record

    def next_due(self) -> float | None:
        """When `Tick` is next of use."""
        return self._hours.next_due()

    def check_invariants(self) -> None:
        """For tests, after every event."""
        held: Counter[Place] = Counter()
        for key, task in self._tasks.items():
            assert task.key == key
            assert all(each.task.key == key and each is not task.record for each in task.doubles)
            held[task.record.place] += task.state is State.HELD
            if task.state in (State.HELD, State.CLAIMING):
                assert not task.is_claiming
            if task.state in (State.CHECKING, State.SETTLING, State.FAILING, State.RELEASING, State.DOUBTING):
                assert task.attempt > 0, f"{task.state} without a claim"
            if task.is_claiming:
                assert task.state is State.RUNNING
                assert task.attempt == 0
            assert task.session <= self._session
        assert +held == self._held

    def handle(self, event: Event, now: float) -> list[Instruction]:
        out = Gathered()
        match event:
            case Arrived():
                self._arrived(event, out)
            case Claimed():
                self._claimed(event, now, out)
            case Succeeded():
                for key, result in zip_longest(event.keys, event.results):
                    self._succeeded(key, result, out)
            case Executed():
                self._executed(event, out)
            case Kept():
                self._kept(event, out)
            case Endings():
                for ended in event.endings:
                    self._ended(ended, out)
            case CheckAnswered():
                self._checked(event, now, out)
            case FailAnswered():
                self._failed(event, out)
            case ReleaseAnswered():
                self._released(event, out)
            case DoubtAnswered():
                self._doubted(event, out)
            case Adopted():
                self._adopted(event, out)
            case Revoked():
                self._revoked(event.place, out)
            case SessionOpened():
                self._session_opened(event.session, out)
            case Lease():
                self._lease(event, out)
            case Stopping():
                self._stopping(out)
            case Tick():
                self._tick(now, out)
            case _:
                assert_never(event)
        return out.instructions(self._session)

    # -- records and claims

    def _arrived(self, event: Arrived, out: Gathered) -> None:
        tasks, executed = self._tasks, event.executed
        for record in event.records:
            key = record.task.key
            if key in executed:
                self._complete(record, out)
            elif (task := tasks.get(key)) is not None:
                task.doubles.append(record)
            elif not self._is_stopping:
                tasks[key] = task = ClaimedTask(record=record)
                self._claim(task, out)

    def _claimed(self, event: Claimed, now: float, out: Gathered) -> None:
        own = [each.session for each in event.answers if each.kind in OWN]
        self._session_opened(max(own, default=0), out)  # the answer may be faster than that news
        for key, answer in zip(event.keys, event.answers, strict=True):
            task = self._tasks.get(key)
            if task is None:
                continue
            if task.state is State.CLAIMING:
                self._judged(task, answer, key in event.doubted, now, out)
            elif task.is_claiming:
                self._claimed_while_running(task, answer, key in event.doubted, out)

    def _judged(
        self, task: ClaimedTask, answer: ClaimAnswer, is_doubted: bool, now: float, out: Gathered
    ) -> None:
        match answer.kind:
            case ClaimKind.GO | ClaimKind.RECOVER:
                task.attempt, task.session, task.asked = answer.attempt, answer.session, 0
                task.is_recovered = answer.kind is ClaimKind.RECOVER
                if answer.session != self._session:
                    self._again(task, out)  # it was lost with its session: the next claim recovers it
                elif isinstance(task.pending, Ended):
                    ended, task.pending, task.state = task.pending, None, State.RUNNING
                    self._ended(ended, out)
                elif self._leaves(task) or not self._is_leased:
                    self._release(task, out)
                else:
                    self._begin(task, now, out)
            case ClaimKind.HELD if answer.session == self._session and not is_doubted:
                self._orphaned(task, answer, out)
            case ClaimKind.HELD if self._leaves(task):
                self._drop(task, out)
            case ClaimKind.HELD if is_doubted:
                self._park(task, "in doubt", out)
            case ClaimKind.HELD:
                task.pending = (
                    None  # who has the key goes on with it; this run without a claim was one too many
                )
                self._hold(task, now, out)
            case ClaimKind.STALE:
                self._finish(task, out, is_final=False)
            case ClaimKind.EXECUTED:
                self._finish(task, out, is_final=True)

    def _orphaned(self, task: ClaimedTask, answer: ClaimAnswer, out: Gathered) -> None:
        """Held by this very session, though nothing of it runs here: the answer to a claim was lost for good, so it never began. Nobody
        else would ever end it."""
        task.attempt, task.session = answer.attempt, answer.session
        if task.record.after >= answer.attempt:  # this record is the retry of that attempt
            self._fail(task, out)
        else:
            self._release(task, out)

    def _claimed_while_running(
        self, task: ClaimedTask, answer: ClaimAnswer, is_doubted: bool, out: Gathered
    ) -> None:
        """Of a run that began without a claim. GO and RECOVER make it a claimed one; it was at-least-once, so it may go on."""
        task.is_claiming = False
        match answer.kind:
            case ClaimKind.GO | ClaimKind.RECOVER:
                task.attempt, task.session = answer.attempt, answer.session
                if answer.session != self._session or not self._is_leased:
                    self._stop(task, out)
            case ClaimKind.HELD if answer.session == self._session and not is_doubted:
                task.attempt, task.session = answer.attempt, answer.session  # the answer before was lost
            case ClaimKind.HELD | ClaimKind.STALE | ClaimKind.EXECUTED:
                task.is_superseded = True
        pending, task.pending = task.pending, None
        match pending:
            case Ended():
                self._ended(pending, out)
            case bytes():
                self._succeeded(task.key, pending or None, out)

    def _adopted(self, event: Adopted, out: Gathered) -> None:
        for record in event.records:
            task = ClaimedTask(record=record, state=State.RUNNING)
            assert record.task.key not in self._tasks, (
                "a run without a claim beside a claimed task of its key"
            )
            self._tasks[task.key] = task
            if event.is_revoked:
                self._claim_running(task, out)

    def _claim_running(self, task: ClaimedTask, out: Gathered) -> None:
        task.is_gone = task.is_claiming = True
        out.claims.append((task.key, task.record.after))

    # -- what was stored, what the ledger answered

    def _kept(self, event: Kept, out: Gathered) -> None:
        for key in event.keys:
            task = self._tasks.get(key)
            match task.state if task is not None else None, task:
                case State.STORING_RESULT, ClaimedTask():
                    self._execute(task, Outcome.DONE, out)
                case State.STORING_DEAD, ClaimedTask():
                    self._execute(task, Outcome.DEAD, out)
                case State.STORING_RETRY, ClaimedTask() if task.attempt:
                    self._fail(task, out)
                case ((State.STORING_RETRY | State.STORING_COPY), ClaimedTask()):
                    self._finish(task, out, is_final=False)

    def _executed(self, event: Executed, out: Gathered) -> None:
        for key, answer in zip(event.keys, event.answers, strict=True):
            task = self._tasks.get(key)
            if task is None or task.state is not State.EXECUTING:
                continue
            if answer is not ExecuteAnswer.OVERTAKEN:
                self._finish(task, out, is_final=True)
                continue
            self.overtaken += 1
            if task.attempt:
                self._again(task, out)
            else:  # that session was closed; under the present one the mark of an at-least-once run is as good as any
                self._execute(task, task.outcome, out)

    def _failed(self, event: FailAnswered, out: Gathered) -> None:
        for key, own in zip(event.keys, event.owns, strict=True):
            task = self._tasks.get(key)
            if task is not None and task.state is State.FAILING:
                if own and task.attempt > task.record.after:
                    self._finish(task, out, is_final=False)
                else:
                    self._again(task, out)

    def _released(self, event: ReleaseAnswered, out: Gathered) -> None:
        for key in event.keys:
            task = self._tasks.get(key)
            if task is not None and task.state is State.RELEASING:
                self._again(task, out)

    def _doubted(self, event: DoubtAnswered, out: Gathered) -> None:
        for key in event.keys:
            task = self._tasks.get(key)
            if task is not None and task.state is State.DOUBTING:
                if key in event.doubted:
                    self._park(task, f"in doubt: {task.error}", out)
                else:
                    self._again(task, out)

    # -- what surrounds them

    def _revoked(self, place: Place, out: Gathered) -> None:
        for task in list(self._tasks.values()):
            if task.doubles:
                task.doubles = [each for each in task.doubles if each.place != place]
            if task.record.place == place:
                self._leave(task, out)
                if task.state is State.RUNNING and not (task.attempt or task.is_claiming):
                    self._claim_running(task, out)

    def _leave(self, task: ClaimedTask, out: Gathered) -> None:
        task.is_gone = True
        if task.state is State.HELD:
            self._unhold(task)
            self._drop(task, out)
        elif task.state is State.SETTLING:
            self._release(task, out)

    def _stopping(self, out: Gathered) -> None:
        self._is_stopping = True
        for task in list(self._tasks.values()):
            task.doubles = []
            self._leave(task, out)

    def _session_opened(self, session: int, out: Gathered) -> None:
        if session > self._session:
            self._session, self._is_leased = session, True
            self._stop_runs(out)

    def _lease(self, event: Lease, out: Gathered) -> None:
        self._is_leased = event.is_held
        self._stop_runs(out)

    def _stop_runs(self, out: Gathered) -> None:
        """Of claims that are lost, or may be at any moment."""
        for task in self._tasks.values():
            is_unsafe = task.session != self._session or not self._is_leased
            if is_unsafe and task.attempt and task.state is State.RUNNING:
                self._stop(task, out)

    def _tick(self, now: float, out: Gathered) -> None:
        for due, key in self._hours.pop(now):
            task = self._tasks.get(key)
            if task is None or task.due != due:
                continue
            if task.state is State.HELD:
                self._unhold(task)
                self._claim(task, out)
            elif task.state is State.SETTLING:
                if task.session == self._session:
                    self._check(task, out)
                else:
                    self._again(task, out)
