"""A Kafka of lists, a clock of one number, and nodes that run the real core of the ladder and die at any step.

The node of this world does what the shell does, one small step at a time, so that a death can come between any two: read, send, hear an
acknowledgement, commit. A judge looks at each record that reaches a lane.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

from cluster.delay.delay_flow import DelayFlow, GoOn, Instruction, Move, Pause, Places, Read, Spot, Step
from cluster.delay.delayed import Delayed, encode_delayed
from cluster.delay.due_heap import DueHeap
from cluster.delay.ladder import RUNGS_S, rung_s
from cluster.envelope import encode_key

LANE, DEAD = "lane", "dead"
READ_MAX = 7


def rung_topic(wait_s: int) -> str:
    return f"rung.{wait_s}"


NEAR = "near"
PLACES = Places(
    lane=lambda delayed: LANE,
    rung=rung_topic,
    dead=lambda reason, value: (DEAD, reason.encode() + b" " + value),
)


@dataclass(slots=True)
class Log:
    """One partition: records of (when it was placed, key, value)."""

    records: list[tuple[int, bytes, bytes]] = field(default_factory=list)
    committed: int = 0


class World:
    """`heap_tasks_max`: small, so that it is full at times. `skew_ms`: how far the clock of those who submit is ahead."""

    def __init__(self, seed: int, *, partitions: int = 2, skew_ms: int = 0, heap_tasks_max: int = 50) -> None:
        self.rng = random.Random(seed)
        self.now_ms = 1_000_000
        self.skew_ms, self.heap_tasks_max = skew_ms, heap_tasks_max
        names = [NEAR, *map(rung_topic, RUNGS_S)]
        self.logs = {(name, number): Log() for name in names for number in range(partitions)}
        self.partitions = partitions
        self.due: dict[int, int] = {}
        self.arrivals: list[tuple[int, int]] = []  # (now, key), in order
        self.executed: set[int] = set()
        self.dead: list[bytes] = []
        self.reads = 0

    def submit(self, key: int, after_ms: int) -> None:
        """As the one who delays does."""
        self.due[key] = self.now_ms + after_ms
        wait_s = rung_s(after_ms)
        value = encode_delayed(Delayed(self.due[key], "normal", b"%d" % key))
        self.append(NEAR if wait_s is None else rung_topic(wait_s), encode_key(key), value, self.skew_ms)

    def append(self, topic: str, key: bytes, value: bytes, skew_ms: int = 0) -> None:
        if topic == LANE:
            number = int.from_bytes(key, "big")
            assert self.now_ms >= self.due[number], f"{number} came {self.due[number] - self.now_ms} ms early"
            assert value == b"%d" % number
            self.arrivals.append((self.now_ms, number))
        elif topic == DEAD:
            self.dead.append(value)
        else:
            log = self.logs[topic, sum(key) % self.partitions]
            log.records.append((self.now_ms + skew_ms, key, value))

    def lateness_ms(self) -> dict[int, int]:
        """Of each key's first arrival."""
        first: dict[int, int] = {}
        for now_ms, key in self.arrivals:
            first.setdefault(key, now_ms - self.due[key])
        return first

    def doubles(self) -> int:
        return sum(count - 1 for count in Counter(key for _, key in self.arrivals).values())


class Node:
    """One life of one owner of all partitions."""

    numbers = 0

    def __init__(self, world: World) -> None:
        self.world = world
        heap: DueHeap = DueHeap(tasks_max=world.heap_tasks_max)  # type: ignore[type-arg]
        self.flow = DelayFlow(
            PLACES,
            executed=lambda keys: [key in world.executed for key in keys],
            heap=heap,
        )
        self.heap = heap
        self.positions: dict[Spot, int] = {}
        self.paused: set[Spot] = set()
        self.sent: list[tuple[str, Step]] = []  # not yet in Kafka
        self.unheard: list[Step] = []  # in Kafka, not yet acknowledged here
        for (topic, number), log in world.logs.items():
            Node.numbers += 1
            spot = Spot(topic, number, Node.numbers)
            self.flow.assigned(spot, None if topic == NEAR else int(topic.rpartition(".")[2]))
            self.positions[spot] = log.committed

    def step(self) -> None:
        """Any one of the things that a shell does."""
        self.world.rng.choice([self.read, self.read, self.fire, self.send, self.hear, self.commit])()

    def read(self) -> None:
        awake = [spot for spot in self.positions if spot not in self.paused and self._behind(spot)]
        if not awake:
            return
        spot = self.world.rng.choice(awake)
        first = self.positions[spot]
        records = self.world.logs[spot.topic, spot.partition].records[first : first + READ_MAX]
        self.positions[spot] += len(records)
        self.world.reads += len(records)
        read = [Read(first + at, *record) for at, record in enumerate(records)]
        self._carry_out(self.flow.read(spot, read, self.world.now_ms))

    def _behind(self, spot: Spot) -> bool:
        return self.positions[spot] < len(self.world.logs[spot.topic, spot.partition].records)

    def fire(self) -> None:
        self._carry_out(self.flow.tick(self.world.now_ms))

    def send(self) -> None:
        if self.sent:
            topic, step = self.sent.pop(self.world.rng.randrange(len(self.sent)))
            if self.world.rng.random() < 0.1:  # no answer: it may be there or not, and is sent again
                if self.world.rng.random() < 0.5:
                    self.world.append(topic, step.key, step.value)
                self.sent.append((topic, step))
                return
            self.world.append(topic, step.key, step.value)
            self.unheard.append(step)

    def hear(self) -> None:
        if self.unheard:
            self.flow.kept([self.unheard.pop(self.world.rng.randrange(len(self.unheard)))])

    def commit(self) -> None:
        for spot, offset in self.flow.to_commit():
            log = self.world.logs[spot.topic, spot.partition]
            assert offset >= log.committed, "a committed offset went back"
            log.committed = offset
            self.flow.committed(spot, offset)

    def settle(self) -> None:
        """All that can be done at this moment."""
        while True:
            before = self.world.reads, len(self.world.arrivals), self.flow.moving, len(self.heap)
            self.fire()
            for _ in self.positions:
                self.read()
            while self.sent:
                self.send()
            while self.unheard:
                self.hear()
            if before == (self.world.reads, len(self.world.arrivals), self.flow.moving, len(self.heap)):
                break
        self.commit()

    def _carry_out(self, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            match instruction:
                case Move():
                    self.sent += [(instruction.topic, step) for step in instruction.steps]
                case Pause():
                    self.paused.add(instruction.spot)
                case GoOn():
                    self.paused.discard(instruction.spot)
                    self.positions[instruction.spot] = instruction.offset
        assert len(self.heap) <= self.world.heap_tasks_max


def run_until_all_have_come(world: World, node: Node, *, until_ms: int) -> None:
    """The clock jumps from hour to hour."""
    while world.now_ms <= until_ms:
        node.settle()
        behind = any(node._behind(spot) for spot in node.positions if spot not in node.paused)
        next_ms = node.flow.next_ms()
        if next_ms is None and not behind:
            return
        world.now_ms = world.now_ms + 1 if behind or next_ms is None else max(world.now_ms + 1, next_ms)
