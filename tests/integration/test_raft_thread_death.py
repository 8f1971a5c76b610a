"""A fault on the ledger's own thread is heard: calls end, the owner is told, nothing waits for ever."""

import socket
import threading
from pathlib import Path

import pytest

from consensus import ConsensusError, KeyService

pytestmark = pytest.mark.integration


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_a_journal_that_cannot_be_written_stops_the_service_aloud(tmp_path: Path) -> None:
    told = threading.Event()
    service = KeyService(free_address(), [], tmp_path, on_failure=lambda _error: told.set())
    service.start()
    try:
        service.wait_ready(20)
        service._started().replica.raft.journal._file.close()  # what a lost disk does to the next write
        with pytest.raises(ConsensusError):
            service.reserve(10)
        assert told.wait(10)
        with pytest.raises(ConsensusError, match="not running"):
            service.reserve(10)
    finally:
        service.stop()
