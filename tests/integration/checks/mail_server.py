"""A real SMTP and IMAP server for tests: GreenMail, a single jar, fetched once from Maven Central like Kafka's, and a Java to run it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cluster.kafka.jars import BrokerError, cache_directory, find_java

VERSION = "2.1.3"
USER, PASSWORD, ADDRESS = "archive", "a-pass-word-nobody-guesses", "archive@example.com"
FETCH_S, START_S = 240.0, 60.0
_RESOLVE = (
    "import sys, pathlib, jgo; "
    "print(jgo.build('com.icegreen:greenmail-standalone:' + sys.argv[1], cache_dir=pathlib.Path(sys.argv[2])).path)"
)


class MailMissing(Exception):
    """The mail server cannot be had; the text says why."""


def jar() -> Path:
    """Raises MailMissing."""
    kept = cache_directory() / f"greenmail-standalone-{VERSION}.jar"
    if kept.exists():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix="fetch-") as work:
        try:
            done = subprocess.run(
                [sys.executable, "-c", _RESOLVE, VERSION, work],
                capture_output=True,
                text=True,
                timeout=FETCH_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise MailMissing(
                f"GreenMail {VERSION} did not arrive in {FETCH_S:.0f} s: check the network"
            ) from None
        found = list(Path(work).rglob("greenmail-standalone*.jar"))
        if done.returncode != 0 or not found:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1][:200]
            raise MailMissing(f"GreenMail {VERSION} cannot be had from Maven Central ({reason})")
        shutil.copy2(found[0], Path(work) / "whole.jar")
        (Path(work) / "whole.jar").rename(kept)
    return kept


class MailServer:
    """One mailbox; mails are in memory, so `stop` loses them."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self.smtp_port, self.imap_port, self.imaps_port = _free_ports(3)

    def start(self) -> None:
        try:
            command = [str(find_java()), "-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        except BrokerError as error:
            raise MailMissing(str(error)) from None
        for protocol, port in (
            ("smtp", self.smtp_port),
            ("imap", self.imap_port),
            ("imaps", self.imaps_port),
        ):
            command += [f"-Dgreenmail.{protocol}.hostname=127.0.0.1", f"-Dgreenmail.{protocol}.port={port}"]
        command += [f"-Dgreenmail.users={USER}:{PASSWORD}@example.com", "-Dgreenmail.users.login=local_part"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([*command, "-jar", str(jar())], stdout=log, stderr=log)
        end_s = time.monotonic() + START_S
        for port in (self.smtp_port, self.imap_port, self.imaps_port):
            while not _answers(port):
                assert self._process.poll() is None, self._log.read_text()[-2000:]
                assert time.monotonic() < end_s, self._log.read_text()[-2000:]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None


def _free_ports(count: int) -> list[int]:
    with_ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in with_ports]
    for each in with_ports:
        each.close()
    return ports


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
    except OSError:
        time.sleep(0.02)
        return False
    return True
