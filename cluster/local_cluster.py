"""A cluster of node processes on this machine, with its broker: for `quorate up`, the demo and the tests.

Everything lives in one directory: cluster.json (ports, chosen once; pids), broker/, and per node its data
and node.log. Nodes are processes in sessions of their own, so that they outlive the command that started
them.
"""

from __future__ import annotations

import fcntl
import json
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from cluster.client import Client
from cluster.cluster_file import NodeState, is_running, last_words, named, read_state
from cluster.errors import QuorateError, SettingsError, Unavailable
from cluster.kafka.dev_broker import BrokerError, DevBroker

HANDLERS = ("cluster.demo_handlers",)
# below Linux' range for outgoing connections: a node that is down keeps its port
PORTS = range(21_000, 32_000)
READY_S = 60.0
STOP_S = 15.0  # a node's own grace is 10 s
LOOK_S = 0.1
LOCK_S = 90.0  # longer than one `up` takes


class LocalClusterError(QuorateError):
    """A process of the cluster did not start; the text says where its log is."""


class LocalCluster:
    """`up` continues what it finds in `directory`; the number of nodes and the ports stay as first chosen."""

    def __init__(
        self,
        directory: Path | str,
        nodes: int = 3,
        handlers: Sequence[str] = HANDLERS,
        *,
        kafka: str | None = None,
        workers: int = 1,
        prefix: str = "quorate",
    ) -> None:
        self.directory = Path(directory).resolve()
        self._wanted: dict[str, Any] = {
            "nodes": nodes,
            "handlers": list(handlers),
            "kafka": kafka,
            "workers": workers,
            "prefix": prefix,
        }
        self._children: list[subprocess.Popen[bytes]] = []

    @classmethod
    def attach(cls, directory: Path | str) -> LocalCluster:
        """The cluster that `up` made there. Raises `SettingsError` when there is none."""
        state = read_state(Path(directory))
        return cls(
            directory,
            len(state["nodes"]),
            state["handlers"],
            kafka=None if state["own_broker"] else state["kafka"],
            workers=state["workers"],
            prefix=state["prefix"],
        )

    def up(self, timeout_s: float = READY_S) -> dict[str, Any]:
        """Starts what is missing; returns the description when every node is ready. Raises `LocalClusterError`."""
        deadline = time.monotonic() + timeout_s
        with self._locked():
            state = self._load_or_plan()
            self._start_broker(state, timeout_s)
            for node in state["nodes"]:
                if not is_running(node):
                    self._start(state, node)
                    self._save(state)
            self._await_ready(state, deadline)
            return self._describe(state)

    def describe(self) -> dict[str, Any]:
        """The object that `up --json` prints."""
        return self._describe(read_state(self.directory))

    def down(self) -> list[str]:
        """Ends nodes, then the broker; returns the names of what was running. Data stays."""
        with self._locked():
            state = read_state(self.directory)
            running = [node for node in state["nodes"] if is_running(node)]
            members = [_process(node) for node in running]
            workers = [child for member in members for child in _children(member)]
            for member in members:
                _send(member, signal.SIGTERM)
            _, late = psutil.wait_procs(members, timeout=STOP_S)
            for process in [*late, *workers]:
                _send(process, signal.SIGKILL)
            psutil.wait_procs([*late, *workers], timeout=5)
            self._reap()
            ended = [str(node["name"]) for node in running]
            broker = DevBroker.attach(self.directory / "broker") if state["own_broker"] else None
            if broker is not None:
                broker.stop()
                ended.append("kafka")
            return ended

    def kill(self, name: str) -> None:
        """SIGKILL to this node's process, as a crash would; returns when it is gone."""
        node = named(read_state(self.directory), name)
        if is_running(node):
            process = _process(node)
            _send(process, signal.SIGKILL)
            psutil.wait_procs([process], timeout=5)
        self._reap()

    def await_end(self, name: str, *, timeout_s: float) -> int | None:
        """The exit code of a node that was told to end; None when it was not started here. Raises `Unavailable`."""
        node = named(read_state(self.directory), name)
        for child in self._children:
            if child.pid == node["pid"]:
                try:
                    return child.wait(timeout_s)
                except subprocess.TimeoutExpired:
                    raise Unavailable(f"node {name} did not end within {timeout_s:g} s") from None
        return None

    def start_node(self, name: str) -> int:
        """Starts it again after `kill`, without waiting for it to be ready; returns its pid."""
        with self._locked():
            state = read_state(self.directory)
            node = named(state, name)
            if not is_running(node):
                self._start(state, node)
                self._save(state)
            return int(node["pid"])

    def leave(self) -> None:
        """The processes go on without this object; for commands that end after `up`."""
        for child in self._children:
            child.returncode = 0  # else Popen complains about a process that is meant to outlive us
        self._children.clear()

    def _load_or_plan(self) -> dict[str, Any]:
        if (self.directory / "cluster.json").exists():
            return read_state(self.directory)
        count = int(self._wanted["nodes"])
        ports = _free_ports(2 * count)
        state: dict[str, Any] = {
            "format": 1,
            "kafka": self._wanted["kafka"] or "",
            "own_broker": self._wanted["kafka"] is None,
            "broker_pid": None,
            "handlers": self._wanted["handlers"],
            "workers": self._wanted["workers"],
            "prefix": self._wanted["prefix"],
            "cwd": str(Path.cwd()),  # where handler modules are looked for, as `python -m` does
            "nodes": [
                {
                    "name": f"node{number + 1}",
                    "pid": 0,
                    "create_time": 0.0,
                    "peer": f"127.0.0.1:{ports[2 * number]}",
                    "api": f"127.0.0.1:{ports[2 * number + 1]}",
                    "web": None,
                    "data_dir": str(self.directory / f"node{number + 1}"),
                }
                for number in range(count)
            ],
        }
        self._save(state)
        return state

    def _start_broker(self, state: dict[str, Any], timeout_s: float) -> None:
        if not state["own_broker"]:
            return
        folder = self.directory / "broker"
        broker = DevBroker.attach(folder)
        try:
            if broker is None:
                port = int(state["kafka"].rpartition(":")[2]) if state["kafka"] else 0
                broker = DevBroker(folder, port=port)
                state["kafka"] = broker.start(timeout_s=timeout_s)
        except BrokerError as error:
            raise LocalClusterError(f"the broker did not start: {error}") from error
        state["broker_pid"] = broker.pid
        self._save(state)

    def _start(self, state: dict[str, Any], node: NodeState) -> None:
        folder = Path(node["data_dir"])
        folder.mkdir(parents=True, exist_ok=True)
        options = {
            "--listen": node["peer"],
            "--peers": ",".join(one["peer"] for one in state["nodes"]),
            "--kafka": state["kafka"],
            "--handlers": ",".join(state["handlers"]),
            "--data-dir": str(folder),
            "--api": node["api"],
            "--prefix": state["prefix"],
            "--name": node["name"],
            "--workers": str(state["workers"]),
        }
        words = [word for option in options.items() for word in option]
        with (folder / "node.log").open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "cluster.cli.main", "node", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=state["cwd"],
                start_new_session=True,
            )
        self._children.append(child)
        node["pid"] = child.pid
        node["create_time"] = psutil.Process(child.pid).create_time()

    def _await_ready(self, state: dict[str, Any], deadline: float) -> None:
        with Client(",".join(node["api"] for node in state["nodes"])) as client:
            while True:
                ready = {view.name for view in client.nodes() if view.ready}
                missing = [node for node in state["nodes"] if node["name"] not in ready]
                if not missing:
                    return
                for node in missing:
                    if not is_running(node):
                        self._reap()
                        raise LocalClusterError(f"{node['name']} ended while starting: {last_words(node)}")
                if time.monotonic() >= deadline:
                    names = ", ".join(node["name"] for node in missing)
                    raise Unavailable(f"{names} not ready in time: {last_words(missing[0])}")
                time.sleep(LOOK_S)

    def _describe(self, state: dict[str, Any]) -> dict[str, Any]:
        shown = ("name", "pid", "peer", "api", "web", "data_dir")
        return {
            "kafka": state["kafka"],
            "broker_pid": state["broker_pid"],
            "nodes": [{field: node[field] for field in shown} for node in state["nodes"]],
        }

    def _save(self, state: dict[str, Any]) -> None:
        """Whole or not at all: a killed `up` must not leave half a file."""
        fresh = self.directory / "cluster.json.new"
        fresh.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
        fresh.replace(self.directory / "cluster.json")

    def _reap(self) -> None:
        """Collects our own ended children, else they stay zombies until this process ends."""
        self._children = [child for child in self._children if child.poll() is None]

    @contextmanager
    def _locked(self) -> Generator[None, None, None]:
        """One `up` or `down` at a time, also of other processes. Raises `Unavailable` after LOCK_S."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            lock = (self.directory / "cluster.lock").open("w")
        except OSError as error:
            raise SettingsError(f"--dir {self.directory} cannot be used: {error.strerror}") from None
        with lock:
            deadline = time.monotonic() + LOCK_S
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise Unavailable(f"another command works in {self.directory}: try later") from None
                    time.sleep(LOOK_S)
            yield


def _process(node: NodeState) -> psutil.Process:
    return psutil.Process(node["pid"])


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _free_ports(count: int) -> list[int]:
    """Distinct ports that nobody listens on now."""
    chosen: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        chosen.append(port)
        if len(chosen) == count:
            return chosen
    raise Unavailable(f"no {count} free ports between {PORTS.start} and {PORTS.stop}")
