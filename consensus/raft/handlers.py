"""What a node does with each thing it hears, and the order of disk and words (shell; the decisions are made in the pure files beside).

Order of writes, in `_receive`: entries are appended and sent; then one flush; then acknowledgements leave; then others are heard; and
the next tick counts. So neither an acknowledgement nor this node's own count ever precedes the disk (B1, I5).

`binding.py` subclasses this together with the library's node and opens the doors of doors.py.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any

from consensus.config import LedgerConfig
from consensus.raft import messages
from consensus.raft.append_check import Accept, Divergence, Mismatch, check_append, term_at
from consensus.raft.campaigns import Campaigns
from consensus.raft.doors import StateMachine
from consensus.raft.membership import GroupLog, group_change
from consensus.raft.replication import Replication
from consensus.storage.disk import DiskFull
from consensus.storage.journal import Journal
from consensus.storage.snapshots import Snapshot, SnapshotStore
from consensus.transport.links import Connected, Disconnected, Links, Received

LOG = logging.getLogger("quorate.consensus")
DISK_FULL_RETRY_S = 0.5


class Handlers(Campaigns):
    """State that belongs to hearing and answering. All of one thread."""

    def __init__(
        self,
        node: str,
        *,
        journal: Journal,
        snapshots: SnapshotStore,
        links: Links,
        machine: StateMachine,
        groups: GroupLog,
        config: LedgerConfig,
        clock: Callable[[], float],
        rng: random.Random,
        lazy_sync: bool,
        must_catch_up: bool,
        caught_up: Callable[[], None],
    ) -> None:
        Campaigns.__init__(
            self,
            node,
            journal=journal,
            links=links,
            config=config,
            clock=clock,
            rng=rng,
            must_catch_up=must_catch_up,
        )
        self.snapshots, self.machine, self.groups = snapshots, machine, groups
        self.lazy_sync = lazy_sync
        self._tell_caught_up, self._has_caught_up = caught_up, False
        self.broken: BaseException | None = None
        self.urgent = False  # something unsynced must not wait for the interval's flush
        self._sync_at = self._disk_retry_at = 0.0
        self._acks: list[tuple[str, dict[str, Any]]] = []
        self._voters: set[str] = set()
        self.before_wait: Callable[[float], float] = lambda wait_s: wait_s  # callers hear what was answered
        self.replication: Replication

    # -- the disk before words

    def _receive(self, wait_s: float) -> None:
        wait_s = self.before_wait(wait_s)
        self._flush()
        for event in self.links.receive(0.0 if self._is_busy() or self.broken is not None else wait_s):
            match event:
                case Connected():
                    self._link_came(event.peer)
                case Disconnected():
                    self._link_went(event.peer)
                case Received():
                    self._heard(event.peer, event.message)
        self._flush()

    def _flush(self) -> None:
        now = self.clock()
        if self.disk_full is None or now >= self._disk_retry_at:
            try:
                self._to_disk(now)
            except DiskFull as full:
                self._stand_back(full, now)
            else:
                if self.disk_full is not None:
                    LOG.warning("disk_has_room node=%s: it acknowledges again", self.name)
                    self.disk_full = None
        acks, self._acks = self._acks, []
        if self.disk_full is None:
            for peer, message in acks:
                if message["term"] == self.term:
                    self.links.send(peer, message)

    def _to_disk(self, now: float) -> None:
        if self._has_caught_up:
            self.urgent = True
        if self.journal.unsynced:
            if self.lazy_sync and not self.urgent and now < self._sync_at:
                self.journal.write()
            else:
                self.journal.sync()
                self.urgent, self._sync_at = False, now + self.config.sync_interval_s
        if self._has_caught_up:
            self._tell_caught_up()
            self._has_caught_up = self.must_catch_up = False

    def _stand_back(self, full: DiskFull, now: float) -> None:
        """Without room nothing is acknowledged, voted for or led; what waits is written when there is room again (B7)."""
        if self.disk_full is None:
            LOG.error("disk_full node=%s: %s; nothing is acknowledged until there is room", self.name, full)
        self.disk_full = str(full)
        self._disk_retry_at = now + DISK_FULL_RETRY_S
        if self.is_leader():
            self._follow(None)

    # -- messages

    def _heard(self, peer: str, message: dict[str, Any]) -> None:
        wrong = messages.fault(message)
        if wrong is not None:
            LOG.warning("message_refused node=%s peer=%s: it %s", self.name, peer, wrong)
            return
        match message["type"]:
            case "append_entries":
                self._append_entries(peer, message)
            case "snapshot_chunk":
                self._snapshot_chunk(peer, message)
            case "next_node_idx" | "snapshot_ack":
                self._answered(peer, message)
            case "newer_term":
                if message["term"] > self.term:
                    self._adopt(message["term"])
            case "apply_command":
                if self.is_leader():
                    self.propose(message["command"])
            case "pre_vote":
                self._asked_before_vote(peer, message)
            case "pre_vote_answer":
                if message["term"] > self.term:
                    self._adopt(message["term"])
                granted, only_if_all = message["granted"], message["only_if_all"]
                self.pre_vote.answered(peer, message["round"], granted=granted, only_if_all=only_if_all)
            case "request_vote":
                self._asked_for_vote(peer, message)
            case "response_vote":
                if message["term"] == self.term and peer in self.members() and peer not in self._voters:
                    self._voters.add(peer)
                    self._count_vote(peer, message)
            case "timeout_now":
                if message["term"] == self.term and peer == self.leader():
                    self.campaign_now = True
            case "ping" | "pong":
                self.machine.ping(peer, message)

    def _hears_leader(self, peer: str, term: int) -> bool:
        """A message that only a leader sends. False: it is of an older term, and `peer` was told (A9)."""
        if term < self.term:
            self.links.send(peer, {"type": "newer_term", "term": self.term})
            return False
        if self.is_leader() and term == self.term:
            self.broken = RuntimeError(f"{peer} and {self.name} both lead term {term}: this node stops")
            return False
        if term > self.term or self.vote is None:
            self._adopt(
                term, vote=peer
            )  # as good as having voted for it, also for a node that forgot that it had
        self.leader_heard_at = self.clock()
        self.pre_vote.end()
        self._follow(peer)
        return self.disk_full is None

    def _append_entries(self, peer: str, message: dict[str, Any]) -> None:
        entries = messages.entries_of(message)
        if entries is None:
            LOG.warning("message_refused node=%s peer=%s: its entries have a gap", self.name, peer)
            return
        if not self._hears_leader(peer, message["term"]):
            return
        verdict = check_append(
            self.journal,
            prev_index=message["prev_index"],
            prev_term=message["prev_term"],
            entries=entries,
            leader_commit=message["commit_index"],
            commit_index=self.commit_index,
        )
        match verdict:
            case Divergence():
                self.broken = RuntimeError(f"{verdict.reason}: {self.name} stops")
            case Mismatch():
                self._acknowledge(peer, message, verdict.next_index, success=False)
            case Accept():
                self._take(verdict)
                if term_at(self.journal, verdict.commit_index) == message["term"]:
                    self._caught_up()  # it has committed in its term: all that was committed is here again
                if not message["quiet"]:
                    self._acknowledge(peer, message, verdict.next_index, success=True)

    def _take(self, accept: Accept) -> None:
        if accept.cut_from is not None:
            self.journal.deleteEntriesFrom(accept.cut_from - self.journal[0][1])
            self.groups.cut(accept.cut_from)
            self.urgent = True
        for entry in accept.entries:
            self._add(entry)
        self._set_commit_index(accept.commit_index)
        if self.groups.current != self.members():
            self._regroup(self.groups.current)

    def _add(self, entry: tuple[bytes, int, int]) -> None:
        command, index, term = entry
        self.journal.add(command, index, term)
        if command[1:2] != b"\x00":
            self.urgent = True
        change = group_change(command)
        if change is not None:
            self.groups.append(index, change.after)

    def _caught_up(self) -> None:
        """It is told to the disk with the next flush, behind what was missing."""
        self._has_caught_up = self.must_catch_up

    def _acknowledge(self, peer: str, message: dict[str, Any], next_index: int, *, success: bool) -> None:
        answer = {
            "type": "next_node_idx",
            "term": self.term,
            "echo": message["number"],
            "next_node_idx": next_index,
            "reset": not success,
            "success": success,
            "caught_up": not self.must_catch_up,
        }
        self._acks.append((peer, answer))

    def _snapshot_chunk(self, peer: str, message: dict[str, Any]) -> None:
        if not self._hears_leader(peer, message["term"]):
            return
        index = message["index"]
        if index <= self.commit_index:  # we are ahead of it (A5)
            self._acknowledge(peer, message, self.commit_index + 1, success=True)
            return
        wanted = (index, message["snapshot_term"], message["size"], message["sha256"])
        try:
            receiver = self.snapshots.receiver(*wanted)
            receiver.write(message["offset"], message["data"])
            if receiver.offset == message["size"]:
                self._install(receiver.finish())
                self._acknowledge(peer, message, index + 1, success=True)
                return
        except DiskFull as full:
            self._stand_back(full, self.clock())
            return
        except ValueError as error:
            LOG.warning("snapshot_refused node=%s peer=%s: %s; it is asked for anew", self.name, peer, error)
            receiver = self.snapshots.receiver(*wanted)
        answer = {
            "type": "snapshot_ack",
            "term": self.term,
            "echo": message["number"],
            "index": index,
            "offset": receiver.offset,
        }
        self._acks.append((peer, answer))

    def _install(self, snapshot: Snapshot) -> None:
        """The snapshot is verified and on disk. What the log holds beyond it stays if it is the same history (B2)."""
        command, index, term = snapshot.head.last
        if term_at(self.journal, index) != term:
            self.journal.clear()
            self.journal.add(*snapshot.head.before)
            self.journal.add(command, index, term)
            self.groups = GroupLog(snapshot.head.members, index)
            self.urgent = True
        self.machine.install(snapshot)
        self._restored(index)
        if self.groups.current != self.members():
            self._regroup(self.groups.current)

    def _answered(self, peer: str, message: dict[str, Any]) -> None:
        if message["term"] > self.term:
            self._adopt(message["term"])
        elif message["term"] == self.term and self.is_leader():
            try:
                self.replication.answered(self._node(peer), message, self.clock())
            except ValueError as error:
                LOG.error("answer_refused node=%s peer=%s: %s", self.name, peer, error)
                return
            self._responded(peer)

    # -- what leading.py adds

    def propose(self, command: bytes) -> None:
        raise NotImplementedError

    def _is_busy(self) -> bool:
        """There is work that needs no message."""
        raise NotImplementedError
