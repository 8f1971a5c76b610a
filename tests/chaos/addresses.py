"""Free addresses on loopback for processes of a test, chosen so that nobody takes them in between."""

from __future__ import annotations

import random
import socket

# below Linux' range for outgoing connections: what a test frees for a moment, no dialling program is given
PORTS = range(10_000, 20_000)


def free_addresses(count: int) -> list[str]:
    """Distinct "127.0.0.1:port" on which nobody listens now."""
    chosen: list[str] = []
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        chosen.append(f"127.0.0.1:{port}")
        if len(chosen) == count:
            return chosen
    raise OSError(f"no {count} free ports between {PORTS.start} and {PORTS.stop}")
