"""The unmodified library under the same network and the same faults: it must fail, or the simulator proves nothing.

Here `pysyncobj.SyncObj` runs as it comes, with its own journal and dump in real files of a temporary directory; only its transport, its
clock and its poller are ours. A kill leaves its files as they were written (no power is ever cut: it never syncs, that would be too easy).
Calls are single replicated notes. Judged at the end: every note that was answered SUCCESS is in every replica, the replicas are
equal and answer, and every call has ended.

Run as `python -m tests.simulation.stock --seeds 100`: in a process of its own, because the repaired node replaces globals of the library.
"""

from __future__ import annotations

import argparse
import os
import sys

if os.environ.get("PYTHONHASHSEED") != "0":
    os.environ["PYTHONHASHSEED"] = "0"
    os.execv(sys.executable, [sys.executable, "-m", "tests.simulation.stock", *sys.argv[1:]])

import logging
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pysyncobj.syncobj
from pysyncobj import FAIL_REASON, SyncObj, SyncObjConf, replicated
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from consensus.transport.links import Connected, Disconnected
from tests.simulation.clock import NodeClock, Timeline
from tests.simulation.faults import LEADER, RUN_S, Fault, Kind, draw_plan
from tests.simulation.network import Network, SimLinks

TICK_S = 0.02
STEP_S = 40e-6
HEALED_S = 90.0  # ten times what the repaired node is given
CALL_ENDS_S = 60.0
KINDS = {
    Kind.LOSS,
    Kind.DELAY,
    Kind.CUT,
    Kind.ONE_WAY_CUT,
    Kind.ISOLATE,
    Kind.SPLIT,
    Kind.CHAIN,
    Kind.RESET,
    Kind.KILL,
    Kind.KILL_ALL,
    Kind.PAUSE,
    Kind.SNAPSHOT,
}


class StockTransport(Transport):
    """Between the library and the simulated links."""

    def __init__(self, sync_object: SyncObj, links: SimLinks, others: list[Node]) -> None:
        super().__init__(sync_object, None, others)
        self.links = links
        self._nodes = {node.id: node for node in others}
        for node in others:
            links.dial(node.id)

    def send(self, node: Node, message: dict[str, Any]) -> bool:
        return self.links.send(node.id, message)

    def deliver(self) -> None:
        for event in self.links.receive(0.0):
            node = self._nodes[event.peer]
            if isinstance(event, Connected):
                self._onNodeConnected(node)
            elif isinstance(event, Disconnected):
                self._onNodeDisconnected(node)
            else:
                self._onMessageReceived(node, event.message)


class Notes(SyncObj):
    def __init__(self, name: str, others: list[Node], transport: Transport, directory: Path) -> None:
        conf = SyncObjConf(
            autoTick=False,
            journalFile=str(directory / "journal"),
            fullDumpFile=str(directory / "dump"),
            useFork=False,
            logCompactionMinEntries=100,
            logCompactionMinTime=20,
            commandsWaitLeader=False,
        )
        super().__init__(Node(name), others, conf, transport=transport)
        self.notes: list[int] = []

    @replicated
    def note(self, number: int) -> int:
        self.notes.append(number)
        return len(self.notes)


class StockNode:
    def __init__(self, run: StockRun, name: str) -> None:
        self.run, self.name = run, name
        self.clock = NodeClock(timeline=run.timeline, boot_s=0.0)
        self.directory = run.directory / name.replace(":", "-")
        self.directory.mkdir()
        self.up = self.paused = False
        self.life = 0
        self.raft: Notes
        self.transport: StockTransport

    def reachable(self) -> bool:
        return self.up and not self.paused

    def arrived(self) -> None:
        """It ticks soon enough."""

    def start(self) -> None:
        if self.up:
            return
        self.up, self.life = True, self.life + 1
        run = self.run
        others = [Node(name) for name in run.names if name != self.name]
        run.current = self.clock
        self.transport = StockTransport(None, run.network.attach(self.name, self), others)  # type: ignore[arg-type]
        self.raft = Notes(self.name, others, self.transport, self.directory)
        life = self.life
        run.timeline.after(TICK_S, lambda: self._tick(life))

    def kill(self) -> None:
        if self.up:
            self.up = self.paused = False
            self.run.network.detach(self.name, at_once=True)

    def _tick(self, life: int) -> None:
        if not self.up or life != self.life:
            return
        busy_s = 0.0
        if not self.paused:
            self.run.current = self.clock
            self.clock.spent_s = STEP_S
            try:
                self.transport.deliver()
                self.raft.doTick(0.0)
            except Exception as error:  # the library's own loop logs it and goes on
                self.run.tracebacks.append(f"{self.name}: {type(error).__name__}: {error}")
            busy_s, self.clock.spent_s = self.clock.spent_s, 0.0
        self.run.timeline.after(TICK_S + busy_s, lambda: self._tick(life))


class _NoPoller:
    def poll(self, timeout: float) -> None:
        """Nothing: the transport delivers."""


