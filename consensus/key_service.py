"""What an embedder holds: unique keys by block and the executed set, agreed by a majority (shell).

Callers wait on their own futures, each with a deadline; `raft/raft_thread.py` owns what they ask for.
The executed set may be read from any thread: a single call on it is atomic under the GIL.
"""

from __future__ import annotations

import asyncio
import ipaddress
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeVar

from consensus.data_directory import take_directory
from consensus.errors import ConsensusError, NoQuorum, OutcomeUnknown, Refused
from consensus.group_commit import Call
from consensus.ledger.commands import Opcode, decode_runs, encode_runs
from consensus.ledger.machine import ExecuteAnswer
from consensus.raft.raft_thread import RaftThread

Answer = TypeVar("Answer")
EXECUTE_KEYS_MAX = 4096  # one command; a longer call travels as several
STALLED_AFTER_S = 1.0
STALLED = "the Raft thread of this node is stalled: it may or may not take effect"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerConnection:
    address: str
    connected: bool
    round_trip_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerStatistics:
    node: str
    leader: str | None
    is_leader: bool
    ready: bool
    term: int
    commit_index: int
    last_applied: int
    log_length: int
    session: int | None
    executed_count: int
    high_water: int
    state_hash: str
    peers: tuple[PeerConnection, ...]


