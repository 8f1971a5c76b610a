"""One simulated machine: its disk and clock outlive its processes, each of which is a real `Replica` stepped in virtual time.

A step happens when something arrived or when the timer is due, never while the node still computes: what a step cost (its messages,
syncs and work) is time during which it hears nothing. The process ends by a crash in the middle of an operation, by a fault from
outside, or because the replica itself stopped; whether it was allowed to stop is for the judges.
"""

from __future__ import annotations

import enum
import errno
import math
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from consensus.errors import DataDirectoryError
from consensus.raft.replica import Replica
from consensus.storage.directory import open_storage
from tests.simulation.background import SimBackground
from tests.simulation.clock import NodeClock
from tests.simulation.disk import SimDisk, SimulatedCrash
from tests.simulation.watched_ledger import WatchedLedger

if TYPE_CHECKING:
    from consensus.storage.directory import Storage
    from tests.simulation.cluster import Cluster
    from tests.simulation.network import SimLinks

TIMER_S = 0.02
WAKE_S = 0.0004  # from an arrival to the step that hears it; what comes meanwhile is heard with it
STEP_S = 40e-6  # what a step costs a processor beside its messages
RETRY_START_S = 0.5
CLUSTER = "simulation"


class State(enum.Enum):
    NEW = "never started"
    UP = "up"
    DOWN = "down"
    DAMAGED = "refuses to start: its disk was damaged"
    RETIRED = "removed and turned off"


