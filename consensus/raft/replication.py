"""A leader's side of the log: what each follower gets next, and what its answers mean (pure but for the ports it sends through).

`next_index` and `match_index` are the library's own tables (it counts the second for commits), keyed by its nodes. Entries are
pipelined: `next_index` moves on when they are sent, and comes back only when a follower says that it lacks something before (E1).
What is on its way is bounded. A follower that lags behind what is in memory gets a snapshot, chunk by chunk; while its window is full it
gets one probe a heartbeat and not a loop of empty messages (E3).
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

from consensus.raft.append_check import Log, LogEntry, term_at
from consensus.raft.snapshot_transfer import CHUNK_BYTES, Transfer
from consensus.raft.stamps import Stamps
from consensus.storage.snapshots import SnapshotStore

UNANSWERED_MAX = 32  # messages with entries on their way to one follower
REFUSALS_MAX = 2  # of one snapshot by one follower
BATCH_BYTES_MAX = 256 * 1024  # of one message, a quarter of the largest frame
BATCH_ENTRIES_MAX = 512


class Replication:
    """Begun anew with each leadership by `begin`."""

    def __init__(
        self,
        log: Log,
        snapshots: SnapshotStore,
        send: Callable[[str, dict[str, Any]], bool],
        *,
        next_index: MutableMapping[Any, int],
        match_index: MutableMapping[Any, int],
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        self._log, self._snapshots, self._send = log, snapshots, send
        self.next_index, self.match_index = next_index, match_index
        self.stamps = Stamps()
        self._chunk_bytes = chunk_bytes
        self._transfers: dict[Any, Transfer] = {}
        self._round: dict[int, dict[str, Any]] = {}
        self._caught_up: set[Any] = set()

    def begin(self) -> None:
        self.stamps.begin()
        self._caught_up.clear()
        self.close()

    def close(self) -> None:
        for transfer in self._transfers.values():
            transfer.file.close()
        self._transfers.clear()

    def link_changed(self, node: Any) -> None:
        """The link came or went: what was on its way is void, and so is what the node once said to have (it may have lost power)."""
        self.stamps.forget(node.id)
        self._caught_up.discard(node)
        if node in self.match_index:
            self.match_index[node] = 0
            self.next_index[node] = self._log[-1][1] + 1

    def include(self, node: Any) -> None:
        """A new member; what it has shown before as a stranger counts."""
        self.next_index.setdefault(node, self._log[-1][1] + 1)
        self.match_index.setdefault(node, 0)

    def remove(self, node: Any) -> None:
        self.next_index.pop(node, None)
        self.match_index.pop(node, None)
        if (transfer := self._transfers.pop(node, None)) is not None:
            transfer.file.close()

    def missing_entries(self, node: Any) -> int | None:
        """None: unknown, or it would not help to elect a leader yet (a member that votes for nobody could leave the group without one)."""
        return self._log[-1][1] - self.match_index[node] if node in self._caught_up else None

    def begin_round(self) -> None:
        """Until the next round followers at the same index get the same message, which is then encoded once."""
        self._round.clear()

    def send_to(self, node: Any, *, term: int, commit_index: int, beat: bool, now: float) -> None:
        """All that `node` lacks, as far as its window allows. Without anything: a heartbeat if `beat`, else the commit index only."""
        if node not in self.next_index:
            return
        if self.next_index[node] <= self._log[0][1]:
            self._send_snapshot(node, term=term, beat=beat, now=now)
            return
        if (transfer := self._transfers.pop(node, None)) is not None:
            transfer.file.close()
        sent = False
        next_index = self.next_index[node]
        while next_index <= self._log[-1][1] and self.stamps.unanswered(node.id) < UNANSWERED_MAX:
            message = self._append(next_index, term, commit_index, quiet=False)
            if not self._send(node.id, message):
                break
            self.stamps.entries_sent(node.id, message["number"])
            next_index += len(message["entries"])
            self.next_index[node] = next_index
            sent = True
        if not sent:
            self._send(node.id, self._append(next_index, term, commit_index, quiet=not beat, empty=True))

    def answered(self, node: Any, message: dict[str, Any], now: float) -> None:
        """`message` is of this term. Raises `ValueError` for an answer that claims what was never sent."""
        echo = message["echo"]
        if node not in self.next_index or not self.stamps.is_current(node.id, echo):
            return
        self.stamps.answered(node.id, echo)
        if message["type"] == "snapshot_ack":
            transfer = self._transfers.get(node)
            if transfer is not None and message["index"] == transfer.file.index:
                transfer.answered(message["offset"], now)
            return
        if message["caught_up"]:
            self._caught_up.add(node)
        next_index = message["next_node_idx"]
        if not 1 <= next_index <= self._log[-1][1] + 1:
            if message["success"]:
                raise ValueError(f"it claims entry {next_index - 1}, which this leader does not have")
            return
        if message["success"]:
            self.match_index[node] = max(self.match_index[node], next_index - 1)
            self.next_index[node] = max(self.next_index[node], next_index)
        elif message["reset"] and self.stamps.may_go_back(node.id, echo):
            self.next_index[node] = max(next_index, self.match_index[node] + 1)

    def needs_new_snapshot(self) -> bool:
        """A follower keeps throwing away the one that is sent: its bytes may have rotted here."""
        return any(transfer.begun_anew >= REFUSALS_MAX for transfer in self._transfers.values())

    def _append(
        self, next_index: int, term: int, commit_index: int, *, quiet: bool, empty: bool = False
    ) -> dict[str, Any]:
        place = -next_index if empty else next_index
        message = self._round.get(place)
        if message is None:
            message = self._round[place] = {
                "type": "append_entries",
                "term": term,
                "number": self.stamps.next(),
                "commit_index": commit_index,
                "prev_index": next_index - 1,
                "prev_term": term_at(self._log, next_index - 1),
                "entries": [] if empty else _within_bytes(self._log, next_index - self._log[0][1]),
                "quiet": quiet,
            }
        return message

    def _send_snapshot(self, node: Any, *, term: int, beat: bool, now: float) -> None:
        transfer = self._transfers.get(node)
        if transfer is None:
            file = self._snapshots.newest_file()
            if file is None:
                return
            transfer = self._transfers[node] = Transfer(file, now, self._chunk_bytes)
        elif transfer.file.index < self._log[0][1] or transfer.begun_anew >= REFUSALS_MAX:
            file = self._snapshots.newest_file()
            if file is not None and file.index > transfer.file.index:
                transfer.file.close()
                transfer = self._transfers[node] = Transfer(file, now, self._chunk_bytes)
        messages = transfer.chunks(now)
        if not messages and beat:
            messages = [transfer.probe()]
        for message in messages:
            stamped = {**message, "term": term, "number": self.stamps.next()}
            if not self._send(node.id, stamped):
                transfer.sent = min(transfer.sent, message["offset"])
                break


def _within_bytes(log: Log, start: int) -> list[LogEntry]:
    entries: list[LogEntry] = []
    size = 0
    for position in range(start, min(len(log), start + BATCH_ENTRIES_MAX)):
        entry = log[position]
        size += len(entry[0]) + 24
        if entries and size > BATCH_BYTES_MAX:
            break
        entries.append(entry)
    return entries
