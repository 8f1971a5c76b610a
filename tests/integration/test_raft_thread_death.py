"""A fault on the ledger's own thread is heard: calls end, the owner is told, nothing waits for ever."""

import socket
import threading
import time
from pathlib import Path

import pytest

from consensus import ConsensusError, KeyService
from consensus.raft.raft_thread import STEP_S

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


def test_a_group_of_one_answers_as_soon_as_its_disk_has_it(tmp_path: Path) -> None:
    """Nobody else's answer wakes it: without care each call waits for the next timer."""
    with KeyService(free_address(), [], tmp_path) as service:
        began = time.monotonic()
        for _ in range(100):
            service.barrier()
        assert time.monotonic() - began < 100 * STEP_S / 2


def test_a_call_that_comes_while_the_thread_ends_is_refused_and_never_waits(tmp_path: Path) -> None:
    service = KeyService(free_address(), [], tmp_path)
    service.start()
    try:
        service.wait_ready(20)
        raft = service._started()
        raft.stop()
        raft._stopping.clear()  # as a caller saw it that looked just before the end
        with pytest.raises(ConsensusError, match="has stopped"):
            service.reserve_future(1).result(10)
    finally:
        service.stop()


def test_the_service_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    service = KeyService(free_address(), [], tmp_path)
    starter = threading.Thread(target=service.start)
    starter.start()
    starter.join(20)
    assert not starter.is_alive()
    try:
        service.wait_ready(20)
        assert service.reserve(1).start == 1
    finally:
        service.stop()
