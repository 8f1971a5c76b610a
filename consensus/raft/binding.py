"""The only importer of pysyncobj: its node, repaired from outside through the methods that a subclass can override.

The library keeps what it does well: states, terms, the campaign, the counting of votes and of matched entries. All that it gets wrong
is decided by the pure files beside this one, carried out in campaigns.py, handlers.py (hearing, answering) and leading.py (proposals,
applying, sending), and tied to the library's private names here. docs/consensus.md lists each repair by its letter. One thread calls
everything.
"""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pysyncobj.syncobj
from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from consensus.config import LedgerConfig
from consensus.raft.doors import StateMachine
from consensus.raft.leading import Leading
from consensus.raft.recovery import align, group_log
from consensus.raft.replication import Replication
from consensus.storage.directory import Storage
from consensus.storage.journal import Journal, SyncMode
from consensus.storage.snapshots import Snapshot
from consensus.transport.links import Links

LOG = logging.getLogger("quorate.consensus")
logging.getLogger("pysyncobj").setLevel(logging.CRITICAL)  # its tracebacks; our errors are sentences
PINNED = {  # private names are overridden below: files that differ from these are refused
    "syncobj.py": "e8bdf06797085d734df86e24ab4802fe87893dff77268565ec036f7ad4a1cfe4",
    "transport.py": "0c9d89f9c4781ec9772df8011d7975a1a4a1a5f541357e12eae85a813e92b50b",
    "node.py": "e4a3f027cd8291f558334bb9c977e952f6b6989e7e1fa1588d3005ef0b990e2c",
    "config.py": "fbbc7ff9f18e4d15a7fd563376e42f5bd192956879d4b810b056d5248b955698",
}
FOLLOWER = 0  # the library's number
LATE_S = 0.1  # after such a pause what has arrived is heard before anything is judged by the clock


class _LinkTransport(Transport):  # type: ignore[misc]
    """The library's door to `Links`; its own TCP transport unpickles first and asks later (F1)."""

    ready = True

    def __init__(self, links: Links, complete: Callable[[dict[str, Any]], None]) -> None:
        super().__init__(None, None, ())
        self._links, self._complete = links, complete

    def send(self, node: Any, message: dict[str, Any]) -> bool:
        self._complete(message)
        return self._links.send(node.id, message)

    def destroy(self) -> None:
        self._links.close()


class _Inbox:
    """Stands in for the library's poller, which each tick ends with."""

    def __init__(self, poll: Callable[[float], None]) -> None:
        self.poll = poll


class _NoSerializer:
    """Snapshots are taken and loaded by `Replica`, never by the library."""

    def __init__(self, *_: Any) -> None:
        pass


def check_library() -> None:
    """Raises `RuntimeError` unless the installed pysyncobj is the very one that the overrides were written for."""
    folder = Path(pysyncobj.syncobj.__file__).parent
    for name, digest in PINNED.items():
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
            raise RuntimeError(
                f"pysyncobj's {name} is not that of version 0.3.17: install the locked packages again"
            )