class SimNode:
    def __init__(self, cluster: Cluster, name: str, founders: tuple[str, ...], *, joining: bool) -> None:
        self.cluster, self.name, self.founders, self.joining = cluster, name, founders, joining
        rng = Random(f"{cluster.plan.seed}/{name}")
        self.clock = NodeClock(timeline=cluster.timeline, boot_s=rng.uniform(1.0, 1e6))
        self.disk = SimDisk(Random(rng.random()), self.clock.wait)
        self.rng = rng
        self.state = State.NEW
        self.lives = 0
        self.boots = 1  # rises with each power cut
        self.paused = False
        self.rotted = False  # a bit was turned: it may refuse to start
        self.rot_is_harmless = False  # what was hit is there twice: it may not
        self.received = ""  # the newest snapshot that came from another node: no older one leads to the log
        self.lacks = (
            True  # it may have forgotten what it once acknowledged: new, wiped, or unsynced at a power cut
        )
        self.failed_io = False  # a fault of its disk may stop it
        self.stop_reason: BaseException | None = None
        self.awake_since_s = 0.0
        self.replica: Replica
        self.storage: Storage
        self.links: SimLinks
        self.ledger: WatchedLedger
        self._replica_life = 0
        self._busy_until_s = 0.0
        self._next_step_s = math.inf
        self._inside = False

    # -- life and death

    @property
    def up(self) -> bool:
        return self.state is State.UP

    def start(self) -> None:
        """A new process on this machine. A machine whose disk is full tries again later."""
        if self.up or self.state in (State.DAMAGED, State.RETIRED):
            return
        self.lives += 1
        self.state = State.UP  # a crash inside sets it back
        self.paused = False
        self.stop_reason = None
        self._next_step_s = math.inf
        self._busy_until_s = self.cluster.timeline.now_s
        self.inside(self._open)
        if self.up:
            self.cluster.note(f"{self.name} starts, life {self.lives}")
            self.cluster.judges.started(self)
            self.wake_at(self._busy_until_s)

    def _open(self) -> None:
        self.storage = open_storage(
            self.disk,
            cluster=CLUSTER,
            node=self.name,
            founders=self.founders,
            sync=self.cluster.sync,
            boot_id=f"boot-{self.boots}",
            segment_bytes_max=self.cluster.plan.segment_bytes,
        )
        self.ledger = WatchedLedger(self)
        self.links = self.cluster.network.attach(self.name, self)
        self.replica = self.cluster.build_replica(
            self,
            clock=self.cluster.monotonic,
            wall=self.clock.wall,
            rng=Random(self.rng.random()),
            background=SimBackground(self.clock.now_s, self._run_at, Random(self.rng.random())),
            ledger=self.ledger,
        )
        self._replica_life = self.lives

    def _run_at(self, time_s: float, action: Callable[[], None]) -> None:
        life = self.lives

        def run() -> None:
            if self.up and self.lives == life:
                if self.paused:
                    self.cluster.timeline.after(0.1, run)
                else:
                    self.inside(action, blocks=False)
                    self.arrived()

        self.cluster.timeline.at(time_s, run)

    def crash(self, *, power: bool) -> None:
        """The process is gone, and with `power` also what was not synced."""
        if not self.up:
            return
        if power and self.cluster.plan.interval:  # what it forgets must stay with a minority
            power = self.cluster.may_lack(self)
            self.lacks = self.lacks or power
            if not power:
                self.disk.forgive()
        self.cluster.note(f"{self.name} {'loses power' if power else 'is killed'}")
        self.state = State.DOWN
        self.boots += power
        self.cluster.network.detach(self.name, at_once=not power)
        self.disk.crash(power=power)
        self.cluster.judges.crashed(self)

    def wipe(self) -> None:
        """Somebody puts an empty disk into the machine."""
        self.crash(power=False)
        self.disk = SimDisk(Random(self.rng.random()), self.clock.wait)
        self.lacks = True
        self.cluster.judges.wiped(self)

    def retire(self) -> None:
        self.crash(power=False)
        self.state = State.RETIRED

    def pause(self) -> None:
        if self.up and not self.paused:
            self.paused = True
            life = self.lives
            self.cluster.network.paused(self.name, lambda: self.paused and self.lives == life)

    def resume(self) -> None:
        if self.paused:
            self.paused = False
            self.awake_since_s = self.cluster.timeline.now_s
            self.arrived()

    # -- steps

    def inside(self, action: Callable[[], None], *, blocks: bool = True) -> None:
        """Runs `action` as this node. `blocks`: on the raft thread, which does nothing else meanwhile."""
        cluster = self.cluster
        self.clock.spent_s = max(0.0, self._busy_until_s - cluster.timeline.now_s) if blocks else 0.0
        cluster.current, self._inside = self.clock, True
        try:
            action()
        except SimulatedCrash as crash:
            self.stop_reason = crash
            self.crash(power=crash.power)
            cluster.timeline.after(cluster.restart_after_s(self), self.start)
        except Exception as error:
            self._stopped(error)
        finally:
            if blocks:
                self._busy_until_s = cluster.timeline.now_s + self.clock.spent_s
            self.clock.spent_s = 0.0
            cluster.current, self._inside = cluster.outside, False

    def _stopped(self, error: Exception) -> None:
        """The replica, or its start, says that it cannot go on."""
        cluster = self.cluster
        self.stop_reason = error
        cluster.note(f"{self.name} stops: {type(error).__name__}: {error}")
        code = error.errno if isinstance(error, OSError) else None
        if isinstance(error, DataDirectoryError) and self.rotted and not self.rot_is_harmless:
            self.crash(power=False)
            self.state = State.DAMAGED
        elif code in (errno.EIO, errno.ENOSPC) and self.failed_io:
            # What a failed sync left in memory proves nothing: the machine is started anew.
            self.crash(power=code == errno.EIO)
            cluster.timeline.after(RETRY_START_S, self.start)
        else:
            cluster.judges.stopped_without_cause(self, error)

    def snapshot_received(self) -> None:
        """The ledger was loaded while the node runs."""
        if self.has_replica():
            self.received = max(name for name in self.disk.names() if name.startswith("snapshot-0"))

    def has_replica(self) -> bool:
        """The present life has come as far as to have one."""
        return self._replica_life == self.lives

    def reachable(self) -> bool:
        return self.up and not self.paused

    def arrived(self) -> None:
        """Something lies in its inbox."""
        if not self._inside:
            self.wake_at(max(self.cluster.timeline.now_s + WAKE_S, self._busy_until_s))

    def wake_at(self, time_s: float) -> None:
        if self.up and time_s < self._next_step_s:
            self._next_step_s = time_s
            life = self.lives
            self.cluster.timeline.at(time_s, lambda: self._step_if_due(time_s, life))

    def _step_if_due(self, time_s: float, life: int) -> None:
        if self.up and self.lives == life and self._next_step_s == time_s:
            self._next_step_s = math.inf
            if not self.paused:
                self.step()

    def step(self) -> None:
        links = self.links
        heard = bool(links.inbox)
        self.inside(self._step)
        self.cluster.stepped(self)
        if self.up:
            if self.lacks:
                self.lacks = self.replica.raft.must_catch_up
            pause_s = 0.0 if heard or links.inbox else TIMER_S
            self.wake_at(self._busy_until_s + pause_s)

    def _step(self) -> None:
        self.clock.compute(STEP_S)
        self.replica.step(0.0)
