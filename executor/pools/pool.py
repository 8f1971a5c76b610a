"""All runners of one form: how many places there are, who occupies them, and which runner is next.

    slots (W)    places that are always there        reserve (R)   of these, kept free of long work
    spares       places added while more long work runs than W - R: tasks that turned out long. So R is whole again at once, and each
                 spare goes when its cause does, because the count follows from what runs and is not booked apart

Processes have one place each; their number of runners exceeds the number of places by one, which is the warm spare.
"""

from __future__ import annotations

from collections.abc import Iterable

from executor.lanes.in_flight import Batch, Runner, RunnerState
from executor.lanes.lane_queue import LaneQueue
from executor.pools.reserve import Arrivals
from executor.task import Form, Lane

SPARES_MIN = 4  # so many places may be added even on a small machine: they mostly wait
UNKNOWN_SHARE = 10  # of what little is known of, one place in ten at most within the reserve
AHEAD_PLACES = 2  # a place may have one brief batch running and one behind it


class Pool:
    """`busy`, `running_long`, `running_unknown` count occupied places, not tasks."""

    def __init__(self, form: Form, *, each: int, cores: int) -> None:
        """`each`: places in one runner; processes take one, so there `slots` is set apart."""
        self.form = form
        self.each = each
        self.processes = 1
        self.slots = each
        self.reserve = 1
        self.spares_max = max(SPARES_MIN, cores)
        self.no_spares = False
        self.squeezed = 0
        self.is_wanted = form is Form.PROCESS
        self.runners: dict[int, Runner] = {}
        self.lanes: dict[Lane, LaneQueue] = {lane: LaneQueue(lane) for lane in Lane}
        self.short_lanes = [queue for lane, queue in self.lanes.items() if not lane.is_long]
        self.long_lanes = [queue for lane, queue in self.lanes.items() if lane.is_long]
        self.busy = 0
        self.running_long = 0
        self.running_unknown = 0
        self.arrivals = Arrivals()
        self.early_deaths = 0
        self.start_at_s = 0.0
        self.exchange_at_s = 0.0
        self.surplus_since_s: float | None = None

    @property
    def spares(self) -> int:
        """Places added now."""
        if self.no_spares:
            return 0
        return min(max(0, self.running_long - (self.slots - self.reserve)), self.spares_max)

    @property
    def free(self) -> int:
        """Places that may still be occupied, if a runner has one."""
        return self.slots + self.spares - self.busy

    @property
    def long_slots(self) -> int:
        """How many long tasks may run at once."""
        return max(1, self.slots - self.reserve - self.squeezed)

    def may_start_long(self) -> bool:
        return self.running_long < self.long_slots

    def may_start_unknown(self) -> bool:
        """Outside of the reserve, as what is unknown may be long."""
        return self.running_long + self.running_unknown < self.long_slots

    def may_probe(self) -> bool:
        """Within the reserve too, a few: else what is unknown would wait for long work to end."""
        probes = self.running_unknown - max(0, self.long_slots - self.running_long)
        return probes < max(1, self.slots // UNKNOWN_SHARE)

    def has_place(self) -> bool:
        for runner in self.runners.values():  # noqa: SIM110 a loop: any() with a generator takes three times as long
            if runner.state is RunnerState.READY and len(runner.batches) < runner.slots:
                return True
        return False

    def place(self, *, is_long: bool) -> Runner | None:
        """A ready runner with a free place. Long work goes where long work was, short work where it was not: niceness has no way back."""
        best: Runner | None = None
        best_key = (False, 0)
        for runner in self.runners.values():
            if runner.state is RunnerState.READY:
                free = runner.slots - len(runner.batches)
                if free > 0:
                    key = (runner.is_long == is_long, free)
                    if best is None or key > best_key:
                        best, best_key = runner, key
        return best

    def place_ahead(self) -> Runner | None:
        """A ready runner with brief batches only that has room for one more behind them."""
        best: Runner | None = None
        for runner in self.runners.values():
            if runner.state is RunnerState.READY and runner.not_brief == 0:
                count = len(runner.batches)
                if 0 < count < AHEAD_PLACES * runner.slots and (
                    best is None or count * best.slots < len(best.batches) * runner.slots
                ):
                    best = runner
        return best

    def occupy(self, runner: Runner, batch: Batch) -> None:
        if len(runner.batches) < runner.slots:
            self.busy += 1
        runner.add(batch)
        self.running_long += batch.is_long
        self.running_unknown += batch.is_unknown

    def vacate(self, runner: Runner, batch: Batch) -> None:
        if len(runner.batches) <= runner.slots:
            self.busy -= 1
        runner.remove(batch)
        self.running_long -= batch.is_long
        self.running_unknown -= batch.is_unknown

    def turn_long(self, batch: Batch) -> None:
        """It was taken for short and is not."""
        self.running_unknown -= batch.is_unknown
        batch.is_unknown = False
        batch.is_long = True
        self.running_long += 1

    def resize(self, runner: Runner, slots: int) -> None:
        self.busy -= runner.busy
        runner.slots = slots
        self.busy += runner.busy

    def alive(self) -> list[Runner]:
        return [runner for runner in self.runners.values() if runner.is_alive]

    def ready(self) -> Iterable[Runner]:
        return (runner for runner in self.runners.values() if runner.state is RunnerState.READY)

    @property
    def has_queued(self) -> bool:
        return any(queue.queued for queue in self.lanes.values())

    def check_invariants(self) -> None:
        """For tests: the counters are what they count."""
        batches = [batch for runner in self.runners.values() for batch in runner.batches]
        assert self.busy == sum(runner.busy for runner in self.runners.values()), "busy"
        assert self.running_long == sum(batch.is_long for batch in batches), "running_long"
        assert self.running_unknown == sum(batch.is_unknown for batch in batches), "running_unknown"