class KeyService:
    """`listen` and `peers` are "host:port"; the own address may stand among the peers. Thread-safe.

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
        on_failure: Callable[[BaseException], None] = lambda _error: None,
    ) -> None:
        self._listen, self._others = listen, [peer for peer in peers if peer != listen]
        self._directory, self._cluster = Path(data_dir), cluster
        self._snapshot_every_s, self._lease_s = snapshot_every_s, lease_s
        self._on_failure = on_failure
        self._raft: RaftThread | None = None
        self._lock_file: IO[bytes] | None = None

    def start(self) -> None:
        """Returns at once, with or without a majority. Raises `PortInUse`, `DataDirectoryError`, `Refused`."""
        for address in (self._listen, *self._others):
            _check_loopback(address)
        self._lock_file = take_directory(self._directory, cluster=self._cluster, node=self._listen)
        try:
            self._raft = RaftThread(
                self._listen,
                self._others,
                self._directory,
                snapshot_every_s=self._snapshot_every_s,
                lease_s=self._lease_s,
                on_failure=self._on_failure,
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

    def reserve(self, count: int, *, timeout_s: float = 5.0) -> range:
        """`count` keys that nobody else ever gets. Raises `Refused`, `OutcomeUnknown` (then some keys may be lost)."""
        return _result(self.reserve_future(count, timeout_s=timeout_s), timeout_s)

    def reserve_future(self, count: int, *, timeout_s: float = 5.0) -> Future[range]:
        return self._call(
            lambda session: [Opcode.RESERVE, session, count],
            lambda first: range(first, first + count),
            timeout_s=timeout_s,
            needs_session=True,
        )

    def execute(
        self, keys: Sequence[int], *, outcome: str = "done", timeout_s: float = 5.0
    ) -> list[ExecuteAnswer]:
        """Marks `keys` executed by majority: final. An answer per key. Safe to repeat after `OutcomeUnknown`."""
        return _result(self.execute_future(keys, outcome=outcome, timeout_s=timeout_s), timeout_s)

    def execute_future(
        self, keys: Sequence[int], *, outcome: str = "done", timeout_s: float = 5.0
    ) -> Future[list[ExecuteAnswer]]:
        parts = [
            self._execute_part(keys[start : start + EXECUTE_KEYS_MAX], outcome, timeout_s)
            for start in range(0, len(keys), EXECUTE_KEYS_MAX)
        ]
        if len(parts) == 1:
            return parts[0]
        return _joined(parts)

    def barrier(self, *, timeout_s: float = 5.0) -> None:
        """Afterwards the local replica shows all that was committed before the call."""
        _result(self.barrier_future(timeout_s=timeout_s), timeout_s)

    def barrier_future(self, *, timeout_s: float = 5.0) -> Future[None]:
        return self._call(lambda _: [Opcode.BARRIER], lambda _: None, timeout_s=timeout_s)

    async def areserve(self, count: int, *, timeout_s: float = 5.0) -> range:
        return await _aresult(self.reserve_future(count, timeout_s=timeout_s), timeout_s)

    async def aexecute(
        self, keys: Sequence[int], *, outcome: str = "done", timeout_s: float = 5.0
    ) -> list[ExecuteAnswer]:
        return await _aresult(self.execute_future(keys, outcome=outcome, timeout_s=timeout_s), timeout_s)

    async def abarrier(self, *, timeout_s: float = 5.0) -> None:
        await _aresult(self.barrier_future(timeout_s=timeout_s), timeout_s)

    def is_executed(self, key: int, *, linearizable: bool = False) -> bool:
        """From the local replica, which may lag; `linearizable` passes a barrier first."""
        if linearizable:
            self.barrier()
        return key in self._started().ledger.executed

    def executed(self, keys: Sequence[int]) -> list[bool]:
        executed = self._started().ledger.executed
        return [key in executed for key in keys]

    def outcome(self, key: int) -> str | None:
        if key not in self._started().ledger.executed:
            return None
        return self._started().ledger.outcomes.get(key, "done")

    def high_water(self) -> int:
        """Every key below was handed out at some time, as far as the local replica knows."""
        return self._started().ledger.next_key

    def broadcast_status(self, status: bytes) -> None:
        """Sent to every peer about once a second, outside the log."""
        self._started().node.status = status

    def peer_status(self) -> dict[str, tuple[float, bytes]]:
        """Peer -> (age in s, its last status)."""
        now = time.monotonic()
        known = dict(self._started().node.peer_status)
        return {peer: (now - at, status) for peer, (at, status) in known.items()}

    def statistics(self) -> LedgerStatistics:
        raft = self._started()
        node, ledger = raft.node, raft.ledger
        leader = node.leader()
        return LedgerStatistics(
            node=self._listen,
            leader=leader,
            is_leader=node.is_leader(),
            ready=raft.session is not None and leader is not None,
            term=node.raftCurrentTerm,
            commit_index=node.raftCommitIndex,
            last_applied=node.raftLastApplied,
            log_length=node.log_length(),
            session=raft.session,
            executed_count=len(ledger.executed),
            high_water=ledger.next_key,
            state_hash=ledger.hash.hex(),
            peers=tuple(
                PeerConnection(
                    address=peer, connected=node.connected(peer), round_trip_ms=node.round_trips_ms.get(peer)
                )
                for peer in self._others
            ),
        )

    def _started(self) -> RaftThread:
        if self._raft is None:
            raise Refused(f"the key service of {self._listen} was not started")
        return self._raft

    def _execute_part(
        self, keys: Sequence[int], outcome: str, timeout_s: float
    ) -> Future[list[ExecuteAnswer]]:
        runs = encode_runs(keys)

        def answers(raw: list[Any]) -> list[ExecuteAnswer]:
            late, already_runs = raw
            already = {key for run in decode_runs(already_runs) for key in run}
            new = ExecuteAnswer.LATE if late else ExecuteAnswer.NEW
            return [ExecuteAnswer.ALREADY if key in already else new for key in keys]

        return self._call(
            lambda session: [Opcode.EXECUTE, session, outcome, runs],
            answers,
            timeout_s=timeout_s,
            size_bytes=64 + 10 * len(runs),
        )

    def _call(
        self,
        command: Callable[[int], list[Any]],
        convert: Callable[[Any], Answer],
        *,
        timeout_s: float,
        size_bytes: int = 32,
        needs_session: bool = False,
    ) -> Future[Answer]:
        future: Future[Answer] = Future()

        def end(raw: Any, error: ConsensusError | None) -> None:
            if not future.set_running_or_notify_cancel():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(convert(raw))

        self._started().call(
            Call(
                command=command,
                end=end,
                deadline=time.monotonic() + timeout_s,
                size_bytes=size_bytes,
                needs_session=needs_session,
            )
        )
        return future


def _result(future: Future[Answer], timeout_s: float) -> Answer:
    """The Raft thread ends each call by its deadline; a second later it is taken for stalled, say by a slow disk."""
    try:
        return future.result(timeout_s + STALLED_AFTER_S)
    except TimeoutError as error:
        raise OutcomeUnknown(STALLED) from error


async def _aresult(future: Future[Answer], timeout_s: float) -> Answer:
    try:
        return await asyncio.wait_for(asyncio.wrap_future(future), timeout_s + STALLED_AFTER_S)
    except TimeoutError as error:
        raise OutcomeUnknown(STALLED) from error


def _check_loopback(address: str) -> None:
    host = address.rpartition(":")[0]
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise Refused(f"{address} is not on loopback: peers speak without TLS in this version, use 127.0.0.1")


def _joined(parts: list[Future[list[ExecuteAnswer]]]) -> Future[list[ExecuteAnswer]]:
    joined: Future[list[ExecuteAnswer]] = Future()
    lock = threading.Lock()
    open_parts = len(parts)

    def part_done(_: Future[list[ExecuteAnswer]]) -> None:
        nonlocal open_parts
        with lock:
            open_parts -= 1
            if open_parts:
                return
        error = next((e for part in parts if (e := part.exception()) is not None), None)
        if error is not None:
            joined.set_exception(error)
        else:
            joined.set_result([answer for part in parts for answer in part.result()])

    if not parts:
        joined.set_result([])
    for part in parts:
        part.add_done_callback(part_done)
    return joined
