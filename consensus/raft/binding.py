"""The only importer of pysyncobj: its node, repaired from outside through the methods that a subclass can override.

The library keeps what it does well: states, terms, the campaign, the counting of votes and of matched entries. All that it gets wrong
is decided by the pure files beside this one, carried out in handlers.py (hearing, answering) and replication.py (a leader's
sending), and tied to the library's private names here. docs/consensus.md lists each repair by its letter. One thread calls everything.
"""

from __future__ import annotations

import hashlib
import logging
import random
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pysyncobj.syncobj
from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from consensus.config import LedgerConfig
from consensus.raft import membership
from consensus.raft.doors import StateMachine
from consensus.raft.handlers import Handlers
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
NO_OP = b"\x01"
APPLY_ENTRIES_MAX = 512  # a tick: a long backlog must not delay heartbeats (D5)
PROPOSALS_BYTES_MAX = 64 << 20  # of all proposers together; beyond it they repeat (E8)
HAND_OVER_S = 0.2  # for the follower to be elected; a leader that still leads then goes on
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


class LedgerNode(Handlers, SyncObj):  # type: ignore[misc]
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
        Handlers.__init__(
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
        self._proposals: deque[bytes] = deque()
        self._proposals_bytes = 0
        self._hands_over_until = float("-inf")
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

    def propose(self, command: bytes) -> None:
        """Appended by the leader, or forwarded to it, at the next tick; dropped when there is none: repeat it."""
        if self._proposals_bytes + len(command) <= PROPOSALS_BYTES_MAX:
            self._proposals.append(command)
            self._proposals_bytes += len(command)

    def hand_over(self) -> None:
        """Asks the most advanced follower to campaign now, if it has every entry; nothing is appended meanwhile. Best effort: call it
        until this node does not lead."""
        if self.clock() >= self._hands_over_until:
            self._hands_over_until = self.clock() + HAND_OVER_S
            self.transferLeadership()

    def compact(self, index: int) -> None:
        """A snapshot at `index` is on disk: forget what it covers, but for a tail for followers that lag a little."""
        first = self.journal[0][1]
        keep_from = min(index, self.last_applied) - self.config.kept_entries
        if keep_from > first:
            self.journal.deleteEntriesTo(keep_from - first)
        self.groups.compact(index)
        older = self.snapshots.older_index()
        if older is not None:
            self.journal.drop_segments_below(min(older, self.journal[0][1]))

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

    def _is_busy(self) -> bool:
        return self._may_take_proposals() or self.commit_index > self.last_applied

    def _may_take_proposals(self) -> bool:
        return bool(self._proposals) and not (self.is_leader() and self.clock() < self._hands_over_until)

    def _node(self, peer: str) -> Any:
        return Node(peer)

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

    def _SyncObj__applyLogEntries(self) -> bool:
        first = self.journal[0][1]
        until = min(self.commit_index, self.last_applied + APPLY_ENTRIES_MAX)
        advanced = self.last_applied < until
        for index in range(self.last_applied + 1, until + 1):
            command, _, term = self.journal[index - first]
            try:
                self.machine.apply(command, index, term)
            except Exception as error:  # whatever it is: this replica must not go on with half an effect (D2)
                self.broken = error
                raise
            self._SyncObj__raftLastApplied = index
        return advanced and not self._proposals and not self.machine.proposes_soon()

    def _checkCommandsToApply(self) -> None:
        """All proposals that wait: appended and sent together, forwarded, or dropped when nobody leads."""
        if not self._may_take_proposals():
            return
        proposals, self._proposals, self._proposals_bytes = self._proposals, deque(), 0
        if not self.is_leader():
            if (leader := self.leader()) is not None and self.disk_full is None:
                for command in proposals:
                    self.links.send(leader, {"type": "apply_command", "command": command})
            return
        for command in proposals:
            change = membership.group_change(command)
            if change is None:
                if command[:1] == membership.MEMBERSHIP:
                    continue  # none that this version understands
            elif not self._may_change(change):
                continue
            self._add((command, self.journal[-1][1] + 1, self.term))
            if change is not None:
                self._regroup(self.groups.current)
        self._SyncObj__sendAppendEntries()

    def _may_change(self, change: membership.GroupChange) -> bool:
        why = membership.refusal(
            change,
            group=self._group,
            change_in_log=self.groups.changed_at > self.last_applied,
            own_term_applied=self.last_applied >= self._SyncObj__noopIDx,
            known=self.machine.knows(change.proposer, change.seq),
            leader=self.name,
            missing_entries={
                node.id: self.replication.missing_entries(node) for node in self._SyncObj__readonlyNodes
            },
        )
        if why is not None:
            LOG.info("group_change_waits node=%s: %s", self.name, why)
            if self.name not in change.after and self.name in change.before:
                self.hand_over()
        return why is None

    def _SyncObj__sendAppendEntries(self) -> None:
        now = self.clock()
        beat = now >= self._SyncObj__newAppendEntriesTime
        if beat:
            self._SyncObj__newAppendEntriesTime = now + self.config.heartbeat_s
        self.replication.begin_round()
        for node in sorted(self._SyncObj__connectedNodes, key=lambda node: str(node.id)):
            self.replication.send_to(node, term=self.term, commit_index=self.commit_index, beat=beat, now=now)

    def _SyncObj__tryLogCompaction(self) -> None:
        """`Replica` decides when."""


def _replace_globals(journal: Journal, clock: Callable[[], float], receive: Callable[[float], None]) -> None:
    """The doors that the library has as names of its module only; read while the node is built, the clock at each tick."""
    module = pysyncobj.syncobj
    module.monotonicTime, module.PIPE_NOTIFIER_ENABLED = clock, False
    module.createJournal = lambda _path: journal
    module.createPoller = lambda _kind: _Inbox(receive)
    module.Serializer = _NoSerializer
