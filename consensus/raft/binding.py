"""The only importer of pysyncobj: its node, repaired from outside through the methods that a subclass can override.

What is repaired here, by the letters of docs/consensus.md: the log and vote are ours and flushed before an acknowledgement leaves
and before the leader counts itself (B1, B3-B6); a snapshot never drops log entries that it does not hold (B2) and never moves a follower
back (A5); the commit index follows only what was matched (A1, A4); entries are cut at a true conflict only (A2);
acknowledgements carry their term and stale leaders are told (A3, A9); a voter counts once (A8); strangers and utility messages
are refused (F2, F3); frames are msgpack, never pickle (F1); an apply that raises stops the node instead of skipping (D2).
One thread calls everything here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgpack
import pysyncobj.syncobj
import pysyncobj.tcp_connection
from pysyncobj import SyncObj, SyncObjConf, SyncObjException
from pysyncobj.pipe_notifier import PipeNotifier
from pysyncobj.serializer import SERIALIZER_STATE
from pysyncobj.version import VERSION

from consensus.errors import PortInUse
from consensus.storage.journal import Journal
from consensus.storage.snapshots import Snapshot, SnapshotStore, decode_snapshot, encode_snapshot

logging.getLogger("pysyncobj").setLevel(logging.CRITICAL)  # its tracebacks; our errors are sentences
LIBRARY_VERSION = "0.3.17"  # its private names are overridden below: another version is refused
FRAME_BYTES_MAX = 4 * 1024 * 1024
REGULAR = b"\x00"
PING_EVERY_S = 1.0
CHUNK_BYTES = 1 << 16
OVERRIDDEN = (
    "_SyncObj__doApplyCommand",
    "_SyncObj__onMessageReceived",
    "_SyncObj__sendNextNodeIdx",
    "_SyncObj__deleteEntriesFrom",
    "_SyncObj__loadDumpFile",
    "_SyncObj__setCurrentTerm",
    "_SyncObj__setState",
)


class _MsgpackFrames:
    """Stands in for the `pickle` module inside the library's connection: same two functions, plain data only."""

    @staticmethod
    def dumps(message: Any) -> bytes:
        return bytes(msgpack.packb(message))

    @staticmethod
    def loads(data: bytes) -> Any:
        return msgpack.unpackb(data, strict_map_key=False, max_bin_len=FRAME_BYTES_MAX)


class _LedgerSerializer:
    """Takes the place of the library's Serializer: snapshots through `SnapshotStore`, sent in numbered chunks."""

    def __init__(self, store: SnapshotStore, dump: Callable[[], bytes]) -> None:
        self._store, self._dump = store, dump
        self._finished: int | None = None
        self._sending: dict[Any, tuple[bytes, int]] = {}
        self._receiving = bytearray()

    def checkSerializing(self) -> tuple[int, int | None]:
        finished, self._finished = self._finished, None
        if finished is None:
            return SERIALIZER_STATE.NOT_SERIALIZING, None
        return SERIALIZER_STATE.SUCCESS, finished

    def serialize(self, data: Any, id_: int) -> None:
        _, last, before, _ = data
        self._store.save(encode_snapshot(Snapshot(last, before, self._dump())))
        self._sending.clear()
        self._finished = id_

    def deserialize(self) -> Snapshot | None:
        return self._store.newest()

    def getTransmissionData(self, node: Any) -> tuple[bytes, bool, bool] | None:
        if node not in self._sending:
            newest = self._store.newest()
            if newest is None:
                return None
            self._sending[node] = (encode_snapshot(newest), 0)
        data, place = self._sending[node]
        chunk = data[place : place + CHUNK_BYTES]
        is_last = place + len(chunk) >= len(data)
        if is_last:
            del self._sending[node]
        else:
            self._sending[node] = (data, place + len(chunk))
        return chunk, place == 0, is_last

    def setTransmissionData(self, data: Any) -> bool:
        if data is None:
            return False
        chunk, is_first, is_last = data
        if is_first:
            self._receiving.clear()
        self._receiving += chunk
        if not is_last:
            return False
        received = bytes(self._receiving)
        self._receiving.clear()
        try:
            decode_snapshot(received)
        except ValueError:
            return False  # chunks of two transfers: no success is sent, the leader sends it again
        self._store.save(received)
        return True

    def cancelTransmisstion(self, node: Any) -> None:
        self._sending.pop(node, None)


