"""A member of a cluster's ledger that is no node: it puts keys into states that only a crash at the right moment would leave behind."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.client import Client
from cluster.tables.labels import LabelsTable
from cluster.tables.limits import LimitsTable
from consensus import KeyService


@contextmanager
def ledger_member(client: Client, folder: Path, cluster: str = "quorate") -> Iterator[KeyService]:
    """It has a vote as any member, and leaves at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{probe.getsockname()[1]}"
    peers = [view.peer for view in client.nodes()]
    tables = [LimitsTable(), LabelsTable()]
    member = KeyService(listen, peers, folder / "member", cluster=cluster, joining=True, tables=tables)
    member.start()
    try:
        client.add_member(listen, timeout_s=30.0)
        member.wait_ready(30.0)
        yield member
    finally:
        client.remove_member(listen, timeout_s=30.0)
        member.stop()
