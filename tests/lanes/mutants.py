"""Rules switched off one by one: a judge that does not notice is no judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from executor.lanes.handler_queue import HandlerQueue
from executor.lanes.lane_queue import LaneQueue
from executor.lanes.scheduler import Scheduler
from executor.lanes.sending import Sending
from executor.lanes.waiting import Waiting
from executor.lanes.watch import Watch
from executor.pools.handler_use import HandlerUse
from executor.pools.pool import Pool
from executor.pools.staffing import Staffing
from executor.pools.upkeep import Upkeep

Mutant = Callable[[], AbstractContextManager[None]]


@contextmanager
def instead(owner: type, name: str, other: Any) -> Iterator[None]:
    before = owner.__dict__[name]
    setattr(owner, name, other)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _mutant(owner: type, name: str, other: Any) -> Mutant:
    return lambda: instead(owner, name, other)


def _head_without_age(self: HandlerQueue, now: float, age_s: float) -> tuple[int, float, int]:
    return min((level, chunks[0].queued_s, level) for level, chunks in enumerate(self.levels) if chunks)


def _ahead_of_anything(self: Pool) -> Any:
    for runner in self.ready():
        if 0 < len(runner.batches) < 2 * runner.slots:
            return runner
    return None


def _any_next(self: Sending, pool: Pool, now: float) -> Any:
    return self._best_short(pool, now)


def _short_then_long(self: Sending, pool: Pool, now: float) -> Any:
    long = self._best_long(pool, now) if pool.may_start_long() else None
    return self._best_short(pool, now) or long


def _forget_returned(self: Waiting, *args: Any, **options: Any) -> None:
    return None


def _only_quick_places(self: Pool) -> bool:
    return any(len(runner.batches) < runner.slots and not runner.is_long for runner in self.ready())


def _overran_untold(self: Watch, pool: Pool, runner: Any, batch: Any, *rest: Any) -> list[Any]:
    batch.is_long = True
    pool.running_long += 1
    pool.running_unknown -= batch.is_unknown
    batch.is_unknown = False
    return []


def _took_without_count(self: LaneQueue, queue: HandlerQueue, count: int, *, is_empty: bool) -> None:
    self.queued -= count
    if is_empty and count:
        self._active[queue.handler] -= 1


def _tick_without_hello_limit(self: Upkeep, now: float, out: Any) -> None:
    self.see_handlers()
    for pool in self.pools.values():
        if pool.arrivals.turn(now):
            self._reserve(pool, now)
        self._staffing.shed(pool, now, out)


MUTANTS: dict[str, Mutant] = {
    "no reserve": _mutant(Pool, "may_start_long", lambda self: True),
    "no re-badging": _mutant(Watch, "_overran", lambda self, *rest: []),
    "overruns teach nothing": _mutant(Watch, "_overran", _overran_untold),
    "no spares": _mutant(Pool, "spares", property(lambda self: 0)),
    "spares stay": _mutant(Staffing, "shed", lambda self, *rest: None),
    "no ageing": _mutant(HandlerQueue, "head", _head_without_age),
    "long work only when nothing short waits": _mutant(Sending, "_next", _short_then_long),
    "returned tasks are forgotten": _mutant(Waiting, "put_back", _forget_returned),
    "no limits": _mutant(HandlerUse, "free", lambda self, queue: 64),
    "lane limits do not hold": _mutant(Waiting, "lane_free", lambda self, lane: 64),
    "blocked for ever": _mutant(Waiting, "release", lambda self, use, now: None),
    "memory is not guarded": _mutant(Upkeep, "gauges", lambda self, *rest: None),
    "no hard time-outs": _mutant(Watch, "_hard", lambda self, *rest: None),
    "unknown is not bounded": _mutant(Pool, "may_start_unknown", lambda self: True),
    "unknown waits for known": _mutant(Pool, "may_start_unknown", lambda self: False),
    "sent behind anything": _mutant(Pool, "place_ahead", _ahead_of_anything),
    "labels move no queue": _mutant(Waiting, "relabel", lambda self, *rest: None),
    "niced runners idle": _mutant(Pool, "has_place", _only_quick_places),
    "the silent are awaited": _mutant(Upkeep, "tick", _tick_without_hello_limit),
    "nothing is recalled": _mutant(Watch, "_recall", staticmethod(lambda *rest: None)),
    "dead runners are not replaced": _mutant(
        Scheduler, "gone", lambda self, runner, now, **rest: self._runners.pop(runner, None)
    ),
}
