"""What kind of history a seed is: how many keys and nodes, how slow, how long runs last, which blows fall and when."""

from __future__ import annotations

import enum
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace

from cluster.claims.values import Guarantee, Terms

FAULTS_S = 60.0
GUARANTEES = tuple(Guarantee)


class Blow(enum.Enum):
    KILL = "kill"
    PAUSE = "pause"  # SIGSTOP: its runners go on until the lease ends, its answers come late
    CUT = "cut"  # no word reaches it or leaves it
    MOVE = "move"  # one of its partitions is given to another node
    STOP = "stop"  # SIGTERM


BLOWS = tuple(Blow)
THEMES = (  # how often each blow falls; how long pauses and cuts may last
    ((30, 22, 18, 25, 5), (1.0, 5.0, 15.0, 40.0)),
    ((5, 60, 15, 15, 5), (15.0, 40.0, 40.0)),
    ((5, 15, 10, 70, 0), (1.0, 40.0)),
    ((60, 5, 5, 30, 0), (1.0, 5.0)),
    ((40, 45, 5, 10, 0), (20.0,)),
)
FATES = ((90, 5, 3, 2), (60, 22, 10, 8), (20, 50, 15, 15))  # of a run: done, failed, died, lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`blind`: keys whose check never can tell, until the operator does. `unsure`: how often any other cannot. `window`: records claimed
    after a takeover. `slow_s`: how long a word may lie before it is heard; `queue_s`: a run before it begins; `long_s`: how long it may
    last. `sudden`: how often a blow falls just before a step; `at_step`: this one and no other falls, before that step."""

    seed: int
    terms: Mapping[int, Terms]
    blind: frozenset[int]
    unsure: float
    window: int
    partitions: int
    slow_s: float
    queue_s: float
    long_s: float
    fates: tuple[int, ...]
    fault_every_s: float
    sudden: float
    blows: tuple[int, ...]
    lasts_s: tuple[float, ...]
    submits_s: float = 0.6 * FAULTS_S
    at_step: tuple[int, Blow] | None = None


def draw_plan(seed: int) -> Plan:
    chance = random.Random(f"plan {seed}")
    keys = range(1, 1 + chance.choice((1, 1, 2, 3, 6)))
    blows, lasts_s = chance.choice(THEMES)
    return Plan(
        seed=seed,
        terms={key: draw_terms(chance, chance.choice(GUARANTEES)) for key in keys},
        blind=frozenset(key for key in keys if chance.random() < 0.1),
        unsure=chance.choice((0.0, 0.1, 0.4)),
        window=chance.choice((0, 2, 500)),
        partitions=chance.choice((1, 1, 2, 3)),
        slow_s=chance.choice((0.05, 0.05, 0.5, 3.0)),
        queue_s=chance.choice((0.05, 0.05, 15.0)),
        long_s=chance.choice((0.1, 2.0, 25.0)),
        fates=chance.choice(FATES),
        fault_every_s=chance.choice((2.0, 6.0, 20.0)),
        sudden=chance.choice((0.0, 0.02, 0.06)),
        blows=blows,
        lasts_s=lasts_s,
    )


def harsh_plan(seed: int) -> Plan:
    """Long runs, slow words, and pauses longer than a lease: what is rare elsewhere is met here."""
    chance = random.Random(f"harsh {seed}")
    blows, lasts_s = chance.choice((THEMES[1], THEMES[4]))
    return replace(
        draw_plan(seed),
        blind=frozenset(),
        unsure=0.0,
        partitions=1,
        slow_s=chance.choice((0.5, 3.0)),
        queue_s=chance.choice((0.05, 15.0)),
        long_s=25.0,
        fates=FATES[0],
        fault_every_s=chance.choice((6.0, 20.0)),
        sudden=chance.choice((0.02, 0.06)),
        blows=blows,
        lasts_s=lasts_s,
    )


def draw_terms(chance: random.Random, guarantee: Guarantee) -> Terms:
    return Terms(
        guarantee=guarantee,
        is_always_checked=chance.random() < 0.2,
        settle_s=chance.choice((0.0, 0.0, 2.0)),
        attempts_max=6,
    )


def single_blow(seed: int, guarantee: Guarantee, step: int, blow: Blow) -> Plan:
    """One key, and one blow to the node that is about to take this step."""
    chance = random.Random(f"single {seed}")
    return Plan(
        seed=seed,
        terms={1: draw_terms(chance, guarantee)},
        blind=frozenset(),
        unsure=0.0,
        window=500 if seed % 2 else 0,
        partitions=1,
        slow_s=0.05,
        queue_s=0.05,
        long_s=2.0,
        fates=FATES[seed % len(FATES)],
        fault_every_s=1e9,
        sudden=0.0,
        blows=THEMES[0][0],
        lasts_s=(40.0,),
        submits_s=0.0,
        at_step=(step, blow),
    )
