"""Which runners to start and which to end, so that places have processes behind them.

Processes: one for each place and spare, and one more that is warm. A niced one cannot become quick again: when fewer quick ones are left
than the reserve and a warm one, an idle niced one is exchanged, one each 5 s. What is too many for a while ends, niced ones first. Threads
and event loops: as many processes as the pool wants, from the first handler of that form on.
"""

from __future__ import annotations

from collections.abc import Callable

from executor.lanes.diary import Diary
from executor.lanes.in_flight import Runner, RunnerState
from executor.lanes.instructions import Drain, Instruction, Start
from executor.pools.pool import Pool
from executor.task import Form

BACK_OFF_S = (0.1, 10.0)  # after deaths before hello, doubled each time
SHED_EVERY_S = 1.0
EXCHANGE_EVERY_S = 5.0
SURPLUS_S = 10.0  # so long a process more than needed stays: starting one costs 10 ms of a core


class Staffing:
    """`next_number` numbers runners. Ends and their reasons go into the diary; starts follow from them."""

    def __init__(self, next_number: Callable[[], int], diary: Diary) -> None:
        self._next_number = next_number
        self._diary = diary

    def staff(self, pool: Pool, now: float, out: list[Instruction]) -> None:
        """Starts what is missing."""
        if not pool.is_wanted or now < pool.start_at_s:
            return
        alive = pool.alive()
        missing = self._wanted(pool) - len(alive)
        if pool.early_deaths:
            missing = min(missing, 1)
        elif missing <= 0 and pool.form is Form.PROCESS and self._exchange(pool, alive, now, out):
            missing = 1
        for _ in range(missing):
            number = self._next_number()
            runner = Runner(number, pool.form, slots=pool.each, is_long=False, started_s=now)
            pool.runners[number] = runner
            out.append(Start(runner=number, form=pool.form, is_long=False, slots=pool.each))

    def _exchange(self, pool: Pool, alive: list[Runner], now: float, out: list[Instruction]) -> bool:
        """Ends a niced runner that is idle, when too few quick ones are left: now and then, because a start costs an import."""
        niced = [runner for runner in _idle(alive) if runner.is_long]
        quick = sum(not runner.is_long for runner in alive)
        if quick > pool.reserve or not niced or now < pool.exchange_at_s:
            return False
        pool.exchange_at_s = now + EXCHANGE_EVERY_S
        self.drain(niced[0], "it is niced, and short work needs one that is not", now, out)
        return True

    def shed(self, pool: Pool, now: float, out: list[Instruction]) -> None:
        """Ends one idle runner when there has been one too many for a while."""
        alive, wanted = pool.alive(), self._wanted(pool)
        if len(alive) <= wanted:
            pool.surplus_since_s = None
            return
        if pool.surplus_since_s is None:
            pool.surplus_since_s = now
        idle = _idle(alive)
        if idle and now - pool.surplus_since_s >= SURPLUS_S:
            runner = max(idle, key=lambda each: (each.is_long, each.number))
            pool.surplus_since_s = now - SURPLUS_S + SHED_EVERY_S
            self.drain(runner, f"{len(alive)} {pool.form} runners, {wanted} needed", now, out)

    def drain(self, runner: Runner, why: str, now: float, out: list[Instruction]) -> None:
        if runner.is_alive:
            runner.state = RunnerState.DRAINING
            self._diary.note(
                now, f"runner {runner.number} ({runner.form})", "finishes what it has and ends", why
            )
            out.append(Drain(runner=runner.number, why=why))

    def gone(self, pool: Pool, runner: Runner, now: float, *, early: bool) -> float | None:
        """Forgets the runner; how long the next start has to wait, if it has to."""
        del pool.runners[runner.number]
        if not early:
            return None
        wait_s: float = min(BACK_OFF_S[0] * 2 ** min(pool.early_deaths, 10), BACK_OFF_S[1])
        pool.early_deaths += 1
        pool.start_at_s = now + wait_s
        return wait_s

    @staticmethod
    def _wanted(pool: Pool) -> int:
        """At most W and the most spares and a warm one, whatever turns out long."""
        return pool.slots + pool.spares + 1 if pool.form is Form.PROCESS else pool.processes


def _idle(alive: list[Runner]) -> list[Runner]:
    return [runner for runner in alive if runner.state is RunnerState.READY and not runner.batches]
