"""The group as the log tells it: the last record of a change counts, committed or not (pure).

Each record holds the whole group before and after, so that the log needs no other source. A record that is cut off by a conflict takes
its group with it. One change at a time: a leader appends the next only when the last is applied, and when it has applied an
entry of its own term (A7, and the overlap of majorities that the proof of Raft's single-node change needs).
"""

from __future__ import annotations

from dataclasses import dataclass

from consensus.ledger.commands import Opcode, decode_entry

MEMBERSHIP = b"\x02"
CATCH_UP_ENTRIES_MAX = (
    1_000  # a node is added when it lacks fewer: it then delays commits for milliseconds at most
)


@dataclass(frozen=True, slots=True)
class GroupRecord:
    index: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupChange:
    """What one membership command asks for."""

    proposer: int
    seq: int
    before: tuple[str, ...]
    after: tuple[str, ...]


def group_change(command: bytes) -> GroupChange | None:
    """None for other commands, and for a membership command that no honest proposer makes."""
    if command[:1] != MEMBERSHIP:
        return None
    try:
        entry = decode_entry(command[1:])
    except ValueError:
        return None
    match entry.commands:
        case [[Opcode.GROUP, list(before), list(after)]]:
            return GroupChange(
                proposer=entry.proposer, seq=entry.seq, before=tuple(before), after=tuple(after)
            )
        case _:
            return None


def refusal(
    change: GroupChange,
    *,
    group: tuple[str, ...],
    change_in_log: bool,
    own_term_applied: bool,
    known: bool,
    leader: str,
    missing_entries: dict[str, int | None],
) -> str | None:
    """Why a leader does not append `change` now; None when it may. `missing_entries`: how far each node that is no member but
    connected lags, None if unknown."""
    added, removed = set(change.after) - set(change.before), set(change.before) - set(change.after)
    if known:
        return "this very change was made before"
    if change_in_log or not own_term_applied:
        return "an earlier change, or the first entry of this leader, is not applied yet"
    if tuple(sorted(group)) != tuple(sorted(change.before)):
        return f"the group is {', '.join(group)} now"
    if len(added) + len(removed) != 1 or not change.after:
        return "one node at a time is added or removed"
    if leader in removed:
        return "the leader hands its leadership over before it is removed"
    for node in added:
        missing = missing_entries.get(node)
        if missing is None or missing > CATCH_UP_ENTRIES_MAX:
            return f"{node} is not connected or has not caught up"
    return None


class GroupLog:
    """The records that are in the log, oldest first; the first one stands for all before the log begins."""

    def __init__(self, base: tuple[str, ...], index: int = 0) -> None:
        self._records = [GroupRecord(index, base)]

    @property
    def current(self) -> tuple[str, ...]:
        return self._records[-1].members

    @property
    def changed_at(self) -> int:
        """Index of the newest record, 0 if there was never one."""
        return self._records[-1].index

    def at(self, index: int) -> tuple[str, ...]:
        """The group as of the entry `index`."""
        for record in reversed(self._records):
            if record.index <= index:
                return record.members
        return self._records[0].members

    def append(self, index: int, members: tuple[str, ...]) -> None:
        self._records.append(GroupRecord(index, tuple(sorted(members))))

    def cut(self, index: int) -> None:
        """All entries from `index` on are gone."""
        while len(self._records) > 1 and self._records[-1].index >= index:
            self._records.pop()

    def compact(self, index: int) -> None:
        """Entries up to `index` are committed and in a snapshot: of their records only the last matters."""
        while len(self._records) > 1 and self._records[1].index <= index:
            del self._records[0]
