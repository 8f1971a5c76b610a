"""What goes wrong, or is changed by the operator, while a workload runs."""

from __future__ import annotations

from executor.task import Lane, Limits, Status, Task
from tests.lanes.plan import Trouble
from tests.lanes.world import World

BACK_OFF_S = 11.0  # after early deaths the next start may wait so long


def cause(world: World, trouble: Trouble) -> None:
    """Begins it now; it ends by itself."""
    world.say(f"trouble: {trouble}")
    until_s = world.now + trouble.for_s
    match trouble.what:
        case "memory":
            world.memory_share = 0.85
            world.after(trouble.for_s, lambda: _memory_again(world))
        case "early deaths":
            world.early_deaths_until_s = until_s
            world.disturbed_s = max(world.disturbed_s, until_s + BACK_OFF_S)
            _kill_one(world)
        case "silent":
            world.silent_until_s = until_s
            _kill_one(world)
        case "kills":
            _kill_some(world, until_s)
        case "cancels":
            _cancel_some(world, until_s)
        case "take":
            for task in world.scheduler.take([trouble.name], [Lane.CPU_LONG], world.now):
                world.end(task, Status.RETURNED)
        case "pause":
            _tune(world, trouble, Limits(paused_handlers=frozenset([trouble.name])))
        case "limit":
            _tune(world, trouble, Limits(handlers={trouble.name: trouble.number}))
        case "pause lane":
            lane = list(Lane)[trouble.number % 4]
            _tune(world, trouble, Limits(paused_lanes=frozenset([lane]), lanes={lane: trouble.number}))
        case "workers":
            _tune(world, trouble, Limits(workers=trouble.number, loop_tasks_max=10, io_threads_max=5))
        case _:
            raise ValueError(trouble.what)


def _memory_again(world: World) -> None:
    world.memory_share = 0.3


def _tune(world: World, trouble: Trouble, limits: Limits) -> None:
    world.tune(limits)
    world.after(trouble.for_s, lambda: world.tune(Limits()))


def _kill_one(world: World) -> None:
    for runner in list(world.runners.values())[:1]:
        world.die(runner)


def _kill_some(world: World, until_s: float) -> None:
    if world.now < until_s:
        alive = list(world.runners.values())
        if alive:
            world.die(world.rng.choice(alive))
        world.after(world.rng.expovariate(4.0), lambda: _kill_some(world, until_s))


def _cancel_some(world: World, until_s: float) -> None:
    if world.now < until_s:
        if world.open:
            match world.scheduler.cancel(world.rng.choice(list(world.open)), world.now):
                case Task() as task:
                    world.end(task, Status.CANCELLED)
                case (int(), int()) as where:
                    assert world.scheduler.task(where[1]) is not None
                case None:
                    pass
        world.after(world.rng.expovariate(10.0), lambda: _cancel_some(world, until_s))
