"""Three etcd processes on loopback with their defaults (each entry is flushed), and callers that put at the leader over gRPC."""

from __future__ import annotations

import itertools
import json
import queue
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
import psutil

from bench.callers import closed_loop
from bench.node_group import LOOK_EVERY_S, free_ports
from bench.peers.grpc_calls import Calls

READY_WITHIN_S = 30.0
CALL_TIMEOUT_S = 10.0
PROBE_EVERY_S = 0.01  # as our own probes
PUT = "/etcdserverpb.KV/Put"
MISSING = "etcd is not installed (Debian: apt-get install etcd-server etcd-client)"


def installed() -> bool:
    return shutil.which("etcd") is not None and shutil.which("etcdctl") is not None


def version() -> str:
    text = subprocess.run(
        ["etcd", "--version"], capture_output=True, text=True, timeout=10, check=True
    ).stdout
    return text.splitlines()[0].rpartition(" ")[2]


def put_requests(value: bytes = b"1") -> Iterator[bytes]:
    """PutRequest in protobuf, without end: field 1 the key, another each time; field 2 the value."""
    for number in itertools.count(time.time_ns()):
        key = b"claim/%d" % number
        yield b"\x0a" + bytes((len(key),)) + key + b"\x12" + bytes((len(value),)) + value


def _probe(address: str, answers: queue.SimpleQueue[tuple[float, float]], done: threading.Event) -> None:
    """A put every few milliseconds, whether or not those before were answered."""
    requests = put_requests()
    with grpc.insecure_channel(address) as channel:
        put = channel.unary_unary(PUT, request_serializer=bytes, response_deserializer=bytes)
        while not done.is_set():
            asked = time.monotonic()

            def note(call: grpc.Future[bytes], asked: float = asked) -> None:
                if call.exception() is None:
                    answers.put((asked, time.monotonic()))

            put.future(next(requests), timeout=CALL_TIMEOUT_S).add_done_callback(note)
            time.sleep(PROBE_EVERY_S)


class EtcdGroup:
    """`with EtcdGroup(directory) as group`: a leader is known. The directory is removed at the end."""

    def __init__(self, directory: Path, *, nodes: int = 3) -> None:
        self.directory = directory
        ports = free_ports(2 * nodes)
        self._peers = {f"etcd-{n + 1}": f"http://127.0.0.1:{ports[2 * n + 1]}" for n in range(nodes)}
        self.addresses = [f"127.0.0.1:{ports[2 * n]}" for n in range(nodes)]
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> EtcdGroup:
        try:
            for address in self.addresses:
                self.start(address)
            self.leader()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    def start(self, address: str) -> None:
        name = f"etcd-{self.addresses.index(address) + 1}"
        self.directory.mkdir(parents=True, exist_ok=True)
        options = {
            "--name": name,
            "--data-dir": str(self.directory / name),
            "--listen-client-urls": f"http://{address}",
            "--advertise-client-urls": f"http://{address}",
            "--listen-peer-urls": self._peers[name],
            "--initial-advertise-peer-urls": self._peers[name],
            "--initial-cluster": ",".join(f"{one}={url}" for one, url in self._peers.items()),
            "--logger": "zap",
            "--log-level": "error",
        }
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[address] = subprocess.Popen(
                ["etcd", *(word for option in options.items() for word in option)], stdout=log, stderr=log
            )

    def leader(self) -> str:
        """The address of the member that calls itself leader. Raises `RuntimeError`."""
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            for address in self.addresses:
                status = self._status(address)
                if status and status["leader"] and status["leader"] == status["header"]["member_id"]:
                    return address
            time.sleep(LOOK_EVERY_S)
        raise RuntimeError(
            f"etcd found no leader within {READY_WITHIN_S:g} s: see the logs in {self.directory}"
        )

    def puts(self, *, callers: int, seconds: float) -> dict[str, Any]:
        return Calls(self.leader(), PUT, put_requests()).run(callers=callers, seconds=seconds).as_json()

    def puts_of_threads(self, *, threads: int, seconds: float) -> dict[str, Any]:
        """The same from threads of this process with grpcio, as a Python program would: its client takes more than etcd itself."""
        requests = put_requests()
        with grpc.insecure_channel(self.leader()) as channel:
            put = channel.unary_unary(PUT, request_serializer=bytes, response_deserializer=bytes)
            return closed_loop(
                lambda: put(next(requests), timeout=CALL_TIMEOUT_S), threads=threads, seconds=seconds
            ).as_json()

    def kill_leader(self, *, settle_s: float, answer_within_s: float) -> float:
        """Seconds from SIGKILL to the first answer, by either survivor, to a put asked after it. The killed one is started again."""
        leader = self.leader()
        answers: queue.SimpleQueue[tuple[float, float]] = queue.SimpleQueue()
        done = threading.Event()
        probes = [
            threading.Thread(target=_probe, args=(address, answers, done), name="probes", daemon=True)
            for address in self.addresses
            if address != leader
        ]
        for probe in probes:
            probe.start()
        time.sleep(settle_s)
        killed_at = time.monotonic()
        self.processes[leader].send_signal(signal.SIGKILL)
        self.processes[leader].wait()
        try:
            asked = answered = 0.0
            while asked < killed_at:
                asked, answered = answers.get(timeout=answer_within_s)
        except queue.Empty:
            raise RuntimeError(
                f"etcd answered nothing for {answer_within_s:g} s after its leader was killed"
            ) from None
        finally:
            done.set()
            for probe in probes:
                probe.join()
        self.start(leader)
        self._await_all()
        return answered - killed_at

    def cpu_s(self) -> float:
        times = [psutil.Process(one.pid).cpu_times() for one in self.processes.values() if one.poll() is None]
        return float(sum(one.user + one.system for one in times))

    def _await_all(self) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while not all(self._status(address) for address in self.addresses):
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"etcd did not come back within {READY_WITHIN_S:g} s: see {self.directory}"
                )
            time.sleep(LOOK_EVERY_S)

    def stop(self) -> None:
        for process in self.processes.values():
            process.kill()  # its data is thrown away anyway
            process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _status(self, address: str) -> dict[str, Any] | None:
        command = ["etcdctl", "--endpoints", address, "endpoint", "status", "--write-out", "json"]
        done = subprocess.run(
            command,
            env={"ETCDCTL_API": "3", "PATH": "/usr/local/bin:/usr/bin:/bin"},
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            return None
        status: dict[str, Any] = json.loads(done.stdout)[0]["Status"]
        return status
