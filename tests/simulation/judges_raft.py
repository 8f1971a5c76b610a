"""Judges of the log: one class for each invariant of docs/consensus.md that speaks of terms, entries, commits and disks.

They see what a node shows after each of its steps, as a `Change`: only what differs from its last step, so that a step costs little. None
of them asks the node what it thinks is right: each keeps its own record of what was said, logged and synced.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from consensus.raft.membership import MEMBERSHIP, group_change

if TYPE_CHECKING:
    from tests.simulation.node import SimNode

Entry = tuple[bytes, int, int]  # command, index, term
GroupRecord = tuple[int, tuple[str, ...], tuple[str, ...]]  # index, before, after
OLD_LEADER_S = 3.0  # its fallback is 0.4 s; what was held back on the way may let it hope a little longer
TERMS_MAX = 100  # in a run of 72 s; the busiest ones see half of that


class Violation(Exception):
    """`invariant` is its name in docs/consensus.md."""

    def __init__(self, invariant: str, what: str) -> None:
        super().__init__(f"{invariant} is broken: {what}")
        self.invariant = invariant


@dataclass(slots=True)
class Shown:
    """What a node showed after its last step. `terms` is its log as the simulator saw it grow, kept across its lives."""

    life: int = 0
    term: int = 0
    leads: bool = False
    commit: int = 0
    applied: int = 0
    first: int = 1
    end: int = 0
    synced: int = 0
    terms: dict[int, int] = field(default_factory=dict)
    groups: list[GroupRecord] = field(default_factory=list)  # in the log


@dataclass(slots=True, kw_only=True)
class Change:
    node: SimNode
    now: Shown
    leads_anew: bool
    committed: list[tuple[int, int]]  # (index, term), newly committed as this node says
    added: list[Entry]
    before_added: int | None  # the term of the entry before the first of `added`
    cut_from: int | None


class OneLeaderATerm:
    """I1: and nobody votes twice in one."""

    name = "I1"

    def __init__(self) -> None:
        self._leaders: dict[int, str] = {}
        self._votes: dict[tuple[int, str], str] = {}
        self._voters: dict[tuple[int, str], set[str]] = {}  # (term, candidate) -> who voted for it

    def stepped(self, change: Change) -> None:
        if not change.leads_anew:
            return
        term, name = change.now.term, change.node.name
        if self._leaders.setdefault(term, name) != name:
            raise Violation(self.name, f"{name} and {self._leaders[term]} both lead term {term}")
        members = change.node.replica.raft.members()
        voters = (self._voters.get((term, name), set()) | {name}) & set(members)
        if 2 * len(voters) <= len(members):
            raise Violation(
                self.name, f"{name} leads term {term} by the votes of {sorted(voters)} of {sorted(members)}"
            )

    def forget(self, name: str) -> None:
        """Its disk is gone, and with it its votes; that no harm comes of it, two leaders would show."""
        for vote in [vote for vote in self._votes if vote[1] == name]:
            del self._votes[vote]

    def voted(self, voter: str, candidate: str, term: int) -> None:
        self._voters.setdefault((term, candidate), set()).add(voter)
        if self._votes.setdefault((term, voter), candidate) != candidate:
            first = self._votes[(term, voter)]
            raise Violation(self.name, f"{voter} votes for {first} and for {candidate} in term {term}")


class OldLeadersLetGo:
    """Section 7 of the design: a leader that lost its majority steps down soon; and terms are not burnt (pre-vote)."""

    name = "I1"

    def __init__(self) -> None:
        self.newest_term = 0
        self._newest_since_s = 0.0

    def stepped(self, node: SimNode, shown: Shown) -> None:
        now_s = node.cluster.timeline.now_s
        if shown.leads and shown.term > self.newest_term:
            self.newest_term, self._newest_since_s = shown.term, now_s
            if shown.term > TERMS_MAX:
                raise Violation("I17", f"{node.name} leads term {shown.term} after {now_s:.0f} s")
        elif shown.leads and shown.term < self.newest_term:
            for_s = now_s - max(self._newest_since_s, node.awake_since_s)
            if for_s > OLD_LEADER_S:
                raise Violation(
                    self.name,
                    f"{node.name} leads term {shown.term} {for_s:.1f} s after term {self.newest_term} began",
                )


class OneHistory:
    """I2: the same index and term is the same command with the same past, in every log that ever was."""

    name = "I2"

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[bytes, int | None]] = {}

    def stepped(self, change: Change) -> None:
        before = change.before_added
        for command, index, term in change.added:
            known = self._known.get((index, term))
            if known is None:
                self._known[(index, term)] = (command, before)
            elif known[0] != command:
                raise Violation(
                    self.name, f"entry {index} of term {term} is another command at {change.node.name}"
                )
            elif known[1] is None:
                self._known[(index, term)] = (command, before)
            elif before is not None and known[1] != before:
                raise Violation(
                    self.name, f"entry {index} of term {term} follows another past at {change.node.name}"
                )
            before = term


class CommittedStays:
    """I3: one entry an index is ever committed, a majority has it on disk, and every later leader has it in its log."""

    name = "I3"

    def __init__(self, shown: dict[str, Shown], *, synced_at_once: bool) -> None:
        self._shown, self._synced_at_once = shown, synced_at_once
        self._wiped: dict[str, Shown] = {}  # what they showed before their disk was taken away
        self.terms: dict[int, int] = {}  # index -> term of what is committed there
        self._known_in: dict[int, int] = {}  # index -> term of the node that first said so
        self.end = 1
        self._told = 1  # leaders have told followers of commits up to here

    def stepped(self, change: Change) -> None:
        now = change.now
        for index, term in change.committed:
            known = self.terms.get(index)
            if known is None:
                self.terms[index] = term
                self._known_in[index] = now.term
                if now.leads:
                    self._check_majority(change.node, index, term, now.synced)
            elif known != term:
                raise Violation(
                    self.name,
                    f"entry {index} is committed in term {known} and, says {change.node.name}, in term {term}",
                )
            self.end = max(self.end, index)
        if change.leads_anew:
            self._check_leader(change.node.name, now)

    def _check_leader(self, name: str, now: Shown) -> None:
        """By I2 one entry stands for all before it."""
        index = self.end
        while index >= now.first and self._known_in.get(index, 0) > now.term:
            index -= 1
        if index in self.terms and index >= now.first and now.terms.get(index) != self.terms[index]:
            raise Violation(
                self.name,
                f"{name} leads term {now.term} without entry {index}, committed in term {self.terms[index]}",
            )

    def told(self, leader: SimNode, commit_index: int) -> None:
        """A leader says so in the middle of its step: what counts is what is on disk at that moment, its own disk included."""
        journal = leader.storage.journal
        first = journal[0][1]
        for index in range(max(self._told + 1, first), commit_index + 1):
            self._check_majority(leader, index, journal[index - first][2], journal.synced_index)
        self._told = max(self._told, commit_index)

    def _check_majority(self, leader: SimNode, index: int, term: int, synced: int) -> None:
        if not self._synced_at_once:
            return
        raft = leader.replica.raft
        groups = [raft.members()]
        if raft.members_at(index) != groups[0]:  # a change was appended since, perhaps after the count
            groups.append(raft.members_at(index))
        for members in groups:
            holders = {name for name in members if self._holds(name, index, term)} - {leader.name}
            if leader.name in members and synced >= index:
                holders.add(leader.name)
            if 2 * len(holders) > len(members):
                return
        raise Violation(
            "I5",
            f"{leader.name} commits entry {index} of term {term}, of {sorted(groups[0])} only {sorted(holders)} have it on disk",
        )

    def _holds(self, name: str, index: int, term: int) -> bool:
        """Now, or before its disk was taken away: its answer may have been on the way then."""
        return any(
            shown is not None
            and (shown.first > index or (shown.terms.get(index) == term and shown.synced >= index))
            for shown in (self._shown.get(name), self._wiped.get(name))
        )

    def forget(self, name: str) -> None:
        if name in self._shown:
            self._wiped[name] = self._shown.pop(name)


class Counters:
    """I4, first half: within a life the commit index never falls nor passes the end of the log, and nothing uncommitted is applied."""

    name = "I4"

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, int, int]] = {}

    def stepped(self, change: Change) -> None:
        now, name = change.now, change.node.name
        life, commit, applied = self._last.get(name, (0, 0, 0))
        if life == now.life and now.commit < commit:
            raise Violation(self.name, f"the commit index of {name} falls from {commit} to {now.commit}")
        if life == now.life and now.applied < applied:
            raise Violation(self.name, f"{name} unapplies: {applied} to {now.applied}")
        if now.commit > now.end:
            raise Violation(self.name, f"{name} has committed {now.commit}, its log ends at {now.end}")
        if now.applied > now.commit:
            raise Violation(self.name, f"{name} has applied {now.applied}, committed is {now.commit}")
        self._last[name] = (now.life, now.commit, now.applied)


class WordsAfterDisk:
    """I5, what leaves a node; and I15: after a start a node has all it ever acknowledged, and every term it spoke in."""

    name = "I5"

    def __init__(self, *, synced_at_once: bool) -> None:
        self._synced_at_once = synced_at_once
        self._promised: dict[
            str, tuple[int, int]
        ] = {}  # node -> (index, term) of the furthest acknowledged entry
        self._spoke_in: dict[str, int] = {}

    def sent(self, node: SimNode, message: dict[str, Any]) -> None:
        journal = node.storage.journal
        kind = message["type"]
        if kind == "next_node_idx" and message["success"]:
            index = message["next_node_idx"] - 1
            if self._synced_at_once and index > journal.synced_index:
                raise Violation(
                    self.name,
                    f"{node.name} acknowledges entry {index}, its disk ends at {journal.synced_index}",
                )
            position = index - journal[0][1]
            if 0 <= position < len(journal):
                term = journal[position][2]
                if (term, index) > tuple(reversed(self._promised.get(node.name, (0, 0)))):
                    self._promised[node.name] = (index, term)
        elif kind in ("response_vote", "request_vote") and journal.getCurrentTerm() < message["term"]:
            raise Violation(
                self.name, f"{node.name} speaks in term {message['term']}, its disk knows an older one"
            )
        if kind in ("response_vote", "request_vote", "next_node_idx", "append_entries"):
            self._spoke_in[node.name] = max(self._spoke_in.get(node.name, 0), message["term"])

    def forget(self, name: str) -> None:
        self.forget_entries(name)
        self._spoke_in.pop(name, None)

    def forget_entries(self, name: str) -> None:
        """With `--sync interval` a power cut takes them; terms and votes are synced all the same."""
        self._promised.pop(name, None)

    def cut(self, name: str, first_gone: int, term_before: int) -> None:
        index, _ = self._promised.get(name, (0, 0))
        if index >= first_gone:
            self._promised[name] = (first_gone - 1, term_before)

    def started(self, node: SimNode) -> None:
        journal = node.storage.journal
        index, term = self._promised.get(node.name, (0, 0))
        first, (_, end, end_term) = journal[0][1], journal[-1]
        if index > end and end_term <= term:
            raise Violation(
                "I15",
                f"{node.name} had acknowledged entry {index} of term {term}, its log now ends at {end} of {end_term}",
            )
        if first <= index <= end and journal[index - first][2] < term:
            raise Violation(
                "I15", f"{node.name} had acknowledged entry {index} of term {term}, now it holds an older one"
            )
        if node.replica.raft.term < self._spoke_in.get(node.name, 0):
            raise Violation(
                "I15",
                f"{node.name} spoke in term {self._spoke_in[node.name]} and starts in term {node.replica.raft.term}",
            )


class OneChangeOfTheGroup:
    """I14: a leader's log holds at most one change that is not committed, and its group is that of the last record."""

    name = "I14"

    def __init__(self, committed: CommittedStays) -> None:
        self._committed = committed

    def stepped(self, change: Change) -> None:
        now, name = change.now, change.node.name
        if not now.leads or not now.groups:
            return
        pending = [index for index, _, _ in now.groups if index > self._committed.end]
        if len(pending) > 1:
            raise Violation(self.name, f"the log of leader {name} has open group changes at {pending}")
        index, _, after = now.groups[-1]
        members = change.node.replica.raft.members()
        if index >= now.first and sorted(members) != sorted(after):
            raise Violation(self.name, f"{name} counts {sorted(members)}, its log says {sorted(after)}")


