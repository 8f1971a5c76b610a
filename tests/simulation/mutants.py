"""Repairs switched off, one by one, in the process that runs the seeds: the simulator must notice each (`--mutant NAME`).

The names are the rows of docs/consensus.md, section "what stock does wrong"; a letter behind it tells variants apart. A mutant puts the
library's behaviour, or the naive one, in the place of a repair. It lives in the tests only: the product has no switch.
What no seed can show, because it lives in sockets, real files or pickles, is held by directed tests and not listed here.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from consensus import group_commit
from consensus.errors import Refused
from consensus.ledger.commands import Opcode
from consensus.ledger.machine import LedgerMachine
from consensus.raft import binding, handlers, membership
from consensus.raft.append_check import Accept, Mismatch, check_append
from consensus.raft.binding import LedgerNode
from consensus.raft.handlers import Handlers
from consensus.raft.replica import Replica
from consensus.raft.stamps import Stamps
from consensus.storage import records, snapshots
from consensus.storage.journal import Journal
from consensus.storage.snapshots import SnapshotReceiver, SnapshotStore
from consensus.storage.temporary_file import TemporaryFile
from consensus.storage.votes import VoteSlots
from tests.simulation import node


@dataclass(frozen=True, slots=True)
class Mutant:
    what: str  # how the repair is switched off
    switch_off: Callable[[], None]


def switch_off(name: str | None) -> None:
    """In this process, for good: a process runs seeds of one mutant only."""
    if name is not None and name not in _OFF:
        _OFF.add(name)
        MUTANTS[name].switch_off()


_OFF: set[str] = set()


class _NeverSynced:
    """A file whose sync does nothing."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def sync(self) -> None:
        """Nothing."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _no_sync_of_the_log() -> None:
    sync_batch = Journal._sync_batch

    def unsynced(self: Any) -> None:
        file, self._file = self._file, _NeverSynced(self._file)
        try:
            sync_batch(self)
        finally:
            self._file = file

    Journal._sync_batch = unsynced  # type: ignore[method-assign]


def _acks_before_the_flush() -> None:
    flush = Handlers._flush

    def hasty(self: Any) -> None:
        acks, self._acks = self._acks, []
        for peer, message in acks:
            self.links.send(peer, message)
        flush(self)

    Handlers._flush = hasty  # type: ignore[method-assign]


def _leader_counts_before_its_disk() -> None:
    """Entries are flushed only when a follower's answer comes, so that the count comes first."""
    flush = Handlers._flush

    def lazy(self: Any) -> None:
        if self.is_leader() and not self._acks and self.journal.unsynced and self.rng.random() < 0.9:
            return
        flush(self)

    Handlers._flush = lazy  # type: ignore[method-assign]


def _no_sync_of_the_vote() -> None:
    opened = VoteSlots.__init__

    def init(self: Any, *args: Any, **named: Any) -> None:
        opened(self, *args, **named)
        self._files = [_NeverSynced(file) for file in self._files]

    VoteSlots.__init__ = init  # type: ignore[method-assign]


def _no_sync_of_snapshots() -> None:
    created = TemporaryFile.__init__

    def init(self: Any, *args: Any, **named: Any) -> None:
        created(self, *args, **named)
        self._file = _NeverSynced(self._file)

    TemporaryFile.__init__ = init  # type: ignore[method-assign]


def _dump_drops_the_log() -> None:
    """The library's rule at a start: a log that does not begin with the dump's two entries is thrown away."""

    def align(journal: Any, start: Any) -> None:
        if start is not None and (
            len(journal) < 2 or journal[0] != start.head.before or journal[1] != start.head.last
        ):
            journal.clear()
            journal.add(*start.head.before)
            journal.add(*start.head.last)
            journal.sync()

    binding.align = align  # type: ignore[assignment]


def _log_reaches_back_to_the_newer_snapshot_only() -> None:
    SnapshotStore.older_index = lambda self: _newest_index(self)  # type: ignore[method-assign]


def _newest_index(store: Any) -> int | None:
    return store.newest_index()  # type: ignore[no-any-return]


