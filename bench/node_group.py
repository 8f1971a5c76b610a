"""Three node processes on loopback that obey the bench: one JSON line in, one JSON line out.

Each is an embedder as any other: its threads call the key service of their own process. The same protocol drives our nodes
(`bench.ledger_node`) and stock pysyncobj's (`bench.peers.stock_pysyncobj`), so that both run the same load.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs")
ANSWER_WITHIN_S = 120.0
LOOK_EVERY_S = 0.02
STOP_WITHIN_S = 15.0


def disk_directory(where: Path | None) -> Path:
    """A new directory on a disk: what is flushed there costs what it costs. Raises `SystemExit` for one in memory."""
    parent = (where or Path("/var/tmp")).resolve()
    mounts = [
        mount
        for mount in psutil.disk_partitions(all=True)
        if parent == Path(mount.mountpoint) or Path(mount.mountpoint) in parent.parents
    ]
    if mounts and max(mounts, key=lambda mount: len(mount.mountpoint)).fstype in IN_MEMORY:
        raise SystemExit(
            f"{parent} is held in memory, so flushing costs nothing there: give --directory on a disk"
        )
    return Path(tempfile.mkdtemp(prefix="quorate-bench-", dir=parent))


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    now_bytes: int
    peak_bytes: int


class NodeProcess:
    """`ask` sends a command and waits for its answer; `tell` and `answer` do it in two steps."""

    def __init__(
        self,
        module: str,
        words: Sequence[str],
        log: Path,
        *,
        python: str = sys.executable,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._log = log
        with log.open("ab") as file:
            self._child = subprocess.Popen(
                [python, "-m", module, *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                env=environ,
            )
        self._reader = threading.Thread(target=self._read, name="answers", daemon=True)
        self._reader.start()

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self._child.pid)

    @property
    def alive(self) -> bool:
        return self._child.poll() is None

    def memory(self) -> Memory:
        """Resident now, and the most since its start as the kernel has counted it."""
        lines = Path(f"/proc/{self._child.pid}/status").read_text().splitlines()
        peak = next(line for line in lines if line.startswith("VmHWM:"))
        return Memory(now_bytes=self.process.memory_info().rss, peak_bytes=int(peak.split()[1]) * 1024)

    def tell(self, do: str, **arguments: Any) -> None:
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._child.stdin.flush()

    def answer(self, timeout_s: float = ANSWER_WITHIN_S) -> dict[str, Any]:
        try:
            answer = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            raise RuntimeError(
                f"a node did not answer within {timeout_s:g} s: {self._last_words()}"
            ) from None
        if answer is None:
            raise RuntimeError(f"a node ended: {self._last_words()}")
        if "error" in answer:
            raise RuntimeError(f"a node failed: {answer['error']}")
        return answer

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        self.tell(do, **arguments)
        return self.answer()

    def kill(self) -> float:
        """SIGKILL; returns the monotonic moment at which it was sent."""
        at = time.monotonic()
        self._child.send_signal(signal.SIGKILL)
        self.stop()
        return at

    def stop(self) -> None:
        """Idempotent."""
        assert self._child.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._child.stdin.close()  # the node leaves at the end of its input
        try:
            self._child.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._child.stdout is not None
        with self._child.stdout as lines:
            for line in lines:
                self._answers.put(json.loads(line))
        self._answers.put(None)

    def _last_words(self) -> str:
        return self._log.read_text(errors="replace").strip()[-500:] or "it said nothing"


class NodeGroup:
    """`with NodeGroup(module, directory) as group`: three nodes, all ready. The directory is removed at the end.

    `one_core`: each process is held to one core, as `taskset` does. Only one thread of a Python process runs at a time, and waking the next
    on another core costs many times what it costs on the same one.
    """

    def __init__(
        self, module: str, directory: Path, *words: str, nodes: int = 3, one_core: bool = False
    ) -> None:
        self._module, self.directory, self._words, self._one_core = module, directory, words, one_core
        self.addresses = [f"127.0.0.1:{port}" for port in free_ports(nodes)]
        self.nodes: dict[str, NodeProcess] = {}

    def __enter__(self) -> NodeGroup:
        try:
            for address in self.addresses:
                self.start(address)
            for node in self.nodes.values():
                node.ask("ready")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    def data_directory(self, address: str) -> Path:
        return self.directory / f"node-{self.addresses.index(address) + 1}"

    def start(self, address: str) -> NodeProcess:
        directory = self.data_directory(address)
        self.directory.mkdir(parents=True, exist_ok=True)
        words = [address, ",".join(self.addresses), str(directory), *self._words]
        node = NodeProcess(self._module, words, self.directory / f"{directory.name}.log")
        if self._one_core:
            cores = sorted(os.sched_getaffinity(0))
            core = cores[self.addresses.index(address) % len(cores)]
            os.sched_setaffinity(node.process.pid, {core})  # before it has threads: they inherit it
        self.nodes[address] = node
        return node

    def leader(self, timeout_s: float = 30.0) -> str:
        """The address that the living nodes agree on."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            named = {node.ask("leader")["leader"] for node in self.nodes.values() if node.alive}
            if len(named) == 1 and (leader := named.pop()) and self.nodes[leader].alive:
                return str(leader)
            time.sleep(LOOK_EVERY_S)
        raise RuntimeError(f"no leader within {timeout_s:g} s")

    def follower(self) -> str:
        leader = self.leader()
        return next(address for address in self.addresses if address != leader and self.nodes[address].alive)

    def cpu_s(self) -> float:
        """User and system time of all living nodes together."""
        times = [node.process.cpu_times() for node in self.nodes.values() if node.alive]
        return float(sum(one.user + one.system for one in times))

    def stop(self) -> None:
        for node in self.nodes.values():
            node.stop()
        shutil.rmtree(self.directory, ignore_errors=True)