def look(node: SimNode, before: Shown) -> Change | None:
    """What is new since `before`, which is brought up to date. None: nothing."""
    raft, journal = node.replica.raft, node.storage.journal
    term, leads, commit, applied = raft.term, raft.is_leader(), raft.commit_index, raft.last_applied
    first, (_, end, end_term) = journal[0][1], journal[-1]
    synced = journal.synced_index
    same_log = first == before.first and end == before.end and before.terms.get(end) == end_term
    if (
        same_log
        and commit == before.commit
        and term == before.term
        and leads == before.leads
        and applied == before.applied
        and synced == before.synced
        and node.lives == before.life
    ):
        return None
    leads_anew = leads and not (before.leads and before.term == term and before.life == node.lives)
    added: list[Entry] = []
    cut_from, before_added = None, None
    if not same_log or node.lives != before.life:
        cut_from, added, before_added = _compare_logs(journal, before, first, end)
    committed = []
    if commit != before.commit or before.life != node.lives:
        start = max(before.commit if before.life == node.lives else 0, first - 1)
        committed = [(index, journal[index - first][2]) for index in range(start + 1, min(commit, end) + 1)]
    before.life, before.term, before.leads, before.commit = node.lives, term, leads, commit
    before.applied, before.first, before.end, before.synced = applied, first, end, synced
    return Change(
        node=node,
        now=before,
        leads_anew=leads_anew,
        committed=committed,
        added=added,
        before_added=before_added,
        cut_from=cut_from,
    )


def _compare_logs(
    journal: Any, shown: Shown, first: int, end: int
) -> tuple[int | None, list[Entry], int | None]:
    """Walks back from where the old log ended to where both agree: (first index that is gone, new entries, term before them)."""
    terms = shown.terms
    agree = min(shown.end, end)
    while agree >= first and terms.get(agree) != journal[agree - first][2]:
        agree -= 1
    cut_from = None
    if agree < shown.end:
        cut_from = max(agree + 1, first)
        for index in range(agree + 1, shown.end + 1):
            terms.pop(index, None)
        while shown.groups and shown.groups[-1][0] > agree and shown.groups[-1][0] >= first:
            shown.groups.pop()
    start = max(agree + 1, first)
    added = list(journal[start - first :])
    before_added = journal[start - first - 1][2] if start > first else None
    for command, index, term in added:
        terms[index] = term
        if command[:1] == MEMBERSHIP and (change := group_change(command)) is not None:
            shown.groups.append((index, change.before, change.after))
    if len(terms) > 2 * (end - first) + 4000:
        for index in [known for known in terms if known < first - 1000]:
            del terms[index]
    return cut_from, added, before_added