def _log_rewritten_in_place() -> None:
    """Compaction empties the file and writes the rest of the log into it again, as the library does."""
    forget = Journal.deleteEntriesTo

    def rewrite(self: Any, entry_to: int) -> None:
        forget(self, entry_to)
        if len(self._segments) == 1 and not self.unsynced:
            self._file.truncate(self._header_bytes)
            self._synced_bytes, self._batch, self._written = self._header_bytes, bytearray(), 0
            for command, index, term in self._entries:
                self._record(0, index, term, command)
            self.sync()

    Journal.deleteEntriesTo = rewrite  # type: ignore[method-assign]


def _snapshot_message_commits_own_log() -> None:
    hear = Handlers._snapshot_chunk

    def jump(self: Any, peer: str, message: dict[str, Any]) -> None:
        if message["term"] >= self.term:
            self._set_commit_index(max(self.commit_index, self.journal[-1][1]))
        hear(self, peer, message)

    Handlers._snapshot_chunk = jump  # type: ignore[method-assign]


def _commit_up_to_own_end() -> None:
    """min(leaderCommit, own last index), matched or not."""

    def check(log: Any, **asked: Any) -> Any:
        verdict = check_append(log, **asked)
        if isinstance(verdict, Accept):
            end = max(log[-1][1] if verdict.cut_from is None else 0, verdict.next_index - 1)
            verdict = replace(
                verdict, commit_index=max(verdict.commit_index, min(asked["leader_commit"], end))
            )
        return verdict

    handlers.check_append = check  # type: ignore[assignment]


def _cut_without_conflict() -> None:
    def check(log: Any, **asked: Any) -> Any:
        verdict = check_append(log, **asked)
        if (
            isinstance(verdict, Accept)
            and asked["prev_index"] >= log[0][1]
            and asked["prev_index"] < log[-1][1]
        ):
            return Accept(
                cut_from=asked["prev_index"] + 1,
                entries=asked["entries"],
                next_index=asked["prev_index"] + len(asked["entries"]) + 1,
                commit_index=min(verdict.commit_index, asked["prev_index"] + len(asked["entries"])),
            )
        return verdict

    handlers.check_append = check  # type: ignore[assignment]


def _acks_of_any_term() -> None:
    hear = Handlers._answered

    def credulous(self: Any, peer: str, message: dict[str, Any]) -> None:
        if message["term"] < self.term:
            message = {**message, "term": self.term}
        hear(self, peer, message)

    Handlers._answered = credulous  # type: ignore[method-assign]
    Stamps.is_current = lambda self, peer, echo: True  # type: ignore[method-assign]


def _stored_commit_index() -> None:
    """Kept beside the log as soon as it is told, and believed at the next start."""

    def store(self: Any, index: int) -> None:
        self._disk.commit_index = index

    def stored(self: Any) -> int:
        return getattr(self._disk, "commit_index", 1)

    set_commit_index = LedgerNode._set_commit_index

    def set_and_store(self: Any, index: int) -> None:
        set_commit_index(self, index)
        self.journal.setRaftCommitIndex(index)

    Journal.setRaftCommitIndex, Journal.getRaftCommitIndex = store, stored  # type: ignore[method-assign]
    LedgerNode._set_commit_index = set_and_store  # type: ignore[method-assign]


def _old_snapshots_are_installed() -> None:
    hear = Handlers._snapshot_chunk

    def install(self: Any, peer: str, message: dict[str, Any]) -> None:
        commit = self.commit_index
        if (
            message["index"] <= commit
            and message["term"] == self.term
            and message["size"] == len(message["data"])
        ):
            try:
                receiver = self.snapshots.receiver(
                    message["index"], message["snapshot_term"], message["size"], message["sha256"]
                )
                receiver.write(0, message["data"])
                self._install(receiver.finish())
            except ValueError:
                return
        else:
            hear(self, peer, message)

    Handlers._snapshot_chunk = install  # type: ignore[method-assign]


def _changes_overlap() -> None:
    refusal = membership.refusal

    def hasty(change: Any, **known: Any) -> Any:
        return refusal(change, **{**known, "change_in_log": False, "own_term_applied": True})

    membership.refusal = hasty  # type: ignore[assignment]


def _group_counts_when_applied() -> None:
    """At a start the group is that of the snapshot, not that of the log's last record."""
    read = binding.group_log
    binding.group_log = lambda journal, founders, start: read([], founders, start)  # type: ignore[assignment,arg-type]


