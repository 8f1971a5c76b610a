"""A storm of faults from a seed: a plan (pure), and the driver that carries it out on real processes and a real network.

A fault has a beginning and an end; faults overlap as they come. What a process or a link must suffer at a moment follows from all
faults that are active then: a node is down if any kills it, stopped if any pauses it, a link is cut if any cuts it. So
the driver only compares what should be with what is, and healing is the state without faults. Signals go to processes that the test
started, by their id.
"""

from __future__ import annotations

import enum
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from tests.chaos.proxy import PASS, Pair, Proxy, Rule

LEADER: Final = -1  # as a place: whoever leads when the fault begins
PAUSE_S: Final = (0.2, 60.0)
DOWN_S: Final = (0.1, 3.0)
CUT_S: Final = (0.3, 4.0)


class Node(Protocol):
    """A process that faults may hit. Each method returns at once or when the process is in that state; all are idempotent."""

    def kill(self) -> None: ...
    def start(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """SIGKILL, and a start when the fault ends."""

    places: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """SIGSTOP, and SIGCONT when the fault ends."""

    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolate:
    """Nothing comes to the node (`inward`), nothing leaves it (`outward`), or both."""

    place: int
    inward: bool = True
    outward: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The network falls apart into `places` and the rest."""

    places: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slow:
    """Everything that the node sends and receives is late."""

    place: int
    rule: Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """Its connections end with a TCP reset, once."""

    place: int


Fault = Kill | Pause | Isolate | Split | Slow | Reset


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    fault: Fault
    at_s: float
    lasts_s: float


class Kind(enum.Enum):
    KILL = "kill"
    KILL_MAJORITY = "kill majority"
    KILL_ALL = "kill all"
    PAUSE = "pause"
    ISOLATE = "isolate"
    SPLIT = "split"
    SLOW = "slow"
    RESET = "reset"


# a plan deals from this deck, shuffled anew each time, so that a short storm has all kinds too
DECK = (Kind.KILL, Kind.KILL, Kind.PAUSE, Kind.PAUSE, Kind.ISOLATE, Kind.ISOLATE, *Kind)


def plan(
    seed: int, *, nodes: int, duration_s: float, every_s: float = 1.2, pause_s_max: float = 4.0
) -> list[Planned]:
    """One fault per `every_s` on the average; all have ended after `duration_s`. Half of the faults are for the leader."""
    rng = random.Random(seed)
    planned: list[Planned] = []
    deck: list[Kind] = []
    at_s = rng.uniform(0, every_s)
    while at_s < duration_s:
        deck = deck or rng.sample(DECK, len(DECK))
        fault, lasts_s = _draw(deck.pop(), rng, nodes, pause_s_max)
        planned.append(Planned(fault=fault, at_s=at_s, lasts_s=min(lasts_s, duration_s - at_s)))
        at_s += rng.uniform(0.2, 1.8) * every_s
    return planned


def _draw(kind: Kind, rng: random.Random, nodes: int, pause_s_max: float) -> tuple[Fault, float]:
    place = LEADER if rng.random() < 0.5 else rng.randrange(nodes)
    match kind:
        case Kind.KILL:
            return Kill(places=(place,)), rng.uniform(*DOWN_S)
        case Kind.KILL_MAJORITY:
            return Kill(places=tuple(rng.sample(range(nodes), nodes // 2 + 1))), rng.uniform(*DOWN_S)
        case Kind.KILL_ALL:
            return Kill(places=tuple(range(nodes))), rng.uniform(*DOWN_S)
        case Kind.PAUSE:
            # as many between 0.2 and 1 s, about an election, as between 1 and 5 s, about a lease
            return Pause(place=place), min(
                pause_s_max, PAUSE_S[0] * (PAUSE_S[1] / PAUSE_S[0]) ** rng.random()
            )
        case Kind.ISOLATE:
            inward, outward = rng.choice([(True, True), (True, False), (False, True)])
            return Isolate(place=place, inward=inward, outward=outward), rng.uniform(*CUT_S)
        case Kind.SPLIT:
            return Split(places=tuple(rng.sample(range(nodes), nodes // 2))), rng.uniform(*CUT_S)
        case Kind.SLOW:
            rule = Rule(
                delay_s=rng.choice([0.02, 0.1, 0.3]),
                jitter_s=rng.choice([0.0, 0.1]),
                bandwidth_bytes_s=rng.choice([None, 200_000]),
            )
            return Slow(place=place, rule=rule), rng.uniform(*CUT_S)
        case Kind.RESET:
            return Reset(place=place), 0.0


def rules_of(faults: Iterable[Fault], nodes: Sequence[str]) -> dict[Pair, Rule]:
    """The rule of every directed pair while these faults, all of known place, are active together."""
    active = list(faults)
    return {(a, b): _rule(active, nodes.index(a), nodes.index(b)) for a in nodes for b in nodes if a != b}


def _rule(faults: Sequence[Fault], sender: int, receiver: int) -> Rule:
    rule = PASS
    for fault in faults:
        match fault:
            case Isolate(place=place, inward=inward, outward=outward):
                if (place == receiver and inward) or (place == sender and outward):
                    return Rule(cut=True)
            case Split(places=places):
                if (sender in places) != (receiver in places):
                    return Rule(cut=True)
            case Slow(place=place, rule=slow) if place in (sender, receiver):
                rule = slow
            case _:
                pass
    return rule


@dataclass(slots=True, kw_only=True)
class FaultDriver:
    """`addresses[place]` is the id of `nodes[place]`. `leader()` is its place now, or None. `log` tells what was done, when."""

    nodes: Sequence[Node]
    addresses: Sequence[str]
    proxy: Proxy
    leader: Callable[[], int | None]
    log: list[str] = field(default_factory=list)
    _down: set[int] = field(default_factory=set)
    _paused: set[int] = field(default_factory=set)
    _rules: dict[Pair, Rule] = field(default_factory=dict)

    def run(self, faults: Sequence[Planned], *, stop: threading.Event | None = None) -> None:
        """Carries out the plan and heals; returns early when `stop` is set. Whatever happens, no node stays paused or down."""
        stop = stop or threading.Event()
        began = time.monotonic()
        waiting = sorted(faults, key=lambda planned: planned.at_s, reverse=True)
        active: list[tuple[float, Fault]] = []
        try:
            while (waiting or active) and not stop.is_set():
                now_s = time.monotonic() - began
                while waiting and waiting[-1].at_s <= now_s:
                    planned = waiting.pop()
                    active.append((planned.at_s + planned.lasts_s, self._placed(planned.fault)))
                    self.log.append(f"{now_s:7.3f} s, for {planned.lasts_s:.3f} s: {active[-1][1]}")
                    self._strike(active[-1][1])
                active = [one for one in active if one[0] > now_s]
                self._make_so([fault for _, fault in active])
                moments = [end for end, _ in active] + [planned.at_s for planned in waiting[-1:]]
                if moments:
                    stop.wait(max(0.0, min(moments) - (time.monotonic() - began)))
        finally:
            self.log.append(f"{time.monotonic() - began:7.3f} s: healed")
            self._make_so([])

    def _placed(self, fault: Fault) -> Fault:
        """The same fault with the leader of this moment, or the first node when nobody leads."""
        leader = self.leader() or 0
        match fault:
            case Kill(places=places):
                return Kill(places=tuple(leader if place == LEADER else place for place in places))
            case Pause(place=place):
                return Pause(place=leader if place == LEADER else place)
            case Isolate(place=place, inward=inward, outward=outward):
                return Isolate(place=leader if place == LEADER else place, inward=inward, outward=outward)
            case Slow(place=place, rule=rule):
                return Slow(place=leader if place == LEADER else place, rule=rule)
            case Reset(place=place):
                return Reset(place=leader if place == LEADER else place)
            case Split():
                return fault

    def _strike(self, fault: Fault) -> None:
        """What happens once, at the beginning."""
        if isinstance(fault, Reset):
            for other in self.addresses:
                self.proxy.reset(self.addresses[fault.place], other)

    def _make_so(self, faults: Sequence[Fault]) -> None:
        rules = rules_of(faults, self.addresses)
        changed = {pair: rule for pair, rule in rules.items() if self._rules.get(pair, PASS) != rule}
        if changed:
            self.proxy.set_rules(changed)
        self._rules = rules
        down = {place for fault in faults if isinstance(fault, Kill) for place in fault.places}
        paused = {fault.place for fault in faults if isinstance(fault, Pause)} - down
        self._apply(self._paused - paused - down, lambda node: node.resume())
        self._apply(down - self._down, lambda node: node.kill())
        self._apply(self._down - down, lambda node: node.start())
        self._apply(paused - self._paused, lambda node: node.pause())
        self._down, self._paused = down, paused

    def _apply(self, places: Iterable[int], act: Callable[[Node], None]) -> None:
        for place in sorted(places):
            act(self.nodes[place])
