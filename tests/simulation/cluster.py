"""A whole cluster in one thread: timeline, network, machines, clients, faults and judges, all from one plan.

`Cluster.run` plays the plan for its minute, then lets every fault end, starts what can start, and asks every member of the group a
question: within ten election timeouts, and a little more for a snapshot to travel, each must answer, each call must have ended, and
all replicas must be equal.
"""

from __future__ import annotations

import struct
import zlib
from random import Random
from typing import TYPE_CHECKING, Any

from consensus.config import LedgerConfig
from consensus.raft.replica import Replica
from consensus.storage.journal import SyncMode
from tests.simulation.clock import NodeClock, Timeline
from tests.simulation.faults import RUN_S, Plan
from tests.simulation.injector import Injector
from tests.simulation.judges import Judges, Violation
from tests.simulation.network import Network
from tests.simulation.node import SimNode, State
from tests.simulation.workload import Workload

if TYPE_CHECKING:
    pass

ELECTION_MAX_S = 0.9
HEAL_S = 10 * ELECTION_MAX_S
TRANSFER_S = 3.0  # more for a node that needs a snapshot first
SPARE_NODES = 2


class Cluster:
    def __init__(self, plan: Plan, *, trace: bool = False) -> None:
        self.plan = plan
        self.timeline = Timeline()
        self.outside = NodeClock(timeline=self.timeline, boot_s=0.0)
        self.current = self.outside
        self.trace: list[str] = []
        self._traces = trace
        self.digest = 0
        self.steps = 0
        self.sync = SyncMode.INTERVAL if plan.interval else SyncMode.ALWAYS
        self.config = LedgerConfig(
            election_max_s=ELECTION_MAX_S,
            lease_s=3.0,
            lease_margin_s=0.5,
            snapshot_every_s=20.0,
            snapshot_entries=plan.snapshot_entries,
            kept_entries=max(5, plan.snapshot_entries // 4),
            snapshot_chunk_bytes=plan.chunk_bytes,
        )
        self.network = Network(self.timeline, Random(f"{plan.seed}/network"))
        self.founders = tuple(f"n{number}:7000" for number in range(plan.nodes))
        self.nodes: dict[str, SimNode] = {
            name: SimNode(self, name, self.founders, joining=False) for name in self.founders
        }
        self.spares = [f"n{plan.nodes + number}:7000" for number in range(SPARE_NODES)]
        self.judges = Judges(self)
        self.network.watch = self.judges.sent
        self.injector = Injector(self)
        self.workload = Workload(self)

    def run(self, *, run_s: float = RUN_S) -> None:
        """Raises `Violation`."""
        for node in self.nodes.values():
            node.start()
        for fault in self.plan.faults:
            self.injector.schedule(fault)
        self.workload.start()
        self.timeline.run_until(run_s)
        self.heal()

    def heal(self) -> None:
        self.note("all faults end")
        self.injector.end_all()
        self.workload.stop()
        for node in list(self.nodes.values()):
            node.start()
        deadline_s = self.timeline.now_s + HEAL_S + TRANSFER_S
        probes = [self.workload.probe(node) for node in self.live() if node.name in self.group()]
        while self.timeline.now_s < deadline_s and not self.judges.is_healed(probes):
            self.timeline.run_until(min(deadline_s, self.timeline.now_s + 0.5))
        self.judges.healed(probes)

    # -- what parts of the simulation ask

    def live(self) -> list[SimNode]:
        return [node for node in self.nodes.values() if node.up]

    def leader(self) -> SimNode | None:
        """The one of the highest term, if several believe that they lead."""
        leaders = [node for node in self.live() if node.replica.raft.is_leader()]
        return max(leaders, key=lambda node: node.replica.raft.term, default=None)

    def group(self) -> tuple[str, ...]:
        """As the most advanced live node knows it."""
        nodes = self.live() or list(self.nodes.values())
        known = [
            node.replica.raft for node in nodes if node.state is not State.NEW and hasattr(node, "replica")
        ]
        return max(known, key=lambda raft: raft.commit_index).members() if known else self.founders

    def may_lack(self, node: SimNode) -> bool:
        """`node` may forget what it has acknowledged: with all others that may have, it is a minority of every group."""
        known = {other.replica.raft.members() for other in self.nodes.values() if other.has_replica()}
        concerned = [group for group in known if node.name in group]
        for group in concerned:
            lacking = [name for name in group if self.nodes[name].lacks or self.nodes[name].rotted]
            if len({*lacking, node.name}) > (len(group) - 1) // 2:
                return False
        return bool(concerned)

    def add_spare(self) -> SimNode | None:
        if not self.spares:
            return None
        name = self.spares.pop(0)
        node = self.nodes[name] = SimNode(self, name, self.group(), joining=True)
        return node

    def build_replica(self, node: SimNode, **parts: Any) -> Replica:
        return Replica(
            node=node.name,
            storage=node.storage,
            links=node.links,
            config=self.config,
            sync=self.sync,
            **parts,
        )

    def monotonic(self) -> float:
        """The clock of whichever node runs now: the library has one clock for all nodes of a process."""
        return self.current.monotonic()

    def restart_after_s(self, node: SimNode) -> float:
        return self.injector.restart_after_s.pop(node.name, 0.5)

    def stepped(self, node: SimNode) -> None:
        self.steps += 1
        self.digest = zlib.crc32(
            struct.pack("<dI", self.timeline.now_s, self.network.digest) + node.name.encode(), self.digest
        )
        if node.up:
            self.judges.stepped(node)

    def note(self, text: str) -> None:
        if self._traces:
            self.trace.append(f"{self.timeline.now_s:9.4f} {text}")
            print(self.trace[-1])


__all__ = ["Cluster", "Violation"]
