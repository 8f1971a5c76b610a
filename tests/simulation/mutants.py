"""Repairs switched off, one by one, in the process that runs the seeds: the simulator must notice each (`--mutant NAME`).

The names are the rows of docs/consensus.md, section "what stock does wrong"; a letter behind it tells variants apart. A mutant puts the
library's behaviour, or the naive one, in the place of a repair. It lives in the tests only: the product has no switch.
What no seed can show, because it lives in sockets, real files or pickles, is held by directed tests and not listed here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.simulation import mutants_calls, mutants_disk, mutants_raft


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


MUTANTS = {
    "A1": Mutant(
        "a snapshot message moves the commit index to the end of the own log",
        mutants_raft.snapshot_message_commits_own_log,
    ),
    "A2": Mutant("a follower cuts behind prevLogIdx without a conflict", mutants_raft.cut_without_conflict),
    "A3": Mutant("acknowledgements of any term and link count", mutants_raft.acks_of_any_term),
    "A4": Mutant("a stored commit index is believed at a start", mutants_disk.stored_commit_index),
    "A5": Mutant(
        "a snapshot behind the own commit index is installed", mutants_raft.old_snapshots_are_installed
    ),
    "A7": Mutant("a second change of the group may begin at once", mutants_raft.changes_overlap),
    "A7b": Mutant(
        "a restarted node takes the group of its snapshot, not of its log",
        mutants_raft.group_counts_when_applied,
    ),
    "A8": Mutant("votes are counted, not voters", mutants_raft.votes_not_voters),
    "A9": Mutant("a stale leader is not told, and waits 30 s", mutants_raft.stale_leaders_are_not_told),
    "A10": Mutant("no pre-vote", mutants_raft.no_pre_vote),
    "A11": Mutant("a barrier is answered without the log", mutants_calls.reads_without_the_log),
    "B1": Mutant("the log is not synced", mutants_disk.no_sync_of_the_log),
    "B1b": Mutant("acknowledgements leave before the flush", mutants_disk.acks_before_the_flush),
    "B1c": Mutant(
        "the leader counts itself before its disk has it", mutants_disk.leader_counts_before_its_disk
    ),
    "B1d": Mutant("the vote is not synced", mutants_disk.no_sync_of_the_vote),
    "B1e": Mutant("a snapshot is renamed unsynced", mutants_disk.no_sync_of_snapshots),
    "B2": Mutant("a dump newer than the log's head drops the log", mutants_disk.dump_drops_the_log),
    "B3": Mutant("compaction rewrites the log in place", mutants_disk.log_rewritten_in_place),
    "B3b": Mutant(
        "segments are dropped below the newer snapshot",
        mutants_disk.log_reaches_back_to_the_newer_snapshot_only,
    ),
    "B5": Mutant("no checksums in any file", mutants_disk.no_checksums),
    "B6": Mutant("one vote slot is written", mutants_disk.one_vote_slot),
    "B7": Mutant("a full disk is overlooked", mutants_disk.a_full_disk_is_overlooked),
    "B10": Mutant(
        "a node that may have forgotten what it acknowledged votes all the same",
        mutants_disk.forgetful_nodes_vote,
    ),
    "B11": Mutant("a node does not record that it follows a leader", mutants_raft.following_is_no_vote),
    "C1": Mutant("nothing is proposed again", mutants_calls.nothing_is_proposed_again),
    "C2": Mutant("an unknown outcome is told as refused", mutants_calls.unknown_is_told_as_refused),
    "C2b": Mutant("the ledger drops no duplicates", mutants_calls.repeats_take_effect_again),
    "C3": Mutant("ids begin again with each life", mutants_calls.ids_begin_again),
    "C5": Mutant("no deadlines", mutants_calls.no_deadlines),
    "D2": Mutant("a command that is refused raises", mutants_calls.a_refusal_raises),
    "E1": Mutant("one entry back a round, once for each message", mutants_raft.one_entry_back_a_round),
    "A6": Mutant(
        "chunks of a snapshot are not numbered nor is it checked before it has its name",
        mutants_disk.chunks_are_not_numbered,
    ),
}
