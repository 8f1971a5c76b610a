"""A follower's judgement of an append: what matches, where to cut, what to answer, how far it is committed (pure).

The four rules that stock pysyncobj breaks. Entries that match stay: a late or doubled message never shortens the log (A2). A cut
happens at a true conflict only, and never at or below the commit index: that would undo an answered command, so the node stops
instead. The commit index follows what this message matched, never the end of the own log (A1). A mismatch is answered with the first
index that could still differ, so that the leader goes back a term a round and not an entry (E1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

LogEntry = tuple[bytes, int, int]  # command, index, term


class Log(Protocol):
    """The entries in memory, without gaps and never empty: position 0 is the oldest."""

    def __getitem__(self, position: int, /) -> LogEntry: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """Nothing changes. The leader should go on from `next_index`."""

    next_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Accept:
    """Duty of order: cut, append, flush, and only then acknowledge everything below `next_index`."""

    cut_from: int | None
    entries: Sequence[LogEntry]
    next_index: int
    commit_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """The leader contradicts what is committed here: this node must stop. Nothing changes."""

    reason: str


def term_at(log: Log, index: int) -> int | None:
    """The term of the entry at `index`, None outside of what is in memory."""
    position = index - log[0][1]
    return log[position][2] if 0 <= position < len(log) else None


def check_append(
    log: Log,
    *,
    prev_index: int,
    prev_term: int,
    entries: Sequence[LogEntry],
    leader_commit: int,
    commit_index: int,
) -> Mismatch | Accept | Divergence:
    """`entries` follow `prev_index` without gaps. All that is committed here equals the leader's log (I3)."""
    first, last = log[0][1], log[-1][1]
    matched = prev_index + len(entries)
    if prev_index > last:
        return Mismatch(next_index=last + 1)
    if prev_index >= first and term_at(log, prev_index) != prev_term:
        if prev_index <= commit_index:
            return Divergence(
                reason=f"entry {prev_index} is committed here in another term than the leader's {prev_term}"
            )
        return Mismatch(next_index=max(_first_of_term(log, prev_index), commit_index + 1))
    new = 0
    while new < len(entries):
        _, index, term = entries[new]
        if index > last:
            break
        if index >= first and term_at(log, index) != term:
            break
        new += 1
    rest = entries[new:]
    cut_from = rest[0][1] if rest and rest[0][1] <= last else None
    if cut_from is not None and cut_from <= commit_index:
        return Divergence(reason=f"the leader would cut entry {cut_from}, which is committed here")
    known = max(matched, commit_index)
    return Accept(
        cut_from=cut_from,
        entries=rest,
        next_index=known + 1,
        commit_index=max(commit_index, min(leader_commit, known)),
    )


def _first_of_term(log: Log, index: int) -> int:
    position = index - log[0][1]
    term = log[position][2]
    while position > 0 and log[position - 1][2] == term:
        position -= 1
    return log[position][1]
