"""Rules switched off one by one: a judge that does not notice is no judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import consensus.ledger.claims as ledger_claims
from cluster.claims.claim_flow import ClaimFlow
from cluster.claims.events import Executed, FailAnswered, Kept
from cluster.claims.instructions import Gathered
from cluster.claims.moves import Moves
from cluster.claims.runs import Runs
from cluster.claims.values import ClaimedTask, State
from consensus import ClaimKind
from tests.claims.runners import Runners
from tests.claims.world import World

Mutant = Callable[[], AbstractContextManager[None]]


@contextmanager
def _instead(owner: Any, name: str, other: Any) -> Iterator[None]:
    before = owner.__dict__[name]
    setattr(owner, name, other)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _mutant(owner: Any, name: str, other: Any) -> Mutant:
    return lambda: _instead(owner, name, other)


_retry, _fail, _execute, _finish = Moves._retry, Moves._fail, Moves._execute, Moves._finish
_judge, _settle, _kept = ledger_claims._judge, Moves._settle, ClaimFlow._kept
_begin_world = World._begin


@contextmanager
def _fail_first() -> Iterator[None]:
    """`fail`, then the retry record, then the offset."""
    retries: dict[tuple[int, int], Callable[[Gathered], None]] = {}

    def retry(self: ClaimFlow, task: ClaimedTask, *rest: Any, **options: Any) -> None:
        if task.attempt:
            retries[id(self), task.key] = lambda out: _retry(self, task, *rest[:-1], out, **options)
            self._fail(task, rest[-1])
        else:
            _retry(self, task, *rest, **options)

    def failed(self: ClaimFlow, event: FailAnswered, out: Gathered) -> None:
        for key in event.keys:
            retries.pop((id(self), key))(out)

    def kept(self: ClaimFlow, event: Kept, out: Gathered) -> None:
        for key in event.keys:
            task = self._tasks.get(key)
            if task is not None and task.state is State.STORING_RETRY:
                self._finish(task, out, is_final=False)
            else:
                _kept(self, Kept(keys=[key]), out)

    with (
        _instead(Moves, "_retry", retry),
        _instead(ClaimFlow, "_failed", failed),
        _instead(ClaimFlow, "_kept", kept),
    ):
        yield


def _recover_from_open(entry: Any, after: int, session_open: bool) -> ClaimKind:
    return _judge(entry, after, False)


def _unchecked(self: ClaimFlow, task: ClaimedTask, now: float, out: Gathered) -> None:
    self._run(task, out)


def _complete_before_the_mark(self: ClaimFlow, task: ClaimedTask, outcome: str, out: Gathered) -> None:
    _execute(self, task, outcome, out)
    self._complete(task.record, out)


def _complete_overtaken(self: ClaimFlow, event: Executed, out: Gathered) -> None:
    for key in event.keys:
        task = self._tasks.get(key)
        if task is not None and task.state is State.EXECUTING:
            _finish(self, task, out, is_final=True)


def _complete_unowned_fail(self: ClaimFlow, event: FailAnswered, out: Gathered) -> None:
    for key in event.keys:
        task = self._tasks.get(key)
        if task is not None and task.state is State.FAILING:
            _finish(self, task, out, is_final=False)


def _doubles_end_with_the_first(self: ClaimFlow, task: ClaimedTask, out: Gathered, *, is_final: bool) -> None:
    _finish(self, task, out, is_final=True)


def _complete_with_the_retry(
    self: ClaimFlow, task: ClaimedTask, after_s: float, error: str, out: Gathered, **options: Any
) -> None:
    _retry(self, task, after_s, error, out, **options)
    self._complete(task.record, out)


@contextmanager
def _lost_claims_run_on() -> Iterator[None]:
    """Both locks are off: the core stops nothing, and the runners do not end themselves."""

    def nothing(self: Any, *arguments: Any) -> None:
        pass

    with _instead(Runs, "_stop", nothing), _instead(Runners, "lease_ends", nothing):
        yield


def _begin_late(self: Runners, run: Any) -> bool:
    return True


def _begin_under_any_session(self: Runners, run: Any) -> bool:
    return self.world.now < self.life.lease_until


def _run_on_without_a_word(self: Runners) -> None:
    """Runners live as long as they like."""


def _same_attempt_again(
    self: ClaimFlow, task: ClaimedTask, *rest: Any, is_counted: bool, **options: Any
) -> None:
    if is_counted:
        _retry(self, task, *rest, is_counted=is_counted, **options)
    else:
        self._run(task, rest[-1])


def _release_what_ran(
    self: ClaimFlow, task: ClaimedTask, *rest: Any, is_counted: bool, **options: Any
) -> None:
    if is_counted:
        _retry(self, task, *rest, is_counted=is_counted, **options)
    else:
        self._release(task, rest[-1])


def _copy_unmarked(self: ClaimFlow, task: ClaimedTask, why: str, out: Gathered) -> None:
    _finish(self, task, out, is_final=False)


def _claims_of_closed_sessions(self: ClaimFlow, session: int, out: Gathered) -> None:
    """It never hears that its session was closed."""
    if not self._session:
        self._session = session


def _begin_with_former_owners(self: World) -> None:
    self.completes_for_others = True
    _begin_world(self)


MUTANTS: dict[str, Mutant] = {
    "fail-before-the-retry": _fail_first,
    "recovery-from-an-open-session": _mutant(ledger_claims, "_judge", _recover_from_open),
    "skipped-check": _mutant(Moves, "_settle", _unchecked),
    "offset-before-the-mark": _mutant(Moves, "_execute", _complete_before_the_mark),
    "offset-before-the-retry": _mutant(Moves, "_retry", _complete_with_the_retry),
    "former-owner-completes": _mutant(World, "_begin", _begin_with_former_owners),
    "overtaken-completes": _mutant(ClaimFlow, "_executed", _complete_overtaken),
    "unowned-fail-completes": _mutant(ClaimFlow, "_failed", _complete_unowned_fail),
    "retry-ends-with-the-first": _mutant(Moves, "_finish", _doubles_end_with_the_first),
    "lost-claims-run-on": _lost_claims_run_on,
    "begins-after-the-lease": _mutant(Runners, "may_begin", _begin_late),
    "begins-under-the-next-session": _mutant(Runners, "may_begin", _begin_under_any_session),
    "runners-outlive-the-lease": _mutant(Runners, "lease_ends", _run_on_without_a_word),
    "lost-runs-again": _mutant(Moves, "_retry", _same_attempt_again),
    "lost-is-released": _mutant(Moves, "_retry", _release_what_ran),
    "in-doubt-without-a-copy": _mutant(Moves, "_park", _copy_unmarked),
    "claims-of-closed-sessions": _mutant(ClaimFlow, "_session_opened", _claims_of_closed_sessions),
}
