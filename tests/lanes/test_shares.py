"""Handlers that flood one lane together get equal seconds of work, whatever their tasks cost and however many they have."""

from __future__ import annotations

import pytest

from executor.lanes.instructions import Instruction
from executor.lanes.lane_queue import LaneQueue
from executor.task import Lane, Task
from tests.lanes.mutants import instead
from tests.lanes.plan import Plan, Stream, fixed, kind
from tests.lanes.runner import Run, SimulatedRunner
from tests.lanes.world import Judges, World

pytestmark = [pytest.mark.simulation, pytest.mark.timeout(120)]

UNTIL_S = 8.0


class Shares(Judges):
    """Seconds of work of each handler while all of them wait."""

    def __init__(self) -> None:
        self.worked_s: dict[str, float] = {}

    def ended(self, world: World, runner: SimulatedRunner, run: Run, task: Task | None) -> None:
        if 1.0 < world.now < UNTIL_S:
            self.worked_s[run.task.handler] = self.worked_s.get(run.task.handler, 0.0) + run.wall_s

    def instructed(self, world: World, instruction: Instruction) -> None:
        world.scheduler.check_invariants()

    def turned(self, world: World) -> None:
        world.is_over = world.now > UNTIL_S


def shares() -> dict[str, float]:
    sizes_s = {"small": 0.002, "middle": 0.02, "large": 0.15}
    plan = Plan(
        seed=1,
        name="shares",
        workers=2,
        cores=2,
        kinds={name: kind(name, fixed(size_s), lane=Lane.CPU_SHORT) for name, size_s in sizes_s.items()},
        streams=[
            Stream(handler=name, rate=0.0, burst=int(40 / size_s), start_s=0.1, end_s=1.0)
            for name, size_s in sizes_s.items()
        ],
    )
    judge = Shares()
    World(plan, judge).run()
    total_s = sum(judge.worked_s.values())
    return {name: worked_s / total_s for name, worked_s in judge.worked_s.items()}


def test_three_floods_share_the_places_in_seconds_of_work() -> None:
    for name, share in shares().items():
        assert 0.28 < share < 0.39, f"{name} got {share:.0%}"


def test_without_charges_the_shares_are_not_equal() -> None:
    with instead(LaneQueue, "charge", lambda self, handler, work_s: None):
        assert max(shares().values()) > 0.5
