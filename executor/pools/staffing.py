"""Which runners to start and which to end, so that places have processes behind them.

Processes: one for each place and spare, and one more that is warm; of those that are not niced, one for each reserved place and one more,
because a niced one cannot become quick again. Niced ones that are too many end as soon as they are idle, others after a while. Threads
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
        if pool.form is Form.PROCESS:
            quick = sum(not runner.is_long for runner in alive)
            missing = max(self._wanted(pool) - len(alive), pool.reserve + 1 - quick)
            missing = min(
                missing, pool.slots + pool.spares_max + 1 - len(alive)
            )  # whatever turns out long, this many and no more
        else:
            missing = pool.processes - len(alive)
        if pool.early_deaths:
            missing = min(missing, 1)
        for _ in range(missing):
            number = self._next_number()
            runner = Runner(number, pool.form, slots=pool.each, is_long=False, started_s=now)
            pool.runners[number] = runner
            out.append(Start(runner=number, form=pool.form, is_long=False, slots=pool.each))

    def shed(self, pool: Pool, now: float, out: list[Instruction]) -> None:
        """Ends one idle runner when there has been one too many for a while; niced processes that are too many at once, as each task that
        turns out long leaves one behind."""
        wanted = self._wanted(pool) if pool.form is Form.PROCESS else pool.processes
        if pool.form is Form.PROCESS:
            niced = [each for each in pool.ready() if each.is_long and not each.batches]
            for runner in niced[: max(0, len(pool.alive()) - wanted)]:
                self.drain(
                    runner, f"niced and idle, {len(pool.alive())} processes, {wanted} needed", now, out
                )
        alive = pool.alive()
        quick = sum(not runner.is_long for runner in alive)
        idle = [
            runner
            for runner in alive
            if runner.state is RunnerState.READY
            and not runner.batches
            and (pool.form is not Form.PROCESS or runner.is_long or quick > pool.reserve + 1)
        ]
        if len(alive) <= wanted or not idle:
            pool.surplus_since_s = None
            return
        if pool.surplus_since_s is None:
            pool.surplus_since_s = now
        if now - pool.surplus_since_s >= SURPLUS_S:
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
        return pool.slots + pool.spares + 1