def _reads_without_the_log() -> None:
    add = Replica.add

    def answer(self: Any, call: Any) -> None:
        if not call.needs_session and call.command(0) == [Opcode.BARRIER]:
            call.finish(None, None)
        else:
            add(self, call)

    Replica.add = answer  # type: ignore[method-assign]


def _no_checksums() -> None:
    records.crc32c = lambda *_: 0  # type: ignore[assignment]
    snapshots.crc32c = lambda *_: 0  # type: ignore[assignment]


def _one_vote_slot() -> None:
    """The second slot keeps what it said at the first start, so a torn first one is an old vote."""

    def write(self: Any, vote: Any) -> None:
        from consensus.storage.votes import _encode

        self._files[0].write_at(len(self._header), _encode(self._counter + 1, vote))
        self._files[0].sync()
        self._counter += 1
        self.vote = vote

    VoteSlots.write = write  # type: ignore[method-assign]


def _unknown_is_told_as_refused() -> None:
    group_commit.OutcomeUnknown = lambda text, call_id=None: Refused(text)  # type: ignore[assignment,misc]


def _repeats_take_effect_again() -> None:
    answers = LedgerMachine._answers

    def forgetful(self: Any, entry: Any) -> Any:
        life = self.sessions.life_of(entry.proposer)
        if life is not None:
            life.answers.pop(entry.seq, None)
            life.answered_below = min(life.answered_below, entry.seq)
        return answers(self, entry)

    LedgerMachine._answers = forgetful  # type: ignore[method-assign]


def _ids_begin_again() -> None:
    """Each life of a node proposes under the same number, its sequence from 1."""
    init = Replica.__init__

    def same(self: Any, **parts: Any) -> None:
        init(self, **parts)
        self.group.proposer = zlib.crc32(parts["node"].encode())

    Replica.__init__ = same  # type: ignore[method-assign]


def _no_deadlines() -> None:
    group_commit.GroupCommit.expire = lambda self, now: None  # type: ignore[method-assign]


def _one_entry_back_a_round() -> None:
    def check(log: Any, **asked: Any) -> Any:
        verdict = check_append(log, **asked)
        if isinstance(verdict, Mismatch) and asked["prev_index"] <= log[-1][1]:
            return Mismatch(next_index=max(asked["prev_index"], asked["commit_index"] + 1))
        return verdict

    def always(self: Any, peer: str, echo: int) -> bool:
        self._on_their_way.pop(peer, None)
        return True

    handlers.check_append = check  # type: ignore[assignment]
    Stamps.may_go_back = always  # type: ignore[method-assign]


def _chunks_are_not_numbered() -> None:
    def write(self: Any, offset: int, chunk: bytes) -> None:
        if not self.ended:
            self._file.append(chunk)

    SnapshotReceiver.write = write  # type: ignore[method-assign]


def _nothing_is_proposed_again() -> None:
    group_commit.REPEAT_FIRST_S = math.inf  # type: ignore[assignment]


def _a_refusal_raises() -> None:
    def command(self: Any, command: Any, context: Any) -> Any:
        table = self._by_opcode.get(command[0])
        return None if table is None else table.apply(command, context)

    LedgerMachine._command = command  # type: ignore[method-assign]


def _a_full_disk_is_overlooked() -> None:
    """What could not be written is acknowledged all the same."""
    Handlers._stand_back = lambda self, full, now: None  # type: ignore[method-assign]


def _votes_not_voters() -> None:
    hear = Handlers._heard

    def count(self: Any, peer: str, message: Any) -> None:
        if isinstance(message, dict) and message.get("type") == "response_vote":
            self._voters.discard(peer)
        hear(self, peer, message)

    Handlers._heard = count  # type: ignore[method-assign]


