"""Runs of claimed tasks: what comes before one, and what follows from how it ended.

Under a claim of the present session there are three ways to begin: at once, after a check, or not at all. However a run ended, it runs no
more: that is known before anything here is called, so the next attempt may begin as soon as the ledger gives it out.
"""

from __future__ import annotations

from typing import assert_never

from cluster.claims.events import CheckAnswered
from cluster.claims.instructions import Gathered
from cluster.claims.moves import Moves
from cluster.claims.values import ClaimedTask, Ended, Guarantee, State
from cluster.claims.waits import CHECK_FOR_S, check_again_s
from cluster.flow_events import Ending
from consensus import Outcome
from executor.checks import Answer

LOST = "nobody could say how it ended"


class Runs(Moves):
    def _begin(self, task: ClaimedTask, now: float, out: Gathered) -> None:
        """The claim is this task's. `may_have_run`: an attempt before this one may have had its effect."""
        terms = task.record.terms
        may_have_run = task.is_recovered or task.record.after > 0
        match terms.guarantee:
            case Guarantee.AT_MOST_ONCE if may_have_run:
                self._execute(task, Outcome.ABANDONED, out)
            case Guarantee.EXACTLY_ONCE if may_have_run or terms.is_always_checked:
                self._settle(task, now, out)
            case _:
                self._run_unless_poison(task, out)

    def _run_unless_poison(self, task: ClaimedTask, out: Gathered) -> None:
        """A task that ends its node each time leaves no failure behind: its attempts tell."""
        runs = task.attempt - task.record.uncounted
        if task.is_recovered and runs > task.record.terms.attempts_max:
            self._die(task, f"attempt {task.attempt} is not begun: {LOST} of those before", out)
        else:
            self._run(task, out)

    def _succeeded(self, key: int, result: bytes | None, out: Gathered) -> None:
        task = self._tasks.get(key)
        if task is None or task.state is not State.RUNNING:
            return
        if task.is_claiming:
            task.pending = result or b""
        elif result is None:
            self._execute(task, Outcome.DONE, out)
        else:
            task.state = State.STORING_RESULT
            out.results.append((key, result))

    def _ended(self, ended: Ended, out: Gathered) -> None:
        task = self._tasks.get(ended.key)
        if task is None or task.state is not State.RUNNING:
            return
        if task.is_claiming:
            task.pending = ended
        elif not task.attempt:
            self._ended_unclaimed(task, ended, out)
        elif ended.ending is Ending.RETURNED:
            self._release(task, out)
        elif task.session != self._session:
            self._again(task, out)  # a closed session's: the claim is lost, and recovered by the next
        elif task.is_stopped or ended.ending is Ending.LOST:
            if task.record.terms.guarantee is Guarantee.AT_MOST_ONCE:
                self._execute(task, Outcome.ABANDONED, out)
            else:
                self._retry(task, 0.0, ended.error or LOST, out, is_counted=False)
        elif ended.ending is Ending.CANCELLED:
            self._execute(task, Outcome.CANCELLED, out)
        elif ended.retry_after_s is None or task.record.terms.guarantee is Guarantee.AT_MOST_ONCE:
            self._die(task, ended.error, out)
        else:
            self._retry(task, ended.retry_after_s, ended.error, out, is_counted=True)

    def _ended_unclaimed(self, task: ClaimedTask, ended: Ended, out: Gathered) -> None:
        if task.is_superseded:  # who has the key now has its record too
            self._drop(task, out)
            return
        match ended.ending:
            case Ending.RETURNED | Ending.LOST:
                self._again(task, out)
            case Ending.CANCELLED:
                self._execute(task, Outcome.CANCELLED, out)
            case Ending.FAILED | Ending.DIED if ended.retry_after_s is None:
                self._die(task, ended.error, out)
            case Ending.FAILED | Ending.DIED:
                task.pending = ended  # claimed first: the ledger may know of attempts that this node does not
                self._claim(task, out)
            case _:
                assert_never(ended.ending)

    def _checked(self, event: CheckAnswered, now: float, out: Gathered) -> None:
        task = self._tasks.get(event.key)
        if task is None or task.state is not State.CHECKING:
            return
        match event.answer:
            case Answer.DONE:
                self._execute(task, Outcome.DONE, out)
            case _ if task.session != self._session:
                self._again(task, out)
            case _ if self._leaves(task):
                self._release(task, out)
            case Answer.NOT_DONE if not self._is_leased:
                self._release(task, out)
            case Answer.NOT_DONE:
                self._run_unless_poison(task, out)
            case Answer.UNKNOWN if now - task.asked_since >= CHECK_FOR_S:
                self._doubt(task, event.why or "its check could not tell", out)
            case Answer.UNKNOWN:
                self._wait(task, State.SETTLING, now + check_again_s(task.asked))
                task.asked += 1
            case _:
                assert_never(event.answer)

    def _stop(self, task: ClaimedTask, out: Gathered) -> None:
        if not (task.is_stopped or task.pending is not None):
            task.is_stopped = True
            out.stops.append(task.key)
