"""What goes wrong in a run, drawn from its seed before the run begins.

A plan is a list of timed faults and nothing else decides what the world does to the cluster, so a failing run is shrunk by leaving faults
out of the list. Each seed switches a random half of the kinds off: a run with everything at once hides what two kinds do together.
How a fault is done, and undone, is in `injector.py`.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from random import Random

RUN_S = 60.0
MEAN_GAP_S = 1.2
QUIET_START_S = 1.5  # a first leader, so that faults have something to hit
INTERVAL_SHARE = 0.2
LEADER = -1  # in the place of a node: whoever leads when the fault begins


class Kind(enum.Enum):
    LOSS = "loss"
    DELAY = "delay"
    DUPLICATE = "duplicate"
    REORDER = "reorder"
    NARROW = "narrow"  # little bandwidth
    CUT = "cut"  # one link, both ways
    ONE_WAY_CUT = "one-way cut"
    ISOLATE = "isolate"  # one node from all
    DEAF = "deaf"  # one node hears nobody but is heard
    SPLIT = "split"  # two halves
    CHAIN = "chain"  # each node reaches its neighbours only
    RESET = "reset"
    POWER_CUT = "power cut"
    KILL = "kill"
    KILL_ALL = "kill all"
    CRASH_INSIDE = "crash inside"  # in the middle of a disk operation
    PAUSE = "pause"
    SLOW_CPU = "slow cpu"
    CLOCK_JUMP = "clock jump"
    SLOW_SYNC = "slow sync"
    DISK_FULL = "disk full"
    IO_ERROR = "io error"
    BIT_ROT = "bit rot"
    WIPE = "wipe"  # the disk is replaced by an empty one
    SNAPSHOT = "snapshot"
    ADD_NODE = "add node"
    REMOVE_NODE = "remove node"


WEIGHTS = {
    Kind.POWER_CUT: 3,
    Kind.KILL: 2,
    Kind.CRASH_INSIDE: 3,
    Kind.ISOLATE: 2,
    Kind.SNAPSHOT: 3,
    Kind.BIT_ROT: 0.5,
    Kind.IO_ERROR: 0.7,
    Kind.WIPE: 0.7,
    Kind.KILL_ALL: 0.5,
}  # the others: 1

LASTS_S = {  # lower and upper bound, drawn evenly on a logarithmic scale
    Kind.PAUSE: (0.2, 20.0),
    Kind.POWER_CUT: (0.05, 8.0),
    Kind.KILL: (0.05, 8.0),
    Kind.KILL_ALL: (0.05, 4.0),
    Kind.CRASH_INSIDE: (0.05, 4.0),
    Kind.IO_ERROR: (0.1, 3.0),
    Kind.BIT_ROT: (0.1, 3.0),
    Kind.WIPE: (0.1, 3.0),
    Kind.DISK_FULL: (0.2, 5.0),
    Kind.LOSS: (0.2, 6.0),
}
USUALLY_LASTS_S = (0.2, 8.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`node` and `other` count nodes from 0 (modulo what there is) or say LEADER. `amount` lies in 0..1: each kind scales it."""

    at_s: float
    lasts_s: float
    kind: Kind
    node: int
    other: int
    amount: float
    choice: bool

    def __str__(self) -> str:
        node = "leader" if self.node == LEADER else str(self.node)
        return (
            f"{self.at_s:7.3f} s  {self.kind.value:<13} node {node:<6} other {self.other} for {self.lasts_s:6.3f} s "
            f"amount {self.amount:.3f} {'yes' if self.choice else 'no'}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that a seed decides before its run, but for the random numbers that nodes, network and disks draw on the way."""

    seed: int
    nodes: int
    clients: int
    think_s: float  # mean time between a client's calls
    usual_delay_s: tuple[float, float]
    snapshot_entries: int
    segment_bytes: int
    chunk_bytes: int  # of a snapshot on its way: small ones, so that a small snapshot takes several
    interval: bool  # all nodes run with `--sync interval`
    kinds: tuple[Kind, ...]
    faults: tuple[Fault, ...]


def draw_plan(seed: int, *, run_s: float = RUN_S) -> Plan:
    rng = Random(f"{seed}/plan")
    kinds = tuple(kind for kind in Kind if rng.random() < 0.5) or (Kind.KILL,)
    if Kind.REMOVE_NODE in kinds and rng.random() < 0.5:  # where disks get lost few removals are possible
        kinds = tuple(kind for kind in kinds if kind not in (Kind.BIT_ROT, Kind.WIPE))
    nodes = rng.choice((3, 3, 3, 5, 5))
    weights = [WEIGHTS.get(kind, 1.0) for kind in kinds]
    faults = []
    at_s = QUIET_START_S
    while (at_s := at_s + rng.expovariate(1 / MEAN_GAP_S)) < run_s:
        kind = rng.choices(kinds, weights)[0]
        faults.append(_draw_fault(rng, kind, at_s, nodes, run_s))
    slow_network = rng.random() < 0.25
    return Plan(
        seed=seed,
        nodes=nodes,
        clients=rng.choice((2, 4, 6)),
        think_s=rng.choice((0.06, 0.15, 0.4)),
        usual_delay_s=(0.01, 0.06) if slow_network else (0.0003, 0.0015),
        snapshot_entries=rng.choice((30, 100, 300)),
        chunk_bytes=rng.choice((500, 4000, 128 * 1024)),
        segment_bytes=rng.choice((16, 64, 256)) * 1024,
        interval=rng.random() < INTERVAL_SHARE,
        kinds=kinds,
        faults=tuple(faults),
    )


def _draw_fault(rng: Random, kind: Kind, at_s: float, nodes: int, run_s: float) -> Fault:
    low, high = LASTS_S.get(kind, USUALLY_LASTS_S)
    lasts_s = math.exp(rng.uniform(math.log(low), math.log(high)))
    node = LEADER if rng.random() < 0.4 else rng.randrange(nodes)
    other = rng.randrange(nodes)
    amount, choice = rng.random(), rng.random() < 0.5
    return Fault(
        at_s=at_s,
        lasts_s=min(lasts_s, run_s - at_s),
        kind=kind,
        node=node,
        other=other,
        amount=amount,
        choice=choice,
    )