class StockRun:
    def __init__(self, seed: int) -> None:
        self.plan = draw_plan(seed)
        random.seed(seed)
        self.timeline = Timeline()
        self.directory = Path(tempfile.mkdtemp(prefix="stock-"))
        self.network = Network(self.timeline, Random(f"{seed}/network"))
        self.names = [f"n{number}:7000" for number in range(self.plan.nodes)]
        self.nodes = {name: StockNode(self, name) for name in self.names}
        self.current = NodeClock(timeline=self.timeline, boot_s=0.0)
        self.tracebacks: list[str] = []
        self.open: dict[int, float] = {}
        self.answered: set[int] = set()
        self.rng = Random(f"{seed}/clients")
        self.numbers = 0
        self.stopped = False
        pysyncobj.syncobj.monotonicTime = lambda: self.current.monotonic()
        pysyncobj.syncobj.createPoller = lambda _kind: _NoPoller()
        pysyncobj.syncobj.PIPE_NOTIFIER_ENABLED = False

    def failures(self) -> list[str]:
        try:
            return self._run()
        finally:
            shutil.rmtree(self.directory)

    def _run(self) -> list[str]:
        for node in self.nodes.values():
            node.start()
        for fault in self.plan.faults:
            if fault.kind in KINDS:
                self.timeline.at(fault.at_s, lambda fault=fault: self._begin(fault))
        for _ in range(self.plan.clients):
            self._think()
        self.timeline.run_until(RUN_S)
        self.stopped = True
        self.network.calm()
        for node in self.nodes.values():
            node.paused = False
            node.start()
        self.timeline.run_until(RUN_S + HEALED_S)
        return self._judge()

    def _judge(self) -> list[str]:
        found = []
        for node in self.nodes.values():
            lost = self.answered - set(node.raft.notes)
            if lost:
                found.append(f"I6: {node.name} lacks {len(lost)} answered notes")
        if len({tuple(node.raft.notes) for node in self.nodes.values()}) > 1:
            found.append("I16: the replicas differ 90 s after healing")
        late = [
            number for number, began_s in self.open.items() if self.timeline.now_s - began_s > CALL_ENDS_S
        ]
        if late:
            found.append(f"I8: {len(late)} calls never ended")
        found += [f"I17: {text}" for text in self.tracebacks[:1]]
        return found

    def _think(self) -> None:
        if not self.stopped:
            self.timeline.after(self.rng.expovariate(1 / self.plan.think_s), self._act)

    def _act(self) -> None:
        node = self.nodes[self.rng.choice(self.names)]
        if node.reachable():
            self.numbers += 1
            number, life = self.numbers, node.life
            self.open[number] = self.timeline.now_s

            def end(_: Any, error: int) -> None:
                self.open.pop(number, None)
                if error == FAIL_REASON.SUCCESS:
                    self.answered.add(number)

            self.current = node.clock
            node.raft.note(number, callback=end)
            self.timeline.after(
                CALL_ENDS_S, lambda: self.open.pop(number, None) if node.life != life else None
            )
        self._think()

    def _begin(self, fault: Fault) -> None:
        names = self.names
        node = self.nodes[names[fault.node % len(names)]]
        if fault.node == LEADER:
            leaders = [known for known in self.nodes.values() if known.up and known.raft._isLeader()]
            node = leaders[0] if leaders else node
        others = [name for name in names if name != node.name]
        end: Callable[[], None] = lambda: None  # noqa: E731
        match fault.kind:
            case Kind.KILL | Kind.KILL_ALL:
                hit = [node] if fault.kind is Kind.KILL else list(self.nodes.values())
                for known in hit:
                    known.kill()
                end = lambda: [known.start() for known in hit] and None  # noqa: E731
            case Kind.PAUSE:
                node.paused = True
                self.network.paused(node.name, lambda: node.paused)
                end = lambda: setattr(node, "paused", False)  # noqa: E731
            case Kind.RESET:
                self.network.close_link(node.name, others[fault.other % len(others)])
            case Kind.SNAPSHOT:
                if node.up:
                    node.raft.forceLogCompaction()
            case Kind.LOSS | Kind.DELAY:
                for path in self.network.paths.values():
                    path.loss = 0.2 * fault.amount if fault.kind is Kind.LOSS else 0.0
                    path.delay_s = (0.001, 0.4 * fault.amount) if fault.kind is Kind.DELAY else path.delay_s
                end = lambda: [path.calm() for path in self.network.paths.values()] and None  # noqa: E731
            case _:
                ways = self._ways(fault, node.name, others)
                for way in ways:
                    self.network.cut(*way, holds=fault.choice)
                end = lambda: [self.network.mend(*way) for way in ways] and None  # noqa: E731
        self.timeline.after(fault.lasts_s, end)

    def _ways(self, fault: Fault, name: str, others: list[str]) -> list[tuple[str, str]]:
        other = others[fault.other % len(others)]
        match fault.kind:
            case Kind.CUT:
                return [(name, other), (other, name)]
            case Kind.ONE_WAY_CUT:
                return [(name, other)]
            case Kind.CHAIN:
                places = list(enumerate(self.names))
                return [(a, b) for i, a in places for j, b in places if abs(i - j) > 1]
        half = {name} if fault.kind is Kind.ISOLATE else set(self.names[: 1 + fault.other % len(others)])
        return [(a, b) for a in self.names for b in self.names if (a in half) != (b in half)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--first", action="store_true", help="stop at the first failure")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    failed = 0
    for seed in range(arguments.start, arguments.start + arguments.seeds):
        found = StockRun(seed).failures()
        if found:
            failed += 1
            print(f"seed {seed}: " + "; ".join(found), flush=True)
            if arguments.first:
                return 1
    print(f"{failed} of {arguments.seeds} seeds failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
