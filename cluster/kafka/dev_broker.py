"""A real single-node Kafka (KRaft) for development, the demo and the tests.

A data directory is one broker: its port, its records and, in `broker.json`, the process that serves it. The broker
runs in a session of its own, so it may outlive who started it; `attach` finds it again. For production bring your own
Kafka: this one has one replica and short timeouts, so that a test that kills it need not wait.
"""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import socket
import subprocess
import time
import uuid
from pathlib import Path
from typing import Final

import psutil

from cluster.kafka.jars import BrokerError, find_java, kafka_jars

__all__ = ["BrokerError", "DevBroker"]

_HOST: Final = "127.0.0.1"
_PORTS: Final = (
    20_000,
    32_000,
)  # below Linux's ephemeral ports: a client that retries cannot connect to itself
_STARTED: Final = b"Kafka Server started"
_POLL_S: Final = 0.05
_FORMAT_TIMEOUT_S: Final = 60.0
_SETTINGS: Final = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers={host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={logs}
num.partitions=6
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=6
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.coordinator.rebalance.protocols=classic,consumer
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=3000
group.consumer.min.session.timeout.ms=3000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=500
group.consumer.heartbeat.interval.ms=1000
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""


class DevBroker:
    """One broker process over one data directory."""

    def __init__(self, data_dir: Path, *, port: int = 0, heap_mb: int = 384) -> None:
        self._dir = Path(data_dir).absolute()
        self._heap_mb = heap_mb
        self._process: psutil.Process | None = None
        self._child: subprocess.Popen[bytes] | None = None
        before = _read_state(self._dir)
        self.port: int = port or before.get("port") or _free_port()
        self._controller_port: int = before.get("controller_port") or _free_port()

    @classmethod
    def attach(cls, data_dir: Path) -> DevBroker | None:
        """The broker that runs over `data_dir`, whoever started it; None if none does."""
        state = _read_state(Path(data_dir).absolute())
        process = _living(state.get("pid", 0), state.get("started_ms", 0))
        if process is None:
            return None
        broker = cls(data_dir, port=state["port"])
        broker._process = process
        return broker

    @property
    def bootstrap(self) -> str:
        return f"{_HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """Its process, None while it is down."""
        process = self._process
        return process.pid if process is not None and _is_alive(process) else None

    @property
    def log_path(self) -> Path:
        return self._dir / "broker.log"

    def start(self, timeout_s: float = 60.0) -> str:
        """Starts and waits until it serves; returns "host:port". Raises BrokerError."""
        if self.pid is not None:
            return self.bootstrap
        if DevBroker.attach(self._dir) is not None:
            raise BrokerError(
                f"A broker already runs over {self._dir}: use DevBroker.attach, or stop it first."
            )
        _require_free(self.port)
        _require_free(self._controller_port)
        classpath, java = f"{kafka_jars()}/*", find_java()
        deadline = time.monotonic() + timeout_s
        try:
            self._dir.mkdir(parents=True, exist_ok=True)
            settings = self._write_settings()
            if not (self._dir / "logs" / "meta.properties").exists():
                self._format(java, classpath, settings)
            log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
            self._launch(java, classpath, settings)
        except OSError as error:
            raise BrokerError(f"The broker over {self._dir} could not be started: {error}.") from None
        self._wait_until_serving(deadline, log_start, timeout_s)
        return self.bootstrap

    def stop(self, timeout_s: float = 10.0) -> None:
        """A clean stop, by force after `timeout_s`. Idempotent."""
        self._signal_and_wait(signal.SIGTERM, timeout_s)
        self.kill()

    def kill(self) -> None:
        """SIGKILL, as a crash; the data stay for `restart`. Idempotent."""
        self._signal_and_wait(signal.SIGKILL, 10.0)

    def restart(self, timeout_s: float = 60.0) -> str:
        """Up again on the same port with the same data."""
        self.stop()
        return self.start(timeout_s)

    def _write_settings(self) -> Path:
        settings = self._dir / "server.properties"
        text = _SETTINGS.format(
            host=_HOST, port=self.port, controller_port=self._controller_port, logs=self._dir / "logs"
        )
        settings.write_text(text, encoding="utf-8")
        return settings

    def _format(self, java: Path, classpath: str, settings: Path) -> None:
        cluster_id = base64.urlsafe_b64encode(b"\x00" + uuid.uuid4().bytes[1:]).rstrip(b"=").decode()
        command = [
            str(java),
            "-XX:TieredStopAtLevel=1",
            "-cp",
            classpath,
            "kafka.tools.StorageTool",
            "format",
        ]
        command += ["--standalone", "-t", cluster_id, "-c", str(settings)]
        try:
            done = subprocess.run(command, capture_output=True, timeout=_FORMAT_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            raise BrokerError(
                f"Formatting {self._dir} took over {_FORMAT_TIMEOUT_S:.0f} s: try again."
            ) from None
        if done.returncode != 0:
            reason = _last_line(done.stderr + done.stdout)
            raise BrokerError(f"Kafka could not format {self._dir} ({reason}): remove the directory.")

    def _launch(self, java: Path, classpath: str, settings: Path) -> None:
        logger = "-Dorg.slf4j.simpleLogger."
        command = [str(java), f"-Xmx{self._heap_mb}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        command += [
            f"{logger}defaultLogLevel=warn",
            f"{logger}log.kafka.server=info",
            f"{logger}showDateTime=true",
        ]
        command += ["-cp", classpath, "kafka.Kafka", str(settings)]
        with self.log_path.open("ab") as log:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._dir,
                start_new_session=True,
            )
        self._process = psutil.Process(self._child.pid)
        state = {
            "pid": self._child.pid,
            "started_ms": round(self._process.create_time() * 1000),
            "port": self.port,
            "controller_port": self._controller_port,
        }
        fresh = self._dir / "broker.json.new"
        fresh.write_text(json.dumps(state), encoding="utf-8")
        os.replace(fresh, self._dir / "broker.json")

    def _wait_until_serving(self, deadline: float, log_start: int, timeout_s: float) -> None:
        while time.monotonic() < deadline:
            if self.pid is None:
                reason = _last_line(self._log_since(log_start))
                self.kill()
                raise BrokerError(f"Kafka ended while it started ({reason}): see {self.log_path}.")
            if _STARTED in self._log_since(log_start) and _accepts(self.port):
                return
            time.sleep(_POLL_S)
        self.kill()
        raise BrokerError(
            f"Kafka did not serve {self.bootstrap} within {timeout_s:.0f} s: see {self.log_path}."
        )

    def _log_since(self, start: int) -> bytes:
        with self.log_path.open("rb") as log:
            log.seek(start)
            return log.read(1 << 20)

    def _signal_and_wait(self, number: signal.Signals, timeout_s: float) -> None:
        process, child = self._process, self._child
        try:
            if process is not None and _is_alive(process):
                process.send_signal(number)
            if child is not None:
                child.wait(timeout_s)
            elif process is not None:
                process.wait(timeout_s)
        except (psutil.NoSuchProcess, psutil.TimeoutExpired, subprocess.TimeoutExpired):
            return
        self._process = self._child = None


def _read_state(data_dir: Path) -> dict[str, int]:
    try:
        state = json.loads((data_dir / "broker.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: value for name, value in state.items() if isinstance(value, int)} if state else {}


def _living(pid: int, started_ms: int) -> psutil.Process | None:
    """The process, unless it ended or its number now belongs to another."""
    try:
        process = psutil.Process(pid) if pid > 0 else None
        if process is None or abs(process.create_time() * 1000 - started_ms) > 1500:
            return None
    except psutil.Error:
        return None
    return process if _is_alive(process) else None


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _free_port() -> int:
    for port in random.sample(range(*_PORTS), 200):
        if _is_free(port):
            return port
    raise BrokerError(f"No free port between {_PORTS[0]} and {_PORTS[1]}: name one with port=.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def _require_free(port: int) -> None:
    if not _is_free(port):
        raise BrokerError(f"Port {port} is in use: stop its owner or choose another port for the broker.")


def _accepts(port: int) -> bool:
    try:
        socket.create_connection((_HOST, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _last_line(output: bytes) -> str:
    lines = output.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:200] if lines else "no output"
