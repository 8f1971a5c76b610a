"""Does to the cluster what the plan's faults say, and undoes each at its end.

A fault that has no meaning at its moment (a crash of a node that is down, a removal that would leave no majority) does nothing: the plan
stays a plain list, so that any fault can be left out of it. What can never be repaired, a damaged disk, is kept to a minority.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, assert_never

from consensus import operations
from tests.simulation.faults import LEADER, Fault, Kind
from tests.simulation.node import SimNode, State

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

JUMP_S = 7200.0
CHANGE_S = 2.0
LEADER_MISSED_S = 2.5  # longer than an election


class Injector:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._running: dict[int, Callable[[], None]] = {}  # number of the fault -> how it ends
        self._started = 0
        self._over = False
        self.restart_after_s: dict[str, float] = {}  # of nodes that will crash inside an operation
        low, high = cluster.plan.usual_delay_s
        self._usual_delay_s = (low, high)

    def schedule(self, fault: Fault) -> None:
        self._cluster.timeline.at(fault.at_s, lambda: self._begin(fault))

    def calm(self, sender: str, receiver: str) -> None:
        path = self._cluster.network.path(sender, receiver)
        path.calm()
        path.delay_s = self._usual_delay_s

    def end_all(self) -> None:
        """Healing: also what has no end of its own."""
        self._over = True
        for number in list(self._running):
            self._running.pop(number)()
        cluster = self._cluster
        cluster.network.calm()
        for node in cluster.nodes.values():
            node.resume()
            node.clock.slowness = 1.0
            node.disk.limit_bytes = None
            node.disk.slow_sync_s = 0.0
            node.disk.failures_due = 0
            node.disk.operations_until_crash = None

    def _begin(self, fault: Fault) -> None:
        if self._over:
            return
        node = self._target(fault)
        if node is None:
            return
        self._cluster.note(f"fault {fault} hits {node.name}")
        end = self._do(fault, node)
        if end is not None:
            self._started += 1
            number = self._started
            self._running[number] = end
            self._cluster.timeline.after(fault.lasts_s, lambda: self._end(number, fault))

    def _end(self, number: int, fault: Fault) -> None:
        end = self._running.pop(number, None)
        if end is not None:
            self._cluster.note(f"fault ends: {fault.kind.value} of {fault.at_s:.3f} s")
            end()

    def _target(self, fault: Fault) -> SimNode | None:
        if fault.node == LEADER:
            return self._cluster.leader()
        names = sorted(self._cluster.nodes)
        return self._cluster.nodes[names[fault.node % len(names)]]

    def _other(self, fault: Fault, node: SimNode) -> str:
        names = [name for name in sorted(self._cluster.nodes) if name != node.name]
        return names[fault.other % len(names)]

    def _do(self, fault: Fault, node: SimNode) -> Callable[[], None] | None:
        """Begins it; the answer ends it."""
        cluster, network = self._cluster, self._cluster.network
        names = sorted(cluster.nodes)
        others = [name for name in names if name != node.name]
        match fault.kind:
            case Kind.LOSS:
                return self._disturb(fault, node, loss=0.02 + 0.4 * fault.amount**2)
            case Kind.DUPLICATE:
                return self._disturb(fault, node, duplicate=0.05 + 0.5 * fault.amount)
            case Kind.REORDER:
                return self._disturb(fault, node, reorder=True, delay_s=(0.001, 0.02 + 0.38 * fault.amount))
            case Kind.DELAY:
                return self._disturb(
                    fault, node, delay_s=(0.001 + 0.2 * fault.amount, 0.05 + 0.35 * fault.amount)
                )
            case Kind.NARROW:
                return self._disturb(fault, node, bytes_per_s=2e4 + 1e6 * fault.amount**2)
            case Kind.CUT:
                other = self._other(fault, node)
                return self._cut([(node.name, other), (other, node.name)], holds=fault.choice)
            case Kind.ONE_WAY_CUT:
                return self._cut([(node.name, self._other(fault, node))], holds=fault.choice)
            case Kind.ISOLATE:
                ways = [(node.name, name) for name in others] + [(name, node.name) for name in others]
                return self._cut(ways, holds=fault.choice)
            case Kind.DEAF:
                return self._cut([(name, node.name) for name in others], holds=fault.choice)
            case Kind.SPLIT:
                half = set(names[: 1 + fault.other % (len(names) - 1)])
                return self._cut(
                    [(a, b) for a in names for b in names if (a in half) != (b in half)], holds=fault.choice
                )
            case Kind.CHAIN:
                return self._cut(
                    [
                        (a, b)
                        for place, a in enumerate(names)
                        for other_place, b in enumerate(names)
                        if abs(place - other_place) > 1
                    ],
                    holds=fault.choice,
                )
            case Kind.RESET:
                for name in others if fault.choice else [self._other(fault, node)]:
                    network.close_link(node.name, name)
                return None
            case Kind.POWER_CUT | Kind.KILL:
                return self._crash([node], power=fault.kind is Kind.POWER_CUT)
            case Kind.KILL_ALL:
                return self._crash(cluster.live(), power=fault.choice)
            case Kind.CRASH_INSIDE:
                node.disk.operations_until_crash = 1 + int(fault.amount * 60)
                node.disk.crash_cuts_power = fault.choice
                self.restart_after_s[node.name] = fault.lasts_s
                return None
            case Kind.PAUSE:
                node.pause()
                return node.resume
            case Kind.SLOW_CPU:
                node.clock.slowness = 3.0 + 97.0 * fault.amount
                return lambda: setattr(node.clock, "slowness", 1.0)
            case Kind.CLOCK_JUMP:
                node.clock.wall_offset_s += (2 * fault.amount - 1) * JUMP_S
                return None
            case Kind.SLOW_SYNC:
                node.disk.slow_sync_s = 0.02 + 0.6 * fault.amount**2
                return lambda: setattr(node.disk, "slow_sync_s", 0.0)
            case Kind.DISK_FULL:
                node.failed_io = True
                node.disk.limit_bytes = node.disk.used_bytes() + int(8192 * fault.amount)
                return lambda: setattr(node.disk, "limit_bytes", None)
            case Kind.IO_ERROR:
                node.failed_io = True
                node.disk.failures_due, node.disk.failing_writes = 1, fault.choice
                return lambda: setattr(node.disk, "failures_due", 0)
            case Kind.BIT_ROT:
                return self._rot(fault, node)
            case Kind.WIPE:
                if not cluster.may_lack(node):
                    return None
                leader = cluster.leader()
                node.wipe()
                if (
                    fault.choice and leader is not None and leader.up
                ):  # the others must do without both for a while
                    leader.crash(power=True)
                    cluster.timeline.after(fault.lasts_s + LEADER_MISSED_S, leader.start)
                return node.start
            case Kind.SNAPSHOT:
                if node.reachable():
                    node.replica.snapshots.want()
                return None
            case Kind.ADD_NODE:
                self._add()
                return None
            case Kind.REMOVE_NODE:
                if fault.choice and not self._disks_get_lost():
                    return self._remove_two_at_a_lonely_leader()
                self._remove(node)
                return None
            case _:
                assert_never(fault.kind)

    def _disturb(self, fault: Fault, node: SimNode, **changes: object) -> Callable[[], None]:
        """On all paths of a node, or, as `choice` says, of the whole network."""
        names = sorted(self._cluster.nodes)
        ways = [(a, b) for a in names for b in names if a != b and (fault.choice or node.name in (a, b))]
        for sender, receiver in ways:
            path = self._cluster.network.path(sender, receiver)
            for name, value in changes.items():
                setattr(path, name, value)

        def end() -> None:
            for sender, receiver in ways:
                self.calm(sender, receiver)

        return end

    def _cut(self, ways: list[tuple[str, str]], *, holds: bool) -> Callable[[], None]:
        network = self._cluster.network
        for sender, receiver in ways:
            network.cut(sender, receiver, holds=holds)

        def end() -> None:
            for sender, receiver in ways:
                network.mend(sender, receiver)

        return end

    def _crash(self, nodes: list[SimNode], *, power: bool) -> Callable[[], None]:
        for node in nodes:
            node.crash(power=power)

        def end() -> None:
            for node in nodes:
                node.start()

        return end

    def _rot(self, fault: Fault, node: SimNode) -> Callable[[], None] | None:
        """One bit of one file turns while the process is down; at most once a machine, and in a minority of them."""
        cluster = self._cluster
        if not node.up or node.rotted or not cluster.may_lack(node):
            return None
        node.rotted = True
        synced_bytes = node.storage.journal._synced_bytes
        node.crash(power=False)
        names = [name for name in node.disk.names() if node.disk.size_bytes(name)]
        name = names[fault.other % len(names)]
        size = node.disk.size_bytes(name)
        if cluster.plan.interval and name == max(
            (known for known in names if known.startswith("journal-")), default=""
        ):
            size = min(size, synced_bytes)  # what was only written is in memory, where disks do not rot
        offset = int(fault.amount * size)
        node.disk.turn_a_bit(name, offset, fault.other % 8)
        snapshots = [known for known in names if known.startswith("snapshot-0")]
        spare = name in snapshots and len(snapshots) > 1 and name != node.received
        node.rot_is_harmless = spare or name.startswith("vote.")
        cluster.note(f"a bit of byte {offset} of {node.name}/{name} turns")
        return node.start

    def _add(self) -> None:
        cluster = self._cluster
        before = cluster.group()
        if len(before) >= 5:
            return
        node = cluster.add_spare()
        if node is not None:
            node.start()
            for other in sorted(cluster.nodes):
                for way in ((node.name, other), (other, node.name)):
                    self.calm(*way)
            cluster.workload.change_group(lambda group: tuple(sorted({*group, node.name})))

    def _remove(self, node: SimNode) -> None:
        """In a run where disks are lost only a damaged node, so that a majority of sound ones always remains."""
        cluster = self._cluster
        group = cluster.group()
        name = node.name
        if self._disks_get_lost():
            damaged = [known for known in group if cluster.nodes[known].state is State.DAMAGED]
            name = damaged[0] if damaged else ""
        if name in group and len(group) > 2:
            cluster.workload.change_group(
                lambda group: tuple(other for other in group if other != name) if len(group) > 2 else group
            )

    def _remove_two_at_a_lonely_leader(self) -> Callable[[], None] | None:
        """An operator in a hurry: two changes, one right after the other, at a leader that reaches nobody."""
        cluster = self._cluster
        leader = cluster.leader()
        group = cluster.group()
        if leader is None or leader.paused or leader.name not in group or len(group) < 3:
            return None
        others = [name for name in group if name != leader.name]
        ways = [(leader.name, name) for name in others] + [(name, leader.name) for name in others]
        end = self._cut(ways, holds=False)
        for number in (0, 1):
            before = tuple(name for name in group if name not in others[:number])
            after = tuple(name for name in group if name not in others[: number + 1])
            cluster.timeline.after(0.03 * number, lambda pair=(before, after): self._ask_for(leader, *pair))
        return end

    def _ask_for(self, leader: SimNode, before: tuple[str, ...], after: tuple[str, ...]) -> None:
        if leader.reachable():
            change = operations.change_group(before, after)
            self._cluster.workload.call(leader, "change group", change, CHANGE_S)

    def _disks_get_lost(self) -> bool:
        """In such a run every removal but that of a damaged node could cost the majority."""
        plan = self._cluster.plan
        return plan.interval or bool({Kind.BIT_ROT, Kind.WIPE} & set(plan.kinds))
