"""From proposals to applied entries: what a leader appends and sends, what every node applies and forgets (shell).

Proposals that wait are appended and sent together. A change of the group is appended only when membership.py sees nothing against it; a
refused one is dropped, for its proposer repeats it. While leadership is handed over nothing is appended, or the successor's log
would be too short to win.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from typing import Any

from consensus.raft import membership
from consensus.raft.handlers import Handlers

LOG = logging.getLogger("quorate.consensus")
APPLY_ENTRIES_MAX = 512  # a tick: a long backlog must not delay heartbeats (D5)
PROPOSALS_BYTES_MAX = 64 << 20  # of all proposers together; beyond it they repeat (E8)
HAND_OVER_S = 0.2  # for the follower to be elected; a leader that still leads then goes on


class Leading(Handlers):
    """State that belongs to proposals. All of one thread."""

    def __init__(self, node: str, **parts: Any) -> None:
        super().__init__(node, **parts)
        self._proposals: deque[bytes] = deque()
        self._proposals_bytes = 0
        self._hands_over_until = float("-inf")

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
            self._ask_to_campaign()

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

    def _is_busy(self) -> bool:
        return (
            self._may_take_proposals()
            or self.commit_index > self.last_applied
            or (self._is_alone() and self.commit_index < self.journal[-1][1])
        )

    def _is_alone(self) -> bool:
        """Its own flush is a majority: nobody's answer will wake it."""
        return self.is_leader() and self.disk_full is None and len(self.members()) == 1

    def _may_take_proposals(self) -> bool:
        return bool(self._proposals) and not (self.is_leader() and self.clock() < self._hands_over_until)

    def apply_committed(self) -> bool:
        """A bounded part of what is committed. True: the followers should hear of the new commit index at once."""
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
            self._set_applied(index)
        return advanced and not self._proposals and not self.machine.proposes_soon()

    def take_proposals(self) -> None:
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
        self._replicate()

    def _may_change(self, change: membership.GroupChange) -> bool:
        why = membership.refusal(
            change,
            group=self.members(),
            change_in_log=self.groups.changed_at > self.last_applied,
            own_term_applied=self._has_applied_own_term(),
            known=self.machine.knows(change.proposer, change.seq),
            leader=self.name,
            missing_entries={node.id: self.replication.missing_entries(node) for node in self._strangers()},
        )
        if why is not None:
            LOG.info("group_change_waits node=%s: %s", self.name, why)
            if self.name not in change.after and self.name in change.before:
                self.hand_over()
        return why is None

    def send_appends(self, nodes: Iterable[Any], *, beat: bool, now: float) -> None:
        """To each of the library's `nodes` what it lacks; `beat`: a heartbeat to those that lack nothing."""
        self.replication.begin_round()
        for node in sorted(nodes, key=lambda node: str(node.id)):
            self.replication.send_to(node, term=self.term, commit_index=self.commit_index, beat=beat, now=now)
