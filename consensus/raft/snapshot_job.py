"""A snapshot in the making, a few milliseconds a tick: commits go on meanwhile (shell: it hands file work to an executor).

The state is frozen at one index (copy on write inside the ledger); each tick takes as many sections as fit in a few
milliseconds and hands them to the executor, which writes them. The last piece of file work flushes, renames, and drops all but two. Only
when that is done does the log lose what the snapshot covers.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from typing import Protocol

from consensus.config import LedgerConfig
from consensus.raft.append_check import LogEntry
from consensus.storage.disk import DiskFull
from consensus.storage.snapshots import SnapshotHead, SnapshotStore, SnapshotWriter

LOG = logging.getLogger("quorate.consensus")
SECTIONS_WAITING_MAX = 8  # handed over and not written yet
SECTIONS_A_TICK = 1  # each takes the ledger a few milliseconds at most
RETRY_S = 5.0  # after a full disk


class State(Protocol):
    """`freeze` gives the sections of the state as of now; a later `freeze` voids an unfinished one."""

    def freeze(self) -> Iterator[tuple[str, bytes]]: ...


class Source(Protocol):
    """What the job asks of the node."""

    @property
    def last_applied(self) -> int: ...

    def log(self) -> LogView: ...

    def members_at(self, index: int) -> tuple[str, ...]: ...


class LogView(Protocol):
    def __getitem__(self, position: int, /) -> LogEntry: ...

    def __len__(self) -> int: ...


class SnapshotJob:
    def __init__(
        self, store: SnapshotStore, background: Executor, config: LedgerConfig, *, index: int, now: float
    ) -> None:
        """`index`: that of the snapshot which the node started from, 1 without one."""
        self._store, self._background, self._config = store, background, config
        self._begun_at = now
        self._last_index = index
        self._wanted = False
        self._writer: SnapshotWriter | None = None
        self._sections: Iterator[tuple[str, bytes]] | None = None
        self._index = 0
        self._waiting: deque[Future[None]] = deque()
        self._finish: Future[None] | None = None

    def want(self) -> None:
        """One as soon as there is anything new."""
        if self._writer is None:
            self._wanted = True

    def is_busy(self) -> bool:
        """The next tick has sections to take: do not wait."""
        return self._sections is not None and len(self._waiting) < SECTIONS_WAITING_MAX

    def step(self, source: Source, ledger: State, now: float) -> int | None:
        """The index of a snapshot that is finished, once. Raises `OSError` of the disk, but for a full one: that is tried again."""
        try:
            return self._step(source, ledger, now)
        except DiskFull as full:
            LOG.error("snapshot_put_off: %s; it is tried again in %g s", full, RETRY_S)
            self.abort()
            self._begun_at = now - self._config.snapshot_every_s + RETRY_S
            return None

    def _step(self, source: Source, ledger: State, now: float) -> int | None:
        while self._waiting and self._waiting[0].done():
            self._waiting.popleft().result()
        if self._finish is not None:
            if not self._finish.done():
                return None
            self._finish.result()
            finished, self._last_index = self._index, self._index
            self._finish = self._writer = None
            return finished
        if self._writer is None:
            if self._is_due(source, now):
                self._begin(source, ledger, now)
            return None
        assert self._sections is not None
        for _ in range(SECTIONS_A_TICK):
            if len(self._waiting) >= SECTIONS_WAITING_MAX:
                break
            section = next(self._sections, None)
            if section is None:
                self._sections = None
                self._finish = self._background.submit(self._writer.finish)
                break
            self._waiting.append(self._background.submit(self._writer.write_section, *section))
        return None

    def _is_due(self, source: Source, now: float) -> bool:
        new = source.last_applied - self._last_index
        if new <= 0:
            self._begun_at = max(self._begun_at, now - self._config.snapshot_every_s / 2)
            return False
        every_s, entries = self._config.snapshot_every_s, self._config.snapshot_entries
        return self._wanted or new >= entries or now - self._begun_at >= every_s

    def _begin(self, source: Source, ledger: State, now: float) -> None:
        log, index = source.log(), source.last_applied
        position = index - log[0][1]
        if position < 1:
            return
        self._wanted, self._begun_at, self._index = False, now, index
        head = SnapshotHead(last=log[position], before=log[position - 1], members=source.members_at(index))
        self._writer = self._store.writer(head)
        self._sections = iter(ledger.freeze())

    def abort(self) -> None:
        """Nothing of an unfinished one remains; file work that runs ends first."""
        writer, self._writer, self._sections, self._finish = self._writer, None, None, None
        self._waiting.clear()
        if writer is not None:
            self._background.submit(writer.abort)
