"""The development broker: it serves, can be found again, survives a kill, and says why it cannot start."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cluster.kafka.dev_broker import BrokerError, DevBroker

pytestmark = pytest.mark.integration


def _accepts(bootstrap: str) -> bool:
    host, port = bootstrap.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=2.0).close()
    except OSError:
        return False
    return True


def test_it_is_found_again_and_serves_the_same_port_after_a_kill(broker: DevBroker, tmp_path: Path) -> None:
    # Given a broker that serves
    first_pid, bootstrap = broker.pid, broker.bootstrap
    assert _accepts(bootstrap)
    found = DevBroker.attach(tmp_path / "broker")
    assert found is not None
    assert (found.pid, found.bootstrap) == (first_pid, bootstrap)

    # When it is killed
    broker.kill()
    assert broker.pid is None
    assert not _accepts(bootstrap)
    assert DevBroker.attach(tmp_path / "broker") is None

    # Then it comes back as another process on the same port
    assert broker.restart() == bootstrap
    assert broker.pid not in (None, first_pid)
    assert _accepts(bootstrap)

    # And a stop leaves nothing behind, also when asked twice
    broker.stop()
    broker.stop()
    assert not _accepts(bootstrap)
    assert DevBroker.attach(tmp_path / "broker") is None


def test_a_second_broker_over_the_same_directory_is_refused(broker: DevBroker, tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="already runs"):
        DevBroker(tmp_path / "broker").start()
    assert broker.pid is not None


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BrokerError, match=f"Port {port} is in use"):
            DevBroker(tmp_path / "broker", port=port).start()
    assert not (tmp_path / "broker").exists()
