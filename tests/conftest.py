"""What the tests share: brokers, fresh topic names, Hypothesis profiles, and a loud list of what was not tested.

A part of the machine that is missing (no network for Kafka's jars, no Java) skips the tests that need it and says so
at the end; with QUORATE_REQUIRE_ALL=1 it fails them. $QUORATE_KAFKA names a running broker to use instead of our own.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from hypothesis import settings

from cluster.kafka.dev_broker import DevBroker
from cluster.kafka.jars import BrokerError, find_java, kafka_jars

REQUIRE_ALL = os.environ.get("QUORATE_REQUIRE_ALL") == "1"
_MISSING = "MISSING PART: "
SHARED_HEAP_MB = 1024  # the clusters of a whole run come and go in one broker, each with some 130 partitions

settings.register_profile("dev", deadline=None, max_examples=50, print_blob=True)
settings.register_profile("ci", deadline=None, max_examples=200, print_blob=True, derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if REQUIRE_ALL else "dev"))


@pytest.fixture(scope="session")
def kafka_parts() -> None:
    """Kafka's jars and a Java are here. Only their absence may skip: a broker that does not start is a failure."""
    try:
        kafka_jars()
        find_java()
    except BrokerError as missing:
        if REQUIRE_ALL:
            pytest.fail(f"{_MISSING}{missing}", pytrace=False)
        pytest.skip(f"{_MISSING}{missing}")


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """ "host:port" of the broker that all tests of this run share: use `topic_prefix`, do not stop it."""
    named = os.environ.get("QUORATE_KAFKA")
    if named:
        yield named
        return
    request.getfixturevalue("kafka_parts")
    shared = DevBroker(tmp_path_factory.mktemp("kafka"), heap_mb=SHARED_HEAP_MB)
    try:
        yield shared.start()
    finally:
        shared.stop()


@pytest.fixture
def broker(kafka_parts: None, tmp_path: Path) -> Iterator[DevBroker]:
    """A started broker of this test alone: it may kill and restart it."""
    own = DevBroker(tmp_path / "broker")
    try:
        own.start()
        yield own
    finally:
        own.stop()


@pytest.fixture
def topic_prefix(request: pytest.FixtureRequest) -> Iterator[str]:
    """A name that no other test uses for its topics and groups. What the test made of it in the shared broker is deleted after it."""
    shared = request.getfixturevalue("kafka") if "kafka" in request.fixturenames else None
    prefix = f"t{uuid.uuid4().hex[:12]}"
    yield prefix
    if shared is not None:
        admin = AdminClient({"bootstrap.servers": shared, "log_level": 0})
        topics = [topic for topic in admin.list_topics(timeout=10).topics if topic.startswith(prefix)]
        if topics:
            admin.delete_topics(topics, operation_timeout=10)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says loudly which tests did not run because this machine lacks something."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = {report.nodeid: str(report.longrepr) for report in skipped}
    untested = sorted(test for test, reason in reasons.items() if _MISSING in reason)
    if not untested:
        return
    terminalreporter.section("NOT TESTED: parts of this machine are missing", red=True)
    for test in untested:
        terminalreporter.write_line(test)
    first = reasons[untested[0]].split(_MISSING, 1)[1].rstrip("')\"")
    terminalreporter.write_line(f"{len(untested)} tests did not run. {first}")
