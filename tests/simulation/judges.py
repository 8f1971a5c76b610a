"""All judges together: who hears of what.

A judge is a small class with the name of its invariant in docs/consensus.md. It raises `Violation` at the very step that breaks a
promise, so that the end of the trace is the place to look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from consensus.ledger.commands import decode_entry
from tests.simulation.judges_calls import (
    AnswersAreTrue,
    BlocksOnce,
    EachCallEndsOnce,
    Heard,
    ReadsSeeTheCommitted,
    Record,
)
from tests.simulation.judges_ledger import ClaimsTwin, ExecutedStays, KeysOnce, NotedOnce, SessionsTwin
from tests.simulation.judges_raft import (
    CommittedStays,
    Counters,
    OldLeadersLetGo,
    OneChangeOfTheGroup,
    OneHistory,
    OneLeaderATerm,
    Shown,
    Violation,
    WordsAfterDisk,
    look,
)

if TYPE_CHECKING:
    from consensus.ledger.machine import Applied
    from tests.simulation.cluster import Cluster
    from tests.simulation.node import SimNode

DISK_BYTES_MAX = 8 << 20
INBOX_MAX = 20_000
LOG_ENTRIES_MAX = 20_000


class EqualStates:
    """I4, second half: the same index is the same entry, the same answers and the same hash on every node."""

    name = "I4"

    def __init__(self) -> None:
        self.hashes: dict[int, bytes] = {}
        self.end = 0

    def applied(self, node: SimNode, index: int) -> bool:
        """True when no node applied this entry before."""
        state = node.ledger.hash
        known = self.hashes.get(index)
        if known is None:
            self.hashes[index] = state
            self.end = max(self.end, index)
            return True
        if known != state:
            raise Violation(
                self.name, f"the state of {node.name} after entry {index} differs from the others'"
            )
        return False


class Judges:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.shown: dict[str, Shown] = {}
        self.leaders, self.history = OneLeaderATerm(), OneHistory()
        self.old_leaders = OldLeadersLetGo()
        at_once = not cluster.plan.interval
        self.committed = CommittedStays(self.shown, synced_at_once=at_once)
        self.counters, self.words = Counters(), WordsAfterDisk(synced_at_once=at_once)
        self.group = OneChangeOfTheGroup(self.committed)
        self.states = EqualStates()
        sessions = SessionsTwin()
        self.noted, self.executed = NotedOnce(), ExecutedStays()
        self._ledger_judges = (sessions, KeysOnce(), ClaimsTwin(sessions), self.executed, self.noted)
        self.calls = EachCallEndsOnce()
        self.answers = AnswersAreTrue(self.noted)
        self.reads, self.blocks = ReadsSeeTheCommitted(), BlocksOnce()
        self._effects: set[tuple[int, int]] = set()  # (proposer, seq) of entries that took effect
        self.effects = 0

    # -- nodes

    def started(self, node: SimNode) -> None:
        if self._cluster.plan.interval and node.lacks:
            self.words.forget_entries(node.name)
        self.words.started(node)
        shown = self.shown.setdefault(node.name, Shown())
        shown.terms.clear()  # everything that the disk gave back is judged anew
        shown.groups.clear()
        shown.end = 0
        self._look(node, shown, starting=True)

    def wiped(self, node: SimNode) -> None:
        """What its disk had is gone, and with it what it had promised."""
        self.words.forget(node.name)
        self.leaders.forget(node.name)
        self.committed.forget(node.name)

    def crashed(self, node: SimNode) -> None:
        for record in self.calls.crashed(node.name):
            record.heard, record.ended_s = Heard.LOST, self._cluster.timeline.now_s
            self._cluster.workload.lost(record)
        shown = self.shown.get(node.name)
        if shown is not None and shown.life == node.lives and node.has_replica():
            self._look(node, shown)

    def stopped_without_cause(self, node: SimNode, error: BaseException) -> None:
        if isinstance(error, Violation):
            raise error
        raise Violation(
            "I17", f"{node.name} stops without a cause: {type(error).__name__}: {error}"
        ) from error

    def stepped(self, node: SimNode) -> None:
        shown = self.shown[node.name]
        self._look(node, shown)
        self.old_leaders.stepped(node, shown)
        self.calls.stepped(node)

    def _look(self, node: SimNode, shown: Shown, *, starting: bool = False) -> None:
        change = look(node, shown)
        if change is None:
            return
        if change.cut_from is not None and not starting:
            self.words.cut(node.name, change.cut_from, shown.terms.get(change.cut_from - 1, 0))
        self.history.stepped(change)
        if node.up:  # one that ended in the middle of a step had no time to make its words agree
            self.leaders.stepped(change)
            self.committed.stepped(change)
            self.counters.stepped(change)
            self.group.stepped(change)

    def sent(self, sender: str, receiver: str, message: dict[str, Any]) -> None:
        node = self._cluster.nodes[sender]
        kind = message["type"]
        if sender not in self.shown:
            return
        if kind == "response_vote":
            self.leaders.voted(sender, receiver, message["term"])
        elif kind == "request_vote":
            self.leaders.voted(sender, sender, message["term"])
        elif kind == "append_entries":
            self.committed.told(node, message["commit_index"])
        self.words.sent(node, message)

    # -- the ledger

    def applied(self, node: SimNode, entry: bytes, term: int, applied: Applied) -> None:
        index = node.replica.raft.last_applied + 1
        if not self.states.applied(node, index) or applied.answers is None:
            return
        identity = (applied.proposer, applied.seq)
        if identity in self._effects:
            return  # proposed twice: the answers of the first time
        self._effects.add(identity)
        self.effects += 1
        for command, answer in zip(decode_entry(entry).commands, applied.answers, strict=True):
            for judge in self._ledger_judges:
                judge.committed(index, command, answer)

    # -- calls

    def call_began(self, record: Record) -> None:
        record.noted_before = len(self.noted.places)
        record.executed_before = len(self.executed.outcomes)
        self.calls.began(record)

    def call_ended(self, node: SimNode, record: Record) -> None:
        self.calls.ended(record)
        self.answers.ended(record)
        self.reads.ended(record, len(node.ledger.tally.places), len(node.ledger.executed))
        self.blocks.ended(record, node.replica.session)

    # -- the end

    def is_healed(self, probes: list[Record]) -> bool:
        return all(probe.heard is Heard.COMMITTED for probe in probes) and not self.calls.still_open()

    def healed(self, probes: list[Record]) -> None:
        cluster = self._cluster
        for probe in probes:
            if probe.heard is not Heard.COMMITTED:
                raise Violation(
                    "I16", f"{probe.node} does not answer after healing: {probe.heard.value} {probe.why}"
                )
        for record in self.calls.still_open():
            raise Violation("I16", f"call {record.id} ({record.what}) of {record.node} is open after healing")
        self.answers.healed()
        self.blocks.healed()
        members = [cluster.nodes[name] for name in cluster.group() if cluster.nodes[name].up]
        for node in members:
            self._check_replica(node)
        applied = [node.replica.raft.last_applied for node in members]
        if max(applied) - min(applied) > 50:
            raise Violation("I16", f"replicas are at {applied} after healing")

    def _check_replica(self, node: SimNode) -> None:
        ledger = node.ledger
        if node.ledger.tally.doubled:
            raise Violation("I8", f"calls {node.ledger.tally.doubled} took effect twice at {node.name}")
        for record in self.answers.records:
            if (
                record.heard is Heard.COMMITTED
                and node.ledger.tally.places.get(record.number) != record.answer
            ):
                raise Violation(
                    "I6", f"call {record.number}, answered {record.answer}, is not so at {node.name}"
                )
        behind = node.replica.raft.last_applied < self.committed.end
        for key, outcome in self.executed.outcomes.items():
            if ledger.executed.outcome(key) != outcome and not (behind and key not in ledger.executed):
                raise Violation(
                    "I11", f"key {key} ended as {outcome}, {node.name} says {ledger.executed.outcome(key)}"
                )
        if node.disk.used_bytes() > DISK_BYTES_MAX:
            raise Violation("I17", f"the files of {node.name} have grown to {node.disk.used_bytes()} bytes")
        if len(node.storage.journal) > LOG_ENTRIES_MAX:
            raise Violation("I17", f"{node.name} keeps {len(node.storage.journal)} entries in memory")
