"""What an embedder holds: unique keys, claims and the executed set, agreed by a majority (shell).

Here it is started and stopped, and its group changed; its calls are in `key_calls.py`, its reads of the local replica in
`key_reads.py`. `raft/raft_thread.py` owns everything that is asked for.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from consensus import operations
from consensus.calls import Calls, aresult, result
from consensus.config import LedgerConfig
from consensus.errors import ConsensusError, NoQuorum, Refused
from consensus.group_commit import Call
from consensus.key_calls import TIMEOUT_S, KeyCalls
from consensus.key_reads import KeyReads
from consensus.ledger.machine import LedgerMachine
from consensus.ledger.table import Table
from consensus.raft.raft_thread import RaftThread
from consensus.storage.directory import lock_directory
from consensus.storage.journal import SyncMode
from consensus.transport.certificates import TlsFiles
from consensus.transport.resolver import split_address
from consensus.waiting import Batons

MEMBERSHIP_TIMEOUT_S = 15.0  # a new node is fed the snapshot before it counts


class KeyService(KeyCalls, KeyReads):
    """`listen` and `peers` are "host:port"; the own address may stand among the peers. Thread-safe.

    `peers` are the founders of a new group; a group that stands already knows its members. A node that is to be added to it starts with
    `joining`, any members as peers, and waits until one of them is told `add_member`. Beyond loopback peers speak TLS: `tls` names the
    files of this node, or `insecure` does without. `bind`: where to listen when that is not the address that peers dial.
    `tables` are replicated with the ledger's own (`ledger/table.py`).
    `on_failure(error)` is called on the ledger's thread when a fault ends it; it must only set or queue.
    """

    def __init__(
        self,
        listen: str,
        peers: Sequence[str],
        data_dir: str | Path,
        *,
        cluster: str = "quorate",
        snapshot_every_s: float = 60.0,
        lease_s: float = 10.0,
        sync: SyncMode = SyncMode.ALWAYS,
        tls: TlsFiles | None = None,
        insecure: bool = False,
        joining: bool = False,
        bind: str | None = None,
        tables: Sequence[Table] = (),
        on_failure: Callable[[BaseException], None] = lambda _error: None,
    ) -> None:
        self._listen, self._peers = listen, [peer for peer in peers if peer != listen]
        self._directory, self._cluster = Path(data_dir), cluster
        self._config = LedgerConfig(snapshot_every_s=snapshot_every_s, lease_s=lease_s)
        self._sync, self._tls, self._insecure, self._joining = sync, tls, insecure, joining
        self._tables, self._on_failure, self._bind = tables, on_failure, bind
        self._batons = Batons()
        self._calls = Calls(self._send, self._batons)
        self._raft: RaftThread | None = None
        self._lock_file: IO[bytes] | None = None

    def start(self) -> None:
        """Returns at once, with or without a majority. Raises `PortInUse`, `DataDirectoryError`, `CertificateError`, `Refused`."""
        if self._tls is None and not self._insecure:
            for address in (self._listen, *self._peers):
                _check_loopback(address)
        self._lock_file = lock_directory(self._directory)
        try:
            self._raft = RaftThread(
                self._listen,
                self._peers,
                self._directory,
                cluster=self._cluster,
                config=self._config,
                sync=self._sync,
                tls=self._tls,
                joining=self._joining,
                ledger=LedgerMachine(self._tables),
                batons=self._batons,
                on_failure=self._on_failure,
                bind=self._bind,
            )
        except BaseException:
            self._lock_file.close()
            raise

    def wait_ready(self, timeout_s: float = 30.0) -> None:
        """Until the ledger has opened a session for this node. Raises `NoQuorum`."""
        raft = self._started()
        if not raft.has_session.wait(timeout_s):
            if raft.failure is not None:
                raise ConsensusError(f"the ledger of {self._listen} stopped: {raft.failure}")
            raise NoQuorum(
                f"{self._listen} found no majority of its group within {timeout_s:g} s: start its peers"
            )

    def stop(self) -> None:
        """Idempotent; open calls end as unknown or refused."""
        if self._raft is not None:
            self._raft.stop()
        if self._lock_file is not None:
            self._lock_file.close()

    def __enter__(self) -> KeyService:
        self.start()
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    @property
    def session(self) -> int | None:
        return None if self._raft is None else self._raft.session

    def is_executed(self, key: int, *, linearizable: bool = False, timeout_s: float = TIMEOUT_S) -> bool:
        """From the local replica, which may lag; `linearizable` passes a barrier first, and may raise as one."""
        if linearizable:
            self.barrier(timeout_s=timeout_s)
        return key in self._started().ledger.executed

    async def ais_executed(
        self, key: int, *, linearizable: bool = False, timeout_s: float = TIMEOUT_S
    ) -> bool:
        if linearizable:
            await self.abarrier(timeout_s=timeout_s)
        return key in self._started().ledger.executed

    def add_member(self, node: str, *, timeout_s: float = MEMBERSHIP_TIMEOUT_S) -> tuple[str, ...]:
        """-> the new group. Refused while another change is under way, or when the group is not what this node knows."""
        before = _with_address(self.members(), node)
        return self._change_group(before, {*before, node}, timeout_s)

    async def aadd_member(self, node: str, *, timeout_s: float = MEMBERSHIP_TIMEOUT_S) -> tuple[str, ...]:
        before = _with_address(self.members(), node)
        return await self._achange_group(before, {*before, node}, timeout_s)

    def remove_member(self, node: str, *, timeout_s: float = MEMBERSHIP_TIMEOUT_S) -> tuple[str, ...]:
        """-> the new group. The node may be down; one that leaves should be stopped afterwards."""
        before = self.members()
        return self._change_group(before, {*before} - {node}, timeout_s)

    async def aremove_member(self, node: str, *, timeout_s: float = MEMBERSHIP_TIMEOUT_S) -> tuple[str, ...]:
        before = self.members()
        return await self._achange_group(before, {*before} - {node}, timeout_s)

    def _change_group(self, before: tuple[str, ...], after: set[str], timeout_s: float) -> tuple[str, ...]:
        if after == set(before):
            return before
        change = operations.change_group(before, after)
        return result(self._calls.start(change, timeout_s), timeout_s)

    async def _achange_group(
        self, before: tuple[str, ...], after: set[str], timeout_s: float
    ) -> tuple[str, ...]:
        if after == set(before):
            return before
        change = operations.change_group(before, after)
        return await aresult(self._calls.start(change, timeout_s), timeout_s)

    def _send(self, call: Call, call_id: str | None) -> None:
        self._started().call(call, call_id)

    def _started(self) -> RaftThread:
        if self._raft is None:
            raise Refused(f"the key service of {self._listen} was not started")
        return self._raft


def _with_address(members: tuple[str, ...], node: str) -> tuple[str, ...]:
    """`members`, if `node` could ever be one."""
    try:
        split_address(node)
    except ValueError as error:
        raise Refused(f"{node!r} cannot be added to the group: {error}") from None
    return members


def _check_loopback(address: str) -> None:
    host = address.rpartition(":")[0]
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise Refused(
            f"{address} is not on loopback: peers need certificates there (`quorate certs`), or --insecure"
        )
