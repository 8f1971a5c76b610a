"""The table of the executor's design: p99 waits of short and long work at load 0.85 on 8 places, rule by rule.

`python -m tests.lanes.table` prints it. Each column adds one rule to the one before; without labels at all it is one queue.
"""

from __future__ import annotations

import random
import sys
from contextlib import ExitStack
from dataclasses import dataclass

from executor.lanes.instructions import Instruction, Send
from executor.task import Lane, Task
from tests.lanes.mutants import MUTANTS
from tests.lanes.plan import Duration, Kind, Plan, Stream, either, fixed, kind
from tests.lanes.world import Judges, World

PLACES = 8
LOAD = 0.85
SHORT_S, LONG_S, LONG_SHARE = 0.005, 5.0, 0.05
MISLABELLED = 0.02
PARETO, PARETO_MIN_S, PARETO_MAX_S, PARETO_CUT_S = 1.1, 0.005, 60.0, 0.1


class Stopwatch(Judges):
    """When each task was offered and when it was sent. Nothing is sent ahead here: no task is brief."""

    def __init__(self) -> None:
        self._offered_s: dict[int, float] = {}
        self.waits_s: dict[str, list[float]] = {}
        self.reserves: list[int] = []

    def offered(self, world: World, tasks: list[Task]) -> None:
        for task in tasks:
            self._offered_s.setdefault(task.seq, world.now)

    def instructed(self, world: World, instruction: Instruction) -> None:
        if isinstance(instruction, Send):
            for task in instruction.tasks:
                waited_s = world.now - self._offered_s.pop(task.seq, world.now)
                self.waits_s.setdefault(task.handler, []).append(waited_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    short_p99_s: float
    long_p99_s: float


def bimodal(column: str, *, seconds: float, seed: int = 1) -> Waits:
    """95 % of 5 ms, 5 % of 5 s."""
    rate = LOAD * PLACES / ((1 - LONG_SHARE) * SHORT_S + LONG_SHARE * LONG_S)
    if column in ("one queue", "no labels, re-badged, 8 spares"):
        kinds = [kind("mixed", either(LONG_SHARE, fixed(LONG_S), fixed(SHORT_S)), lane=Lane.CPU_SHORT)]
        streams = [_stream("mixed", rate, seconds)]
    else:
        wrong = 0.0 if column == "reserve" else MISLABELLED
        kinds = [
            kind("short", fixed(SHORT_S), lane=Lane.CPU_SHORT),
            kind("long", fixed(LONG_S), lane=Lane.CPU_LONG),
            kind("wrong", fixed(LONG_S), lane=Lane.CPU_SHORT),
        ]
        streams = [
            _stream("short", rate * (1 - LONG_SHARE), seconds),
            _stream("long", rate * LONG_SHARE * (1 - wrong), seconds),
            _stream("wrong", rate * LONG_SHARE * wrong, seconds),
        ]
    return _play(column, kinds, streams, seconds=seconds, seed=seed)


def pareto(column: str, *, seconds: float, seed: int = 1) -> Waits:
    """Sizes by Pareto's law with exponent 1.1; short is what takes up to 100 ms."""
    rng = random.Random(99)
    sizes = [min(PARETO_MIN_S * rng.paretovariate(PARETO), PARETO_MAX_S) for _ in range(200_000)]
    small = [size for size in sizes if size <= PARETO_CUT_S]
    large = [size for size in sizes if size > PARETO_CUT_S]
    rate = LOAD * PLACES / (sum(sizes) / len(sizes))
    if column == "one queue":
        kinds = [kind("mixed", _drawn(sizes), lane=Lane.CPU_SHORT)]
        return _play(column, kinds, [_stream("mixed", rate, seconds)], seconds=seconds, seed=seed)
    wrong = 0.0 if column == "reserve" else MISLABELLED
    share = len(large) / len(sizes)
    kinds = [
        kind("short", _drawn(small), lane=Lane.CPU_SHORT),
        kind("long", _drawn(large), lane=Lane.CPU_LONG),
        kind("wrong", _drawn(large), lane=Lane.CPU_SHORT),
    ]
    streams = [
        _stream("short", rate * (1 - share), seconds),
        _stream("long", rate * share * (1 - wrong), seconds),
        _stream("wrong", rate * share * wrong, seconds),
    ]
    return _play(column, kinds, streams, seconds=seconds, seed=seed)


OFF = {
    "one queue": ["no re-badging"],
    "reserve": ["no re-badging"],
    "2 % of long labelled short": ["no re-badging"],
    "+ re-badge": ["no spares"],
    "+ 4 spares": [],
    "no labels, re-badged, 8 spares": [],
}


def _play(column: str, kinds: list[Kind], streams: list[Stream], *, seconds: float, seed: int) -> Waits:
    plan = Plan(
        seed=seed,
        name=column,
        workers=PLACES - 1,
        cores=8 if "8 spares" in column else 4,
        kinds={each.declared.name: each for each in kinds},
        streams=streams,
        end_s=seconds,
    )
    stopwatch = Stopwatch()
    with ExitStack() as rules:
        for mutant in OFF[column]:
            rules.enter_context(MUTANTS[mutant]())
        World(plan, stopwatch).run()
    waits_s = stopwatch.waits_s
    short = waits_s.get("mixed") or waits_s["short"]
    long = waits_s.get("mixed") or waits_s["long"]
    return Waits(short_p99_s=_p99(short), long_p99_s=_p99(long))


def _stream(handler: str, rate: float, seconds: float) -> Stream:
    return Stream(handler=handler, rate=max(rate, 1e-9), start_s=1.0 if rate else seconds, end_s=seconds)


def _drawn(sizes: list[float]) -> Duration:
    return lambda rng, now: rng.choice(sizes)


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


def main() -> int:
    for name, row, columns in (
        ("95 % 5 ms, 5 % 5 s", bimodal, list(OFF)),
        ("Pareto 1.1", pareto, list(OFF)[:5]),
    ):
        for column in columns:
            waits = row(column, seconds=1_500.0)
            print(
                f"{name}: {column}: short {waits.short_p99_s * 1000:.0f} ms, long {waits.long_p99_s:.1f} s",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
