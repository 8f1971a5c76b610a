"""A node without threads: the ledger, the log under it, the calls in flight, this node's session, snapshots.

Everything of the world comes in through the constructor: disk (inside `storage`), links, clocks, chance, and an executor for the file
work of snapshots. So the same code runs under `RaftThread` in production and under the simulator, millions of steps by seed.

A tick: calls become entries while a leader is known; the log moves one step (binding.py); what was applied ends calls.
Duties of order are in the parts: group_commit.py (a call ends once), handlers.py (disk before words), snapshot_job.py (frozen state).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from consensus.config import LedgerConfig
from consensus.errors import ConsensusError, DataDirectoryError, NoQuorum, Refused
from consensus.group_commit import GATHER_S, REGULAR_URGENT, Call, GroupCommit
from consensus.ledger.commands import Opcode
from consensus.ledger.machine import LedgerMachine
from consensus.raft import messages
from consensus.raft.binding import LedgerNode
from consensus.raft.divergence import HashWatch
from consensus.raft.leases import LeaseJudge, OwnLease
from consensus.raft.membership import MEMBERSHIP
from consensus.raft.snapshot_job import SnapshotJob
from consensus.storage.directory import Storage
from consensus.storage.journal import SyncMode
from consensus.storage.records import REJOIN
from consensus.storage.snapshots import Snapshot
from consensus.transport.links import Links

LEASE_CHECK_EVERY_S = 0.5
PING_EVERY_S = 1.0
REGULAR = REGULAR_URGENT[:1]


class Replica:
    """One owner calls `add` and `step`. `step` raises when the node must stop; then only `close` may follow."""

    def __init__(
        self,
        *,
        node: str,
        storage: Storage,
        links: Links,
        clock: Callable[[], float],
        wall: Callable[[], float],
        rng: random.Random,
        background: Executor,
        config: LedgerConfig,
        ledger: LedgerMachine | None = None,
        sync: SyncMode = SyncMode.ALWAYS,
    ) -> None:
        self.node, self.config = node, config
        self.ledger = LedgerMachine() if ledger is None else ledger
        self.group = GroupCommit(rng.getrandbits(62))
        self.watch = HashWatch(node)
        self.lease = OwnLease(config.lease_s)
        self.status = b""
        self.peer_status: dict[str, tuple[float, bytes]] = {}
        self.round_trips_ms: dict[str, float] = {}
        self._clock, self._wall, self._links = clock, wall, links
        self._judge = LeaseJudge(config.lease_s + config.lease_margin_s)
        self._opening = False
        self._renew_at = self._judge_at = self._ping_at = float("-inf")
        start = storage.snapshots.newest()
        if start is not None:
            self._load(start)
        self.raft = LedgerNode(
            node,
            storage=storage,
            start=start,
            links=links,
            machine=self,
            config=config,
            clock=clock,
            rng=rng,
            sync=sync,
        )
        self.snapshots = SnapshotJob(
            storage.snapshots,
            background,
            config,
            index=1 if start is None else start.head.last[1],
            now=clock(),
        )

    @property
    def session(self) -> int | None:
        return self.group.session

    def add(self, call: Call) -> None:
        self.group.add(call)

    def repeat(self, call_id: str, call: Call) -> None:
        self.group.repeat(call_id, call, self._clock())

    def step(self, wait_s: float) -> None:
        """One tick, waiting `wait_s` at most for something to arrive."""
        now = self._clock()
        if self.raft.leader() is not None:
            self._keep_session(now)
            for command in self.group.propose(now, int(self._wall() * 1000)):
                self.raft.propose(command)
        self.group.expire(now)
        if now >= self._judge_at:
            self._judge_at = now + LEASE_CHECK_EVERY_S
            self._judge_leases(now)
        if now >= self._ping_at:
            self._ping_at = now + PING_EVERY_S
            self._ping(now)
        if self.raft.replication.needs_new_snapshot():
            self.snapshots.want()
        finished = self.snapshots.step(self.raft, self.ledger, now)
        if finished is not None:
            self.raft.compact(finished)
        if self.group.waiting and self.group.gathers(now):
            wait_s = min(wait_s, GATHER_S)
        self.raft.step(0.0 if self.snapshots.is_busy() else wait_s)

    def close(self) -> None:
        self.snapshots.abort()
        self.raft.close()

    # -- the state machine under the log (doors.py)

    def apply(self, command: bytes, index: int, term: int) -> None:
        kind = command[:1]
        if kind in (REGULAR, MEMBERSHIP):
            entry = command[2:] if kind == REGULAR else command[1:]
            applied = self.ledger.apply(entry, term)
            if applied.proposer == self.group.proposer:
                self.group.answered(applied.seq, applied.answers, self._clock())
        self.watch.applied(index, self.ledger.hash)

    def install(self, snapshot: Snapshot) -> None:
        self._load(snapshot)
        for seq, answers in self.ledger.stored_answers(self.group.proposer).items():
            self.group.answered(seq, answers, self._clock())  # answered inside the snapshot

    def proposes_soon(self) -> bool:
        return bool(self.group.waiting or self.group.in_flight)

    def knows(self, proposer: int, seq: int) -> bool:
        return self.ledger.knows(proposer, seq)

    def ping(self, peer: str, message: dict[str, Any]) -> None:
        now = self._clock()
        if message["type"] == "pong":
            self.round_trips_ms[peer] = (now - message["at"]) * 1000
            return
        self.peer_status[peer] = (now, message["status"])
        for index, state_hash in messages.hashes_of(message):
            self.watch.heard(peer, index, state_hash)
        self._links.send(peer, {"type": "pong", "at": message["at"]})

    def _load(self, snapshot: Snapshot) -> None:
        """Raises `DataDirectoryError`: the file is whole, so its writer was another version."""
        try:
            self.ledger.load(snapshot.sections)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise DataDirectoryError(
                f"the snapshot at entry {snapshot.head.last[1]} of {self.node} was written by a version that this program "
                f"cannot read ({error}): run the version that wrote it, or {REJOIN}"
            ) from error

    # -- this node's session, everybody's lease

    def _keep_session(self, now: float) -> None:
        if self.group.session is None:
            if not self._opening:
                self._opening = True
                nonce = self.ledger.sessions.next_nonce(self.node)
                command = [Opcode.OPEN_SESSION, self.node, nonce]
                self._internal(command, self._opened(now), now, opens_session=True)
        elif now >= self._renew_at:
            self._renew_at = now + self.config.lease_s / 4
            self._internal([Opcode.RENEW, self.group.session], self._renewed(now), now)

    def _internal(
        self,
        command: list[Any],
        end: Callable[[Any, ConsensusError | None], None],
        now: float,
        *,
        opens_session: bool = False,
    ) -> None:
        deadline = now + self.config.lease_s
        self.group.add(
            Call(command=lambda _: command, end=end, deadline=deadline, opens_session=opens_session)
        )

    def _opened(self, sent_at: float) -> Callable[[Any, ConsensusError | None], None]:
        def end(number: Any, error: ConsensusError | None) -> None:
            self._opening = False
            if error is None:
                self.group.session = number
                self.lease.renewed(sent_at)
                self._renew_at = float("-inf")

        return end

    def _renewed(self, sent_at: float) -> Callable[[Any, ConsensusError | None], None]:
        def end(_: Any, error: ConsensusError | None) -> None:
            if error is None:
                self.lease.renewed(sent_at)
            elif isinstance(error, Refused) and not isinstance(error, NoQuorum):
                self.group.session = None
                self.lease.lost()

        return end

    def _judge_leases(self, now: float) -> None:
        if self.raft.is_leader():
            opened = [
                (number, session.renewals) for number, session in self.ledger.sessions.items() if session.open
            ]
            for number in self._judge.overdue(self.raft.term, opened, now):
                self._internal([Opcode.CLOSE_SESSION, number], lambda _answer, _error: None, now)
        differs = self.watch.verdict(self.raft.members())
        if differs is not None:
            raise RuntimeError(differs)

    def _ping(self, now: float) -> None:
        hashes = [list(pair) for pair in self.watch.recent()]
        for peer in self.raft.connected():
            self._links.send(peer, {"type": "ping", "at": now, "status": self.status, "hashes": hashes})