def _stale_leaders_are_not_told() -> None:
    """As the library: an older term is ignored in silence, and a leader lets go after 30 s without a majority."""
    hears = Handlers._hears_leader

    def silent(self: Any, peer: str, term: int) -> bool:
        return term >= self.term and hears(self, peer, term)

    def hear(self: Any, peer: str, message: Any) -> None:
        answers = ("newer_term", "next_node_idx", "snapshot_ack", "pre_vote_answer")
        if message.get("type") not in answers or message["term"] <= self.term:
            heard(self, peer, message)

    heard = Handlers._heard
    init = LedgerNode.__init__

    def patient(self: Any, *args: Any, **named: Any) -> None:
        init(self, *args, **named)
        self.conf.leaderFallbackTimeout = 30.0

    Handlers._hears_leader, Handlers._heard = silent, hear  # type: ignore[method-assign]
    LedgerNode.__init__ = patient  # type: ignore[method-assign]


def _no_pre_vote() -> None:
    Handlers.may_campaign = lambda self: self.disk_full is None and self.name in self.members()  # type: ignore[method-assign]


def _forgetful_nodes_vote() -> None:
    """An empty or unsynced disk votes like any other."""
    opened = node.open_storage
    node.open_storage = lambda *args, **named: replace(opened(*args, **named), must_catch_up=False)  # type: ignore[assignment]


def _following_is_no_vote() -> None:
    adopt = LedgerNode._adopt
    LedgerNode._adopt = lambda self, term, vote=None: adopt(self, term)  # type: ignore[method-assign]


MUTANTS = {
    "A1": Mutant(
        "a snapshot message moves the commit index to the end of the own log",
        _snapshot_message_commits_own_log,
    ),
    "A1b": Mutant("the commit index follows the own log's end, matched or not", _commit_up_to_own_end),
    "A2": Mutant("a follower cuts behind prevLogIdx without a conflict", _cut_without_conflict),
    "A3": Mutant("acknowledgements of any term and link count", _acks_of_any_term),
    "A4": Mutant("a stored commit index is believed at a start", _stored_commit_index),
    "A5": Mutant("a snapshot behind the own commit index is installed", _old_snapshots_are_installed),
    "A7": Mutant("a second change of the group may begin at once", _changes_overlap),
    "A7b": Mutant(
        "a restarted node takes the group of its snapshot, not of its log", _group_counts_when_applied
    ),
    "A8": Mutant("votes are counted, not voters", _votes_not_voters),
    "A9": Mutant("a stale leader is not told, and waits 30 s", _stale_leaders_are_not_told),
    "A10": Mutant("no pre-vote", _no_pre_vote),
    "A11": Mutant("a barrier is answered without the log", _reads_without_the_log),
    "B1": Mutant("the log is not synced", _no_sync_of_the_log),
    "B1b": Mutant("acknowledgements leave before the flush", _acks_before_the_flush),
    "B1c": Mutant("the leader counts itself before its disk has it", _leader_counts_before_its_disk),
    "B1d": Mutant("the vote is not synced", _no_sync_of_the_vote),
    "B1e": Mutant("a snapshot is renamed unsynced", _no_sync_of_snapshots),
    "B2": Mutant("a dump newer than the log's head drops the log", _dump_drops_the_log),
    "B3": Mutant("compaction rewrites the log in place", _log_rewritten_in_place),
    "B3b": Mutant(
        "segments are dropped below the newer snapshot", _log_reaches_back_to_the_newer_snapshot_only
    ),
    "B5": Mutant("no checksums in any file", _no_checksums),
    "B6": Mutant("one vote slot is written", _one_vote_slot),
    "B7": Mutant("a full disk is overlooked", _a_full_disk_is_overlooked),
    "B10": Mutant(
        "a node that may have forgotten what it acknowledged votes all the same", _forgetful_nodes_vote
    ),
    "B11": Mutant("a node does not record that it follows a leader", _following_is_no_vote),
    "C1": Mutant("nothing is proposed again", _nothing_is_proposed_again),
    "C2": Mutant("an unknown outcome is told as refused", _unknown_is_told_as_refused),
    "C2b": Mutant("the ledger drops no duplicates", _repeats_take_effect_again),
    "C3": Mutant("ids begin again with each life", _ids_begin_again),
    "C5": Mutant("no deadlines", _no_deadlines),
    "D2": Mutant("a command that is refused raises", _a_refusal_raises),
    "E1": Mutant("one entry back a round, once for each message", _one_entry_back_a_round),
    "A6": Mutant("chunks of a snapshot are not numbered", _chunks_are_not_numbered),
}
