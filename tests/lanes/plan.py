"""A workload drawn from a seed: handlers and how long they really take, who submits what when, and what goes wrong.

The scheduler sees none of this; it sees what a shell would see of it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from executor.handlers.declaration import Handler
from executor.task import Lane, Level

Duration = Callable[[random.Random, float], float]  # chance and time of day -> seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a handler really does. `cpu`: the share of its time it computes. `dies`: chance that a run kills its process."""

    declared: Handler
    duration: Duration
    cpu: float = 1.0
    dies: float = 0.0
    ignores_timeout: bool = False
    leaks_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Tasks of one handler: `rate` a second from `start_s` to `end_s`, in bursts of `burst`."""

    handler: str
    rate: float
    start_s: float
    end_s: float
    burst: int = 1
    level: int = Level.NORMAL
    kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """`what` goes wrong or is changed by the operator, at `at_s` and for `for_s`; `troubles.cause` knows each."""

    what: str
    at_s: float
    for_s: float
    name: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    seed: int
    name: str
    workers: int
    cores: int
    kinds: dict[str, Kind]
    streams: list[Stream]
    troubles: list[Trouble] = field(default_factory=list)
    by_room: bool = False  # tasks wait outside and are fetched as there is room, as a node does
    end_s: float = 30.0


def fixed(seconds: float) -> Duration:
    return lambda rng, now: seconds


def exponential(mean_s: float) -> Duration:
    return lambda rng, now: rng.expovariate(1 / mean_s)


def either(share: float, few: Duration, most: Duration) -> Duration:
    """`few` in `share` of the runs."""
    return lambda rng, now: few(rng, now) if rng.random() < share else most(rng, now)


def turning(at_s: float, before: Duration, after: Duration) -> Duration:
    return lambda rng, now: (before if now < at_s else after)(rng, now)


def kind(name: str, duration: Duration, **options: object) -> Kind:
    """Options of `Handler` and of `Kind` together."""
    own = {
        key: options.pop(key) for key in ("cpu", "dies", "ignores_timeout", "leaks_bytes") if key in options
    }
    return Kind(declared=Handler(name=name, **options), duration=duration, **own)  # type: ignore[arg-type]


def draw_plan(seed: int) -> Plan:
    """One of the kinds of workload, in all its numbers drawn from the seed."""
    rng = random.Random(seed)
    name, draw = SHAPES[seed % len(SHAPES)]
    workers = rng.choice([1, 2, 2, 3, 4, 7])
    kinds, streams, troubles = draw(rng, workers)
    return Plan(
        seed=seed,
        name=name,
        workers=workers,
        cores=rng.choice([1, 2, 2, 4, 8]),
        kinds={each.declared.name: each for each in kinds},
        streams=streams,
        troubles=troubles,
        by_room=rng.random() < 0.4,
        end_s=rng.uniform(10.0, 16.0),
    )


Drawn = tuple[list[Kind], list[Stream], list[Trouble]]


def _short(rng: random.Random, name: str = "short") -> Kind:
    return kind(name, exponential(rng.choice([0.0002, 0.001, 0.005, 0.02])))


def _stream(rng: random.Random, name: str, load: float, mean_s: float, **options: object) -> Stream:
    rate = min(load / mean_s, 150.0)
    return Stream(handler=name, rate=rate, start_s=0.0, end_s=100.0, **options)  # type: ignore[arg-type]


def _bimodal(rng: random.Random, workers: int) -> Drawn:
    share, long_s = rng.choice([0.01, 0.02, 0.05, 0.1, 0.3]), rng.choice([1.0, 3.0, 5.0])
    kinds = [kind("mixed", either(share, fixed(long_s), fixed(0.005))), _short(rng)]
    rate = min(rng.uniform(2, 20), 1.5 * workers / (share * long_s))
    streams = [
        Stream(handler="mixed", rate=rate, start_s=0.0, end_s=100.0),
        Stream(handler="short", rate=rng.uniform(5, 50), start_s=0.0, end_s=100.0),
    ]
    return kinds, streams, []


def _turns(rng: random.Random, workers: int) -> Drawn:
    at_s = rng.uniform(4, 10)
    kinds = [
        kind("turns", turning(at_s, exponential(0.004), exponential(rng.choice([0.5, 1.0, 3.0])))),
        _short(rng),
        kind("back", turning(at_s, fixed(0.8), fixed(0.003))),
    ]
    streams = [
        Stream(handler="turns", rate=rng.uniform(0.5, 2) * workers, start_s=0.0, end_s=100.0),
        Stream(handler="short", rate=rng.uniform(5, 60), start_s=0.0, end_s=100.0),
        Stream(handler="back", rate=rng.uniform(0.2, 1.0), start_s=0.0, end_s=100.0),
    ]
    return kinds, streams, []


def _flood(rng: random.Random, workers: int) -> Drawn:
    declared = rng.choice([None, Lane.CPU_LONG])
    kinds = [
        kind("big", exponential(rng.choice([0.5, 1.0, 2.0])), lane=declared),
        _short(rng),
        kind("sleepy", fixed(0.3), cpu=0.01),
    ]
    streams = [
        Stream(handler="big", rate=0.1, burst=rng.randint(20, 80), start_s=rng.uniform(0, 5), end_s=12.0),
        Stream(handler="short", rate=rng.uniform(5, 50), start_s=0.0, end_s=100.0),
        Stream(handler="sleepy", rate=rng.uniform(0, 8), start_s=2.0, end_s=100.0),
    ]
    return kinds, streams, [Trouble(what="cancels", at_s=rng.uniform(2, 8), for_s=2.0)]


def _crashes(rng: random.Random, workers: int) -> Drawn:
    kinds = [
        kind("poison", exponential(rng.choice([0.005, 0.05])), dies=rng.choice([0.05, 0.3, 1.0])),
        _short(rng),
        kind("long", exponential(1.0), lane=rng.choice([None, Lane.CPU_LONG])),
        kind("aio", exponential(0.05), cpu=0.05, is_async=True, dies=rng.choice([0.0, 0.02])),
    ]
    streams = [
        Stream(handler="poison", rate=rng.uniform(1, 8), start_s=0.0, end_s=100.0),
        Stream(handler="short", rate=rng.uniform(5, 60), start_s=0.0, end_s=100.0),
        Stream(handler="long", rate=rng.uniform(0.1, 1.0), start_s=0.0, end_s=100.0),
        Stream(handler="aio", rate=rng.uniform(0, 30), start_s=0.0, end_s=100.0),
    ]
    troubles = [Trouble(what="kills", at_s=rng.uniform(1, 9), for_s=3.0)]
    if rng.random() < 0.5:
        troubles.append(Trouble(what="early deaths", at_s=rng.uniform(0, 9), for_s=rng.uniform(0.5, 4)))
    if rng.random() < 0.5:
        troubles.append(Trouble(what="silent", at_s=rng.uniform(0, 5), for_s=2.0))
    return kinds, streams, troubles


def _priorities(rng: random.Random, workers: int) -> Drawn:
    kinds = [kind("work", exponential(rng.choice([0.01, 0.05]))), _short(rng)]
    load = rng.uniform(0.5, 1.3) * (workers + 1)
    mean_s = 0.03
    streams = [
        _stream(rng, "work", load * share, mean_s, level=level, burst=rng.choice([1, 1, 20]))
        for level, share in ((Level.HIGH, 0.5), (Level.NORMAL, 0.2), (Level.LOW, 0.3))
    ]
    streams.append(Stream(handler="short", rate=5.0, start_s=0.0, end_s=100.0, level=Level.LOW))
    streams.append(Stream(handler="work", rate=1.0, start_s=0.0, end_s=100.0, level=Level.DUE))
    return kinds, streams, []


def _memory(rng: random.Random, workers: int) -> Drawn:
    kinds = [
        kind("hog", exponential(0.02), leaks_bytes=rng.choice([1, 20, 80]) << 20),
        kind("worn", exponential(0.004), recycle_after=rng.choice([1, 5, 50])),
        _short(rng),
        kind("long", exponential(1.0)),
    ]
    streams = [
        Stream(handler="hog", rate=rng.uniform(2, 12), start_s=0.0, end_s=100.0),
        Stream(handler="worn", rate=rng.uniform(2, 12), start_s=0.0, end_s=100.0),
        Stream(handler="short", rate=rng.uniform(5, 40), start_s=0.0, end_s=100.0),
        Stream(handler="long", rate=rng.uniform(0.2, 1.5), start_s=0.0, end_s=100.0),
    ]
    return kinds, streams, [Trouble(what="memory", at_s=rng.uniform(2, 8), for_s=rng.uniform(1, 6))]


def _io(rng: random.Random, workers: int) -> Drawn:
    kinds = [
        kind("web", either(0.02, fixed(3.0), exponential(0.02)), cpu=0.03, lane=Lane.IO_SHORT),
        kind("undeclared", exponential(rng.choice([0.03, 0.3])), cpu=0.02),
        kind("aio", exponential(rng.choice([0.002, 0.1])), cpu=0.02, is_async=True),
        kind("report", exponential(2.0), cpu=0.02, lane=Lane.IO_LONG),
        kind("tiny", exponential(0.0003), cpu=0.1, lane=Lane.IO_SHORT, max_running=rng.choice([None, 2, 20])),
    ]
    streams = [
        Stream(handler="web", rate=rng.uniform(5, 60), start_s=0.0, end_s=100.0),
        Stream(
            handler="undeclared",
            rate=rng.uniform(1, 20),
            start_s=0.0,
            end_s=100.0,
            kind=rng.choice(["", "a"]),
        ),
        Stream(handler="aio", rate=rng.uniform(5, 60), start_s=0.0, end_s=100.0, burst=rng.choice([1, 30])),
        Stream(
            handler="report", rate=rng.uniform(0.2, 3), start_s=0.0, end_s=100.0, burst=rng.choice([1, 20])
        ),
        Stream(handler="tiny", rate=rng.uniform(5, 60), start_s=1.0, end_s=100.0, burst=rng.choice([1, 50])),
    ]
    troubles = [Trouble(what="kills", at_s=rng.uniform(1, 9), for_s=1.0)] if rng.random() < 0.3 else []
    return kinds, streams, troubles


def _operator(rng: random.Random, workers: int) -> Drawn:
    kinds = [
        _short(rng),
        kind("limited", exponential(0.05), max_running=rng.choice([1, 2])),
        kind("long", exponential(1.0), timeout_s=rng.choice([None, 0.5]), ignores_timeout=True),
        kind("aio", exponential(0.1), cpu=0.05, is_async=True),
    ]
    streams = [
        Stream(handler="short", rate=rng.uniform(5, 60), start_s=0.0, end_s=100.0),
        Stream(handler="limited", rate=rng.uniform(2, 15), start_s=0.0, end_s=100.0),
        Stream(handler="long", rate=rng.uniform(0.2, 1.0), start_s=0.0, end_s=100.0),
        Stream(handler="aio", rate=rng.uniform(2, 30), start_s=0.0, end_s=100.0),
    ]
    names = ["short", "limited", "long", "aio"]
    whats = ["pause", "limit", "pause lane", "workers", "take"]
    troubles = [
        Trouble(
            what=rng.choice(whats),
            at_s=rng.uniform(1, 9),
            for_s=rng.uniform(0.5, 5),
            name=rng.choice(names),
            number=rng.randint(1, 5),
        )
        for _ in range(rng.randint(1, 4))
    ]
    return kinds, streams, [*troubles, Trouble(what="cancels", at_s=3.0, for_s=3.0)]


def _many(rng: random.Random, workers: int) -> Drawn:
    """Many handlers and kinds, nothing known of any, all at once."""
    kinds, streams = [], []
    for number in range(rng.randint(5, 25)):
        mean_s = rng.choice([0.0003, 0.002, 0.01, 0.05, 0.4])
        kinds.append(kind(f"h{number}", exponential(mean_s), cpu=rng.choice([1.0, 0.02])))
        for name in rng.sample(["", "a", "b"], rng.randint(1, 3)):
            streams.append(
                Stream(
                    handler=f"h{number}",
                    kind=name,
                    rate=min(10.0, rng.uniform(0.05, 0.2) * workers / mean_s / 10),
                    start_s=rng.uniform(0, 3),
                    end_s=100.0,
                    burst=rng.choice([1, 1, 15]),
                )
            )
    return kinds, streams, []


def _stuck(rng: random.Random, workers: int) -> Drawn:
    """Brief tasks in full batches, of which one in hundreds is long or deadly."""
    slow = fixed(rng.choice([0.1, 0.5, 3.0]))
    kinds = [
        kind(
            "brief",
            either(rng.choice([0.002, 0.01]), slow, exponential(0.0002)),
            dies=rng.choice([0.0, 0.002]),
        ),
        kind("other", exponential(0.0003)),
    ]
    streams = [
        Stream(handler="brief", rate=60.0, burst=rng.choice([30, 100]), start_s=0.0, end_s=100.0),
        Stream(handler="other", rate=30.0, burst=rng.choice([1, 30]), start_s=0.0, end_s=100.0),
    ]
    return kinds, streams, []


def _overload(rng: random.Random, workers: int) -> Drawn:
    """More short work than there are places, and long work that has to get through; or long work that no clock has seen end."""
    mean_s = 0.03
    forever = rng.random() < 0.5
    kinds = [
        kind("short", fixed(mean_s)),
        kind("long", fixed(20.0 if forever else 1.0), lane=None if forever else Lane.CPU_LONG),
    ]
    streams = [
        _stream(rng, "short", min(workers + 1, 4) * (0.3 if forever else 1.2), mean_s),
        Stream(handler="long", rate=0.6, start_s=1.0, end_s=6.0, burst=rng.choice([1, 5])),
    ]
    return kinds, streams, []


SHAPES: list[tuple[str, Callable[[random.Random, int], Drawn]]] = [
    ("bimodal", _bimodal),
    ("turns", _turns),
    ("flood", _flood),
    ("crashes", _crashes),
    ("priorities", _priorities),
    ("memory", _memory),
    ("io", _io),
    ("operator", _operator),
    ("many", _many),
    ("stuck", _stuck),
    ("overload", _overload),
]
