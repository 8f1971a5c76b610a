"""What does a message between two nodes cost, plain and with TLS? `python -m bench.links [--json] [--quick]`

Both ends in one thread, so a figure is the processor time of sending and receiving one message, one after the other, without waiting.
"""

from __future__ import annotations

import argparse
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.measurement import figure, report, show
from consensus import TlsFiles, make_authority, make_node_certificate
from consensus.transport.links import SocketLinks

SMALL: dict[str, Any] = {
    "type": "append_entries",
    "term": 5,
    "commit_index": 10,
    "prevLogIdx": 9,
    "prevLogTerm": 5,
    "entries": [(bytes(100), 10, 5)],
}
LARGE: dict[str, Any] = SMALL | {"entries": [(bytes(60_000), 10, 5)]}


def free_addresses() -> list[str]:
    with socket.socket() as one, socket.socket() as other:
        for probe in (one, other):
            probe.bind(("127.0.0.1", 0))
        return sorted(f"127.0.0.1:{probe.getsockname()[1]}" for probe in (one, other))


def linked_pair(folder: Path | None) -> tuple[SocketLinks, SocketLinks, str]:
    """-> (sender, receiver, the receiver's id). With TLS when there is a folder for certificates."""
    receiving, sending = free_addresses()
    pair = []
    for node in (sending, receiving):
        tls = None
        if folder is not None:
            make_node_certificate(folder, node)
            tls = TlsFiles.of_node(folder, node)
        pair.append(SocketLinks(node, cluster="bench", tls=tls))
    sender, receiver = pair
    sender.dial(receiving)
    while not sender.receive(0.001):
        receiver.receive(0.001)
    while not receiver.receive(0.01):
        pass
    return sender, receiver, receiving


def send_and_receive_us(
    sender: SocketLinks, receiver: SocketLinks, peer: str, message: dict[str, Any], count: int
) -> float:
    started = time.thread_time()
    for _ in range(count):
        while not sender.send(
            peer, dict(message)
        ):  # another object each time: else it would be encoded only once
            receiver.receive(0.0)
        while not receiver.receive(0.0):
            pass
    return (time.thread_time() - started) / count * 1e6


def nothing_there_us(links: SocketLinks, count: int) -> float:
    started = time.thread_time()
    for _ in range(count):
        links.receive(0.0)
    return (time.thread_time() - started) / count * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    runs, count = (3, 2_000) if options.quick else (7, 10_000)
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_authority(folder)
        for kind, certificates in (("plain", None), ("tls", folder)):
            sender, receiver, peer = linked_pair(certificates)
            small = [send_and_receive_us(sender, receiver, peer, SMALL, count) for _ in range(runs)]
            large = [send_and_receive_us(sender, receiver, peer, LARGE, count // 10) for _ in range(runs)]
            idle = [nothing_there_us(receiver, count) for _ in range(runs)]
            figures |= {
                f"{kind}_100_bytes_us": figure(small, "us"),
                f"{kind}_60_kB_us": figure(large, "us"),
                f"{kind}_nothing_there_us": figure(idle, "us"),
            }
            sender.close()
            receiver.close()
    show(figures)
    if options.json:
        print(report("links", runs, figures, {}))


if __name__ == "__main__":
    main()
