"""The journal beside a plain list, through any mixture of writing, cutting, dropping, full disks, kills and power cuts.

The twin knows the log that was last synced and each change since. After a power cut the journal must hold the synced log with some first
part of these changes, after a kill at least all that was written; term and vote are always exactly the last ones that were set.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from consensus.storage.directory import Storage, open_storage
from consensus.storage.disk import DiskFull
from consensus.storage.journal import SyncMode
from consensus.storage.records import LogEntry
from consensus.storage.snapshots import SnapshotHead
from tests.simulation.disk import SimDisk, SimulatedCrash

pytestmark = pytest.mark.unit

SEGMENT_BYTES_MAX = 600
Log = list[LogEntry]


class JournalTwin(RuleBasedStateMachine):
    storage: Storage
    disk: SimDisk

    @initialize(seed=st.integers(0, 1 << 30))
    def first_start(self, seed: int) -> None:
        self.disk = SimDisk(Random(seed), lambda _: None)
        self.states: list[Log] = [[]]  # [0] is synced, each further one is one change later
        self.written = 0  # states up to this one are written
        self.votes: list[tuple[int, str | None]] = [
            (0, None)
        ]  # the last one is in force; earlier ones may be
        self.dropped_below = 0
        self.forgotten = 0  # so many entries only memory has lost
        self.snapshot_index = 0
        self._start()

    # -- what a node does

    @rule(sizes=st.lists(st.integers(0, 200), min_size=1, max_size=5))
    def add(self, sizes: list[int]) -> None:
        for size in sizes:
            index = self._next_index()
            self._added((bytes([size]) * size, index, self.votes[-1][0]))

    @rule(back=st.integers(1, 6))
    def cut(self, back: int) -> None:
        position = max(1, len(self.storage.journal) - back)
        if position < len(self.storage.journal):
            index = self.storage.journal[position][1]
            self.storage.journal.deleteEntriesFrom(position)
            self.states.append([entry for entry in self.states[-1] if entry[1] < index])

    @rule(ahead=st.integers(2, 9))
    def install_a_snapshot_beyond_the_end(self, ahead: int) -> None:
        index, term = self._next_index() + ahead, self.votes[-1][0]
        last, before = (b"last", index, term), (b"before", index - 1, term)
        if self._try(lambda: self._save_snapshot(last, before)):
            self.storage.journal.clear()
            self.states.append([])
            self.forgotten = 0
            self._added(before)
            self._added(last)

    @rule()
    def sync(self) -> None:
        def act() -> None:
            self.storage.journal.sync()
            self.states, self.written = [self.states[-1]], 0

        self._try(act)

    @rule()
    def write(self) -> None:
        def act() -> None:
            self.storage.journal.write()
            self.written = len(self.states) - 1

        self._try(act)

    @rule(candidate=st.sampled_from(["a", "b", None]))
    def vote(self, candidate: str | None) -> None:
        self.votes.append((self.votes[-1][0] + 1, candidate))

        def act() -> None:
            self.storage.journal.setCurrentTerm(*self.votes[-1])
            self.votes = self.votes[-1:]

        if not self._try(act):
            assert len(self.votes) == 1 or self.votes.pop()

    @precondition(lambda self: len(self.storage.journal) > 4)
    @rule(kept=st.integers(2, 4))
    def snapshot_and_forget(self, kept: int) -> None:
        if self.storage.journal.unsynced:
            return  # a snapshot is of committed entries
        journal = self.storage.journal
        position = len(journal) - kept
        last, before = journal[position], journal[position - 1]
        if not self._try(lambda: self._save_snapshot(last, before)):
            return
        journal.deleteEntriesTo(position - 1)
        self.forgotten += position - 1
        older = self.storage.snapshots.older_index()
        if older is not None:
            self.dropped_below = max(self.dropped_below, min(older, journal[0][1]))
            self._try(lambda: journal.drop_segments_below(min(older, journal[0][1])))

    # -- what the world does

    @rule(room=st.integers(0, 900))
    def the_disk_fills(self, room: int) -> None:
        self.disk.limit_bytes = self.disk.used_bytes() + room

    @rule()
    def room_is_made(self) -> None:
        self.disk.limit_bytes = None

    @rule(operations=st.integers(1, 12), power=st.booleans())
    def a_crash_is_near(self, operations: int, power: bool) -> None:
        self.disk.operations_until_crash, self.disk.crash_cuts_power = operations, power

    @rule()
    def power_cut(self) -> None:
        self._crash(power=True)

    @rule()
    def kill(self) -> None:
        self._crash(power=False)

    @rule()
    def orderly_stop(self) -> None:
        written = len(self.states) - 1 if self.disk.limit_bytes is None else self.written

        def act() -> None:
            self.storage.journal._destroy()
            self.written = written

        if self._try(act):
            self._crash(power=False)

    # -- the comparison

    @invariant()
    def memory_is_the_twin(self) -> None:
        if hasattr(self, "storage"):
            assert self.storage.journal[:] == self.states[-1][self.forgotten :]
            synced = self.states[0][-1][1] if self.states[0] else 0
            assert self.storage.journal.synced_index <= max(synced, self.snapshot_index)
            if len(self.states) == 1:
                assert self.storage.journal.synced_index == synced
                assert not self.storage.journal.unsynced

    def _try(self, act: Callable[[], None]) -> bool:
        """False: a full disk, or a crash from which the node was started again."""
        try:
            act()
            return True
        except DiskFull:
            return False
        except SimulatedCrash as crash:
            self._crash(power=crash.power, at_least=0 if crash.power else self.written)
            return False

    def _crash(self, *, power: bool, at_least: int | None = None) -> None:
        self.disk.crash(power=power)
        if at_least is None:
            at_least = 0 if power else self.written
        self._start()
        journal = self.storage.journal
        found = journal[:]
        vote = (journal.getCurrentTerm(), journal.getVotedForNodeId())
        assert vote in self.votes
        self.votes = [vote]
        possible = self.states[at_least:]
        assert any(self._is_kept_part(found, state) for state in possible), (found, possible)
        self.states, self.written, self.forgotten = [found], 0, 0

    def _is_kept_part(self, found: Log, state: Log) -> bool:
        """All of it, but for what whole dropped segments held."""
        start = len(state) - len(found)
        return start >= 0 and state[start:] == found and all(e[1] < self.dropped_below for e in state[:start])

    def _start(self) -> None:
        """A start may itself be interrupted, as often as it likes."""
        while True:
            try:
                self.storage = open_storage(
                    self.disk,
                    cluster="c",
                    node="n",
                    founders=("n",),
                    sync=SyncMode.ALWAYS,
                    boot_id="b",
                    segment_bytes_max=SEGMENT_BYTES_MAX,
                )
                return
            except SimulatedCrash as crash:
                self.disk.crash(power=crash.power)
            except DiskFull:
                self.disk.limit_bytes = None

    def _next_index(self) -> int:
        log = self.states[-1]
        return log[-1][1] + 1 if log else self.snapshot_index + 1

    def _added(self, entry: LogEntry) -> None:
        self.storage.journal.add(*entry)
        self.states.append([*self.states[-1], entry])

    def _save_snapshot(self, last: LogEntry, before: LogEntry) -> None:
        writer = self.storage.snapshots.writer(SnapshotHead(last=last, before=before, members=()))
        writer.write_section("state", bytes(100))
        writer.finish()
        self.snapshot_index = max(self.snapshot_index, last[1])


JournalTwin.TestCase.settings = settings(stateful_step_count=40)
TestJournalBesideAPlainList = JournalTwin.TestCase
