"""A snapshot on its way to one follower: which chunk is sent next (pure but for reading the file through its port).

Chunks are numbered by their offset, and the follower answers with how far it has got, so that a transfer goes on where it stood after a
lost chunk, a lost link or a leader's pause. A window of chunks is on its way; without progress the leader goes back to what was
acknowledged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

CHUNK_BYTES = 128 * 1024  # an eighth of the largest frame
WINDOW_CHUNKS = 8  # on their way to one follower, below the bound of its out-queue
RESEND_AFTER_S = 1.0


class SnapshotFile(Protocol):
    """A finished snapshot that stays readable while it is sent."""

    @property
    def index(self) -> int: ...
    @property
    def term(self) -> int: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def sha256(self) -> bytes: ...

    def read(self, offset: int, size_bytes: int) -> bytes: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class Transfer:
    """`file` towards one follower, begun at `progress_at`."""

    file: SnapshotFile
    progress_at: float
    chunk_bytes: int = CHUNK_BYTES
    sent: int = 0
    acknowledged: int = 0
    begun_anew: int = 0  # how often the follower threw it away: it restarted, or the file is damaged

    def chunks(self, now: float) -> list[dict[str, Any]]:
        """What to send now; the caller adds its term. Empty while the window is full."""
        if now - self.progress_at > RESEND_AFTER_S:
            self.sent, self.progress_at = self.acknowledged, now
        chunks = []
        while (
            self.sent < self.file.size_bytes
            and self.sent - self.acknowledged < WINDOW_CHUNKS * self.chunk_bytes
        ):
            data = self.file.read(self.sent, self.chunk_bytes)
            chunks.append(self._message(self.sent, data))
            self.sent += len(data)
        return chunks

    def probe(self) -> dict[str, Any]:
        """Carries no data: tells the follower that the leader lives, and asks how far it is."""
        return self._message(self.acknowledged, b"")

    def answered(self, offset: int, now: float) -> None:
        if offset > self.acknowledged:
            self.progress_at = now
        elif offset < self.acknowledged:  # the follower began anew
            self.sent = offset
            self.begun_anew += 1
        self.acknowledged = offset
        self.sent = max(self.sent, offset)

    def _message(self, offset: int, data: bytes) -> dict[str, Any]:
        return {
            "type": "snapshot_chunk",
            "index": self.file.index,
            "snapshot_term": self.file.term,
            "size": self.file.size_bytes,
            "sha256": self.file.sha256,
            "offset": offset,
            "data": data,
        }