class LedgerNode(Leading, SyncObj):  # type: ignore[misc]
    """One node of the group. `machine` gets each committed command once, in order. `start`: the snapshot that its state is from."""

    _SyncObj__otherNodes: set[Any]
    _SyncObj__newAppendEntriesTime: float

    def __init__(
        self,
        node: str,
        *,
        storage: Storage,
        start: Snapshot | None,
        links: Links,
        machine: StateMachine,
        config: LedgerConfig,
        clock: Callable[[], float],
        rng: random.Random,
        sync: SyncMode,
    ) -> None:
        check_library()
        journal = storage.journal
        align(journal, start)
        Leading.__init__(
            self,
            node,
            journal=journal,
            snapshots=storage.snapshots,
            links=links,
            machine=machine,
            groups=group_log(journal, storage.founders, start),
            config=config,
            clock=clock,
            rng=rng,
            lazy_sync=sync is SyncMode.INTERVAL,
            must_catch_up=storage.must_catch_up,
            caught_up=storage.caught_up,
        )
        self._ticked_at = clock()
        self._group = self.groups.current
        _replace_globals(journal, clock, self._receive)
        SyncObj.__init__(
            self,
            Node(node),
            [Node(member) for member in self._group if member != node],
            SyncObjConf(
                autoTick=False,
                appendEntriesUseBatch=False,
                appendEntriesPeriod=config.heartbeat_s,
                raftMinTimeout=config.election_min_s,
                raftMaxTimeout=config.election_max_s,
                leaderFallbackTimeout=config.leader_fallback_s,
                dynamicMembershipChange=False,
                fullDumpFile=None,
                journalFile="by createJournal",
            ),
            nodeClass=Node,
            transport=_LinkTransport(links, self._complete),
        )
        for name in ("status", "add", "remove", "set_version", "transfer"):
            self._SyncObj__transport.setOnUtilityMessageCallback(name, None)
        self.replication = Replication(
            journal,
            storage.snapshots,
            links.send,
            next_index=self._SyncObj__raftNextIndex,
            match_index=self._SyncObj__raftMatchIndex,
            chunk_bytes=config.snapshot_chunk_bytes,
        )
        if start is not None:
            self._restored(start.head.last[1])
        for peer in self._group:
            if peer != node:
                links.dial(peer)

    # -- what the owner asks for

    @property
    def term(self) -> int:
        return int(self._SyncObj__raftCurrentTerm)

    @property
    def commit_index(self) -> int:
        return int(self._SyncObj__raftCommitIndex)

    @property
    def last_applied(self) -> int:
        return int(self._SyncObj__raftLastApplied)

    def leader(self) -> str | None:
        node = self._SyncObj__raftLeader
        return None if node is None else str(node.id)

    def is_leader(self) -> bool:
        return bool(self._isLeader())

    def members(self) -> tuple[str, ...]:
        return self._group

    def members_at(self, index: int) -> tuple[str, ...]:
        """The group as of the committed entry `index`."""
        return self.groups.at(index)

    def connected(self) -> set[str]:
        return {node.id for node in list(self._SyncObj__connectedNodes)}  # a copy: other threads ask as well

    def log(self) -> Journal:
        """The entries in memory."""
        return self.journal

    def step(self, wait_s: float) -> None:
        """One tick. Raises what ends this node: damage, divergence, an I/O error."""
        now = self.clock()
        if now - self._ticked_at > LATE_S:
            self._receive(0.0)
        self._ticked_at = now
        if self.campaign_now:
            self._SyncObj__raftElectionDeadline = float("-inf")
        if self.broken is None:
            self.doTick(wait_s)
        if self.broken is not None:
            raise self.broken

    def close(self) -> None:
        try:
            self._doDestroy()
        finally:
            self.replication.close()
            self.journal._destroy()

    # -- doors (doors.py)

    @property
    def vote(self) -> str | None:
        return self._SyncObj__votedForNodeId  # type: ignore[no-any-return]

    def _adopt(self, term: int, vote: str | None = None) -> None:
        self.campaign_now = self.campaign_now and term == self.term
        self._SyncObj__setCurrentTerm(term, vote)
        self._follow(None)

    def _follow(self, leader: str | None) -> None:
        self._SyncObj__setState(FOLLOWER)
        self._SyncObj__raftLeader = None if leader is None else Node(leader)
        if leader is not None:
            self._SyncObj__raftElectionDeadline = self.clock() + self._SyncObj__generateRaftTimeout()

    def _set_commit_index(self, index: int) -> None:
        self._SyncObj__raftCommitIndex = index

    def _restored(self, index: int) -> None:
        self._SyncObj__raftLastApplied = index
        self._SyncObj__raftCommitIndex = max(self.commit_index, index)

    def _regroup(self, members: tuple[str, ...]) -> None:
        others = {Node(member) for member in members if member != self.name}
        before: set[Any] = self._SyncObj__otherNodes
        self._group, self._SyncObj__otherNodes = members, others
        for node in before - others:  # its link ends; when it dials again it is a stranger
            self.replication.remove(node)
            self.links.forget(node.id)
        for node in others - before:
            self._SyncObj__readonlyNodes.discard(node)
            self.replication.include(node)
            self._SyncObj__lastResponseTime[node] = self.clock()
            self.links.dial(node.id)
        LOG.info("group node=%s members=%s", self.name, ",".join(members))

    def _vote(self, peer: str, message: dict[str, Any]) -> None:
        SyncObj._SyncObj__onMessageReceived(self, Node(peer), message)

    _count_vote = _vote

    def _responded(self, peer: str) -> None:
        self._SyncObj__lastResponseTime[Node(peer)] = self.clock()

    def _link_came(self, peer: str) -> None:
        node = Node(peer)
        if node in self._SyncObj__otherNodes:
            self._SyncObj__onNodeConnected(node)
        else:  # no member: a leader shows it the log, it counts for nothing
            self._SyncObj__onReadonlyNodeConnected(node)
        self.replication.link_changed(node)

    def _link_went(self, peer: str) -> None:
        node = Node(peer)
        if node in self._SyncObj__readonlyNodes:
            self._SyncObj__onReadonlyNodeDisconnected(node)
        else:
            self._SyncObj__onNodeDisconnected(node)
        self.replication.link_changed(node)
        if peer == self.leader():  # its process ended, or the network says so: do not wait for its silence
            self.leader_heard_at = float("-inf")
            soon = self.clock() + self.rng.uniform(0.0, self.config.election_min_s / 2)
            self._SyncObj__raftElectionDeadline = min(soon, self._SyncObj__raftElectionDeadline)

    def _node(self, peer: str) -> Any:
        return Node(peer)

    def _set_applied(self, index: int) -> None:
        self._SyncObj__raftLastApplied = index

    def _has_applied_own_term(self) -> bool:
        return bool(self.last_applied >= self._SyncObj__noopIDx)

    def _strangers(self) -> set[Any]:
        return self._SyncObj__readonlyNodes  # type: ignore[no-any-return]

    def _replicate(self) -> None:
        self._SyncObj__sendAppendEntries()

    def _ask_to_campaign(self) -> None:
        self.transferLeadership()

    # -- the library's methods, replaced

    def _complete(self, message: dict[str, Any]) -> None:
        if message["type"] == "request_vote":
            message["unanimous"] = self.unanimous

    def _SyncObj__generateRaftTimeout(self) -> float:
        return self.rng.uniform(self.config.election_min_s, self.config.election_max_s)

    def _SyncObj__connectedToAnyone(self) -> bool:
        """Asked once the election timeout has passed: the gate before a campaign (A10)."""
        return self.may_campaign()

    def _SyncObj__setCurrentTerm(self, term: int, voted_for: str | None) -> None:
        if term != self.term:
            self._voters.clear()
        SyncObj._SyncObj__setCurrentTerm(self, term, voted_for)

    def _SyncObj__onBecomeLeader(self) -> None:
        self.replication.begin()
        self.urgent = True
        self._caught_up()  # elected by every member, or by those who lost nothing
        SyncObj._SyncObj__onBecomeLeader(self)
        if (
            len(self._group) == 1
        ):  # the library counts in this very tick, and its own entry is all there is to count
            self._flush()

    def _SyncObj__applyLogEntries(self) -> bool:
        return self.apply_committed()

    def _checkCommandsToApply(self) -> None:
        self.take_proposals()

    def _SyncObj__sendAppendEntries(self) -> None:
        now = self.clock()
        beat = now >= self._SyncObj__newAppendEntriesTime
        if beat:
            self._SyncObj__newAppendEntriesTime = now + self.config.heartbeat_s
        self.send_appends(self._SyncObj__connectedNodes, beat=beat, now=now)

    def _SyncObj__tryLogCompaction(self) -> None:
        """`Replica` decides when."""


def _replace_globals(journal: Journal, clock: Callable[[], float], receive: Callable[[float], None]) -> None:
    """The doors that the library has as names of its module only; read while the node is built, the clock at each tick."""
    module = pysyncobj.syncobj
    module.monotonicTime, module.PIPE_NOTIFIER_ENABLED = clock, False
    module.createJournal = lambda _path: journal
    module.createPoller = lambda _kind: _Inbox(receive)
    module.Serializer = _NoSerializer
