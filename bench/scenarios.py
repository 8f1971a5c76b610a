"""What is let loose on a node or an executor: long tasks that sleep, compute, or are one handler's with brief ones; short ones beside.

No handler declares a lane. Every submit is noted, so that what never started counts too.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.flood import Flood, read_flood
from bench.grounds import Ground, Sample, Sampler
from bench.moments import Event, read_moments
from bench.open_loop import open_loop

LONG_TASKS = 200
SHORT_PER_S = 10.0
THREADS = 4
LAST_START_WITHIN_S = 2.0  # of the last short task; what has not started by then has waited at least so long
LOOK_EVERY_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """`beside_per_s`: runs of the long handler that are brief, submitted like the short tasks; one of `long_every` is long after all."""

    title: str
    handler: str
    ending: str  # of its figures' names
    flood: bool = True
    kinds: tuple[str, str] = ("", "")  # of its long and of its brief runs
    beside_per_s: float = 0.0
    long_every: int = 0

    @property
    def is_two_faced(self) -> bool:
        return self.beside_per_s > 0


SCENARIOS = {
    "sleep": Scenario(title="the long ones sleep", handler="sleep_long", ending=""),
    "burn": Scenario(title="the long ones compute", handler="burn_long", ending="_burn"),
    "bimodal": Scenario(
        title="one handler is brief and long", handler="two_faced", ending="_bimodal", beside_per_s=10.0
    ),
    "kinds": Scenario(
        title="one handler, two kinds",
        handler="two_faced",
        ending="_kinds",
        kinds=("slow", "quick"),
        beside_per_s=10.0,
    ),
    "mixed": Scenario(
        title="one run in fifty of a handler is long",
        handler="two_faced",
        ending="_mixed",
        flood=False,
        beside_per_s=20.0,
        long_every=50,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A flood and how the executor was meanwhile; `began_s` in monotonic seconds, as `Sample.at_s` and the moments of `reasons`."""

    flood: Flood
    began_s: float
    samples: Sequence[Sample]
    reasons: Sequence[tuple[float, str, str, str]]


class _Submits:
    """Submits tasks of one scenario and keeps when it did."""

    def __init__(self, ground: Ground, scenario: Scenario, file: Path) -> None:
        self._ground, self._scenario, self._file = ground, scenario, str(file)
        self._runs = itertools.count(1)
        self.shorts: list[int] = []
        self.briefs: list[int] = []
        self.longs = 0

    def flood(self) -> None:
        tasks = [self._long_arguments() for _ in range(LONG_TASKS)]
        self._ground.submit_many(self._scenario.handler, tasks, self._scenario.kinds[0])

    def short(self) -> None:
        number = time.monotonic_ns()
        self.shorts.append(number)
        self._ground.submit("note_start", [number, self._file])

    def beside(self) -> None:
        every = self._scenario.long_every
        if every and next(self._runs) % every == 0:
            arguments, kind = self._long_arguments(), self._scenario.kinds[0]
        else:
            number = time.monotonic_ns()
            self.briefs.append(number)
            arguments, kind = [number, self._file, False], self._scenario.kinds[1]
        self._ground.submit(self._scenario.handler, arguments, kind)

    def _long_arguments(self) -> list[object]:
        self.longs += 1
        return [self.longs, self._file, *([True] if self._scenario.is_two_faced else [])]


def let_loose(ground: Ground, scenario: Scenario, file: Path, *, short_s: float, alone_s: float = 0.0) -> Run:
    """The flood, then short tasks for `short_s`; with none of those it is watched for `alone_s`."""
    submits = _Submits(ground, scenario, file)
    with Sampler(ground.sample).running() as samples:
        began_ns = time.monotonic_ns()
        if scenario.flood:
            submits.flood()
        if short_s:
            beside = threading.Thread(
                target=open_loop,
                args=(submits.beside,),
                kwargs={"per_s": scenario.beside_per_s, "seconds": short_s, "threads": THREADS},
                name="beside",
            )
            if scenario.is_two_faced:
                beside.start()
            open_loop(submits.short, per_s=SHORT_PER_S, seconds=short_s, threads=THREADS)
            if scenario.is_two_faced:
                beside.join()
            await_starts(file, len(submits.shorts))
        else:
            time.sleep(alone_s)
        ended_ns = time.monotonic_ns()
    flood = read_flood(
        read_moments(file),
        shorts=submits.shorts,
        briefs=submits.briefs,
        longs=submits.longs,
        began_ns=began_ns,
        ended_ns=ended_ns,
    )
    return Run(flood=flood, began_s=began_ns / 1e9, samples=samples, reasons=ground.reasons())


def await_starts(file: Path, count: int) -> None:
    """Until all short tasks have started, or LAST_START_WITHIN_S."""
    deadline = time.monotonic() + LAST_START_WITHIN_S
    while time.monotonic() < deadline:
        if sum(moment.event is Event.SHORT_STARTED for moment in read_moments(file)) >= count:
            return
        time.sleep(LOOK_EVERY_S)
