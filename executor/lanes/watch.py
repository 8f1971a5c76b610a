"""Looks at what runs: tasks that were taken for short and are not, tasks past every limit, tasks stuck behind others.

A short task that runs longer than twice the cut-off counts as long from then on (re-badged): the pool gets a place more if the reserve
needs it, its runner is niced if it goes on, and what waits behind it there is taken back. What waits behind a batch that was meant
to take 2 ms is taken back much earlier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from executor.handlers.declaration import Handler
from executor.labels.labels import Labels
from executor.lanes.diary import Diary
from executor.lanes.in_flight import Batch, Runner, RunnerState
from executor.lanes.instructions import Instruction, Kill, Recall, Renice
from executor.pools.pool import Pool
from executor.task import Form, Label, Status

OVERRUN_CUTOFFS = 2.0
NICE_AFTER_S = 1.0  # niceness has no way back: a process is not spent on a task of half a second
STUCK_S = 0.04  # twenty times what a batch should take: what waits behind it goes elsewhere
HARD_AFTER_S = 5.0  # after the soft time-out, which the handler can delay or swallow


class Watch:
    """`looked` answers with the labels that changed by what it saw."""

    def __init__(self, labels: Labels, handlers: Mapping[str, Handler], diary: Diary) -> None:
        self._labels = labels
        self._handlers = handlers
        self._diary = diary

    def looked(
        self,
        pool: Pool,
        runner: Runner,
        running: Sequence[tuple[int, float]],
        now: float,
        out: list[Instruction],
    ) -> list[Label]:
        changes: list[Label] = []
        stuck: set[int] = set()
        for number, since_s in running:
            batch = runner.find(number)
            if batch is None:
                continue
            running_s = now - since_s
            cutoff_s = self._labels.cutoff_s(batch.lane.resource)
            if not batch.is_long and running_s > OVERRUN_CUTOFFS * cutoff_s:
                changes += self._overran(pool, runner, batch, running_s, now, out)
            if (
                batch.is_long
                and not runner.is_long
                and running_s > NICE_AFTER_S
                and pool.form is Form.PROCESS
            ):
                runner.is_long = True
                out.append(Renice(runner=runner.number))
            if running_s > STUCK_S:
                stuck.add(number)
            if pool.form is Form.PROCESS:
                self._hard(runner, batch, number, running_s, out)
        if stuck and len(stuck) >= runner.slots and runner.state is not RunnerState.DOOMED:
            self._recall(runner, stuck, out)
        return changes

    def _overran(
        self, pool: Pool, runner: Runner, batch: Batch, running_s: float, now: float, out: list[Instruction]
    ) -> list[Label]:
        queue = batch.queue
        pool.turn_long(batch)
        runner.slow(batch)
        pool.lanes[batch.lane].charge(queue.handler, running_s - batch.estimate_s)
        batch.estimate_s = running_s
        self._diary.note(
            now,
            f"handler {queue.handler}",
            "a task of it counts as long",
            f"it runs for {running_s * 1000:.0f} ms in runner {runner.number}; {pool.running_long} long ones run, "
            f"{pool.spares} spares",
        )
        return self._labels.overran(queue.handler, queue.kind, running_s, now)

    def _hard(
        self, runner: Runner, batch: Batch, number: int, running_s: float, out: list[Instruction]
    ) -> None:
        declared = self._handlers.get(batch.queue.handler)
        timeout_s = None if declared is None else declared.timeout_s
        if timeout_s is None or runner.state is RunnerState.DOOMED:
            return
        if running_s > timeout_s + HARD_AFTER_S:
            runner.state = RunnerState.DOOMED
            why = (
                f"handler {batch.queue.handler!r} ran for {running_s:.1f} s, {HARD_AFTER_S:g} s longer than its "
                f"time-out of {timeout_s:g} s, which it ignored; its process was killed"
            )
            out.append(Kill(runner=runner.number, number=number, status=Status.TIMED_OUT, why=why))

    @staticmethod
    def _recall(runner: Runner, stuck: set[int], out: list[Instruction]) -> None:
        """All places are taken by tasks that take long: what is behind them need not wait for that."""
        numbers: list[int] = []
        for batch in runner.batches:
            if any(number in stuck for number in batch.open_numbers()):
                runner.slow(batch)
            if not batch.is_recalled:
                behind = [number for number in batch.open_numbers() if number not in stuck]
                if behind:
                    batch.is_recalled = True
                    numbers += behind
        if numbers:
            out.append(Recall(runner=runner.number, numbers=numbers))