class LedgerNode(SyncObj):  # type: ignore[misc]
    """`apply(command)` is called once for each committed command, in order; `load(dump)` replaces the state."""

    def __init__(
        self,
        listen: str,
        others: Sequence[str],
        directory: Path,
        *,
        apply: Callable[[bytes], None],
        dump: Callable[[], bytes],
        load: Callable[[bytes], None],
        snapshot_every_s: float,
    ) -> None:
        if VERSION != LIBRARY_VERSION or not all(hasattr(SyncObj, name) for name in OVERRIDDEN):
            raise RuntimeError(f"pysyncobj {LIBRARY_VERSION} is needed, found {VERSION}")
        self._apply, self._load = apply, load
        self._keep_tail = False
        self._acks: list[tuple[Any, dict[str, Any]]] = []
        self._voters: set[Any] = set()
        self._broken: BaseException | None = None
        self._pinged_at = 0.0
        self.status = b""
        self.peer_status: dict[str, tuple[float, bytes]] = {}
        self.round_trips_ms: dict[str, float] = {}
        self._store = SnapshotStore(directory)
        self._journal = Journal(directory / "journal")
        pysyncobj.tcp_connection.pickle = _MsgpackFrames
        create_journal, serializer = pysyncobj.syncobj.createJournal, pysyncobj.syncobj.Serializer
        pysyncobj.syncobj.createJournal = lambda _path: self._journal
        pysyncobj.syncobj.Serializer = lambda *_: _LedgerSerializer(self._store, dump)
        conf = SyncObjConf(
            autoTick=False,
            appendEntriesUseBatch=False,
            appendEntriesPeriod=0.05,
            raftMinTimeout=0.4,
            raftMaxTimeout=0.9,
            leaderFallbackTimeout=0.4,
            connectionRetryTime=0.5,
            connectionTimeout=3.5,
            commandsWaitLeader=False,
            dynamicMembershipChange=False,
            journalFile=str(directory / "journal"),
            fullDumpFile=None,
            logCompactionMinEntries=50_000,
            logCompactionMinTime=snapshot_every_s,
            maxBindRetries=1,
            bindRetryTime=0.05,
        )
        try:
            super().__init__(listen, list(others), conf)
        except SyncObjException as error:
            raise PortInUse(f"port {listen} is in use by another program: choose another --listen") from error
        finally:
            pysyncobj.syncobj.createJournal, pysyncobj.syncobj.Serializer = create_journal, serializer
        for name in ("status", "add", "remove", "set_version", "transfer"):
            self._SyncObj__transport.setOnUtilityMessageCallback(name, None)
        self._notifier = PipeNotifier(self._poller)
        if self._store.newest() is not None:
            self._SyncObj__loadDumpFile(clearJournal=False)

    def wake(self) -> None:
        """Any thread: ends the current wait of `step`. The caller sees to it that wakes do not pile up."""
        self._notifier.notify()

    def propose(self, command: bytes) -> None:
        self._applyCommand(REGULAR + command, None)

    def step(self, wait_s: float) -> None:
        """One tick: own log flushed, messages, elections, commits, then the acknowledgements of what is on disk."""
        self._journal.sync()
        self.doTick(wait_s)
        self._flush_acks()
        if self._broken is not None:
            raise self._broken
        now = time.monotonic()
        if now - self._pinged_at >= PING_EVERY_S:
            self._pinged_at = now
            ping = {"type": "ping", "at": now, "status": self.status}
            for node in self.otherNodes:
                self._SyncObj__transport.send(node, ping)

    def leader(self) -> str | None:
        node = self._getLeader()
        return None if node is None else str(node.id)

    def is_leader(self) -> bool:
        return bool(self._isLeader())

    def connected(self, peer: str) -> bool:
        return any(node.id == peer and self.isNodeConnected(node) for node in self.otherNodes)

    def log_length(self) -> int:
        return len(self._journal)

    def close(self) -> None:
        self._doDestroy()
        self._journal._destroy()

    def _flush_acks(self) -> None:
        if self._acks:
            self._journal.sync()
            acks, self._acks = self._acks, []
            for node, message in acks:
                if message["term"] == self.raftCurrentTerm:
                    self._SyncObj__transport.send(node, message)

    def _SyncObj__sendNextNodeIdx(
        self, node: Any, reset: bool = False, nextNodeIdx: int | None = None, success: bool = False
    ) -> None:
        following = self._journal[-1][1] + 1 if nextNodeIdx is None else nextNodeIdx
        self._acks.append(
            (
                node,
                {
                    "type": "next_node_idx",
                    "next_node_idx": following,
                    "reset": reset,
                    "success": success,
                    "term": self.raftCurrentTerm,
                },
            )
        )

    def _SyncObj__doApplyCommand(self, command: bytes) -> None:
        if command[:1] == REGULAR:
            try:
                self._apply(bytes(command[1:]))
            except BaseException as error:
                self._broken = error
                raise

    def _SyncObj__deleteEntriesFrom(self, fromIDx: int) -> None:
        if not self._keep_tail:
            if fromIDx <= self.raftCommitIndex:
                self._broken = RuntimeError(
                    f"the leader would cut the committed entry {fromIDx}: this node stops"
                )
                raise self._broken
            super()._SyncObj__deleteEntriesFrom(fromIDx)

    def _SyncObj__onMessageReceived(self, node: Any, message: Any) -> None:
        if not isinstance(message, dict) or node not in self.otherNodes:
            return
        match message.get("type"):
            case "ping":
                self.peer_status[node.id] = (time.monotonic(), message["status"])
                self._SyncObj__transport.send(node, {"type": "pong", "at": message["at"]})
            case "pong":
                self.round_trips_ms[node.id] = (time.monotonic() - message["at"]) * 1000
            case "append_entries":
                self._append_entries(node, message)
            case "response_vote":
                if message["term"] == self.raftCurrentTerm and node not in self._voters:
                    self._voters.add(node)
                    super()._SyncObj__onMessageReceived(node, message)
            case "next_node_idx":
                if message["term"] > self.raftCurrentTerm:
                    self._SyncObj__setCurrentTerm(message["term"], None)
                    self._SyncObj__setState(0)
                    self._SyncObj__raftLeader = None
                elif message["term"] == self.raftCurrentTerm:
                    super()._SyncObj__onMessageReceived(node, message)
            case "request_vote" | "apply_command":
                super()._SyncObj__onMessageReceived(node, message)

    def _SyncObj__setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:
        if term != self.raftCurrentTerm:
            self._voters.clear()
        super()._SyncObj__setCurrentTerm(term, votedForNodeId)

    def _append_entries(self, node: Any, message: dict[str, Any]) -> None:
        if "transmission" in message:
            return  # an entry above the cap: our proposers never make one
        if message["term"] < self.raftCurrentTerm:
            self._SyncObj__sendNextNodeIdx(node)  # carries our term: the stale leader steps down
            return
        self._keep_tail = False
        if message.get("prevLogIdx") is not None:
            entries = [(bytes(command), index, term) for command, index, term in message.get("entries", [])]
            matched = message["prevLogIdx"] + len(entries)
            while entries and self._holds(entries[0][1], entries[0][2]):
                message["prevLogIdx"], message["prevLogTerm"] = entries[0][1], entries[0][2]
                del entries[0]
            message["entries"] = entries
            self._keep_tail = not entries
            message["commit_index"] = min(message["commit_index"], matched)
            if not self._holds(message["prevLogIdx"], message["prevLogTerm"]):
                message["commit_index"] = 0
        elif message.get("serialized") is not None:
            message["commit_index"] = 0
        else:
            return
        super()._SyncObj__onMessageReceived(node, message)
        self._keep_tail = False

    def _holds(self, index: int, term: int) -> bool:
        place = index - self._journal[0][1]
        return 0 <= place < len(self._journal) and self._journal[place][2] == term

    def _SyncObj__loadDumpFile(self, clearJournal: bool) -> None:
        """Start, or a snapshot from the leader: keeps every log entry that the snapshot does not cover."""
        snapshot = self._store.newest()
        if snapshot is None:
            return
        index = snapshot.last[1]
        if clearJournal and index <= self.raftLastApplied:
            return  # we are ahead of it
        if self._holds(index, snapshot.last[2]):
            first = self._journal[0][1]
            if index - 1 > first:
                self._journal.deleteEntriesTo(index - 1 - first)
        else:
            self._journal.clear()
            self._journal.add(*snapshot.before)
            self._journal.add(*snapshot.last)
            self._journal.sync()
        self._load(snapshot.dump)
        self._SyncObj__raftLastApplied = index
        self._SyncObj__raftCommitIndex = max(self.raftCommitIndex, index)
