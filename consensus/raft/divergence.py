"""Notices a replica whose state differs from the majority's (pure): each node tells its hash at agreed indices.

The hash of a replica covers every applied entry and every answer given. Every `CHECKPOINT_ENTRIES` entries the value is kept and
told to the peers with the pings. A node that finds a majority of the group agreeing on another value than its own stops: it must not answer
from a state that nobody else has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from consensus.raft.elections import is_majority

CHECKPOINT_ENTRIES = 64
KEPT = 64  # checkpoints; a peer that lags more is compared when it has caught up


class HashWatch:
    def __init__(self, node: str) -> None:
        self._node = node
        self._told: dict[int, dict[str, bytes]] = {}  # index -> node -> hash
        self.newest: tuple[int, bytes] | None = None

    def applied(self, index: int, state_hash: bytes) -> None:
        if index % CHECKPOINT_ENTRIES == 0:
            self.newest = (index, state_hash)
            self.heard(self._node, index, state_hash)

    def recent(self) -> list[tuple[int, bytes]]:
        """The own newest checkpoints, for the next ping."""
        own = [(index, told[self._node]) for index, told in sorted(self._told.items()) if self._node in told]
        return own[-4:]

    def heard(self, node: str, index: int, state_hash: bytes) -> None:
        if index not in self._told and len(self._told) >= KEPT:
            oldest = min(self._told)
            if index < oldest:
                return
            del self._told[oldest]
        self._told.setdefault(index, {})[node] = state_hash

    def verdict(self, group: Collection[str]) -> str | None:
        """A sentence when this node is the one that differs."""
        for index, told in self._told.items():
            own = told.get(self._node)
            if own is None or len(set(told.values())) < 2:
                continue
            counts = Counter(state_hash for node, state_hash in told.items() if node in group)
            common, count = counts.most_common(1)[0]
            if common != own and is_majority(count, group):
                return (
                    f"the state of {self._node} at entry {index} differs from that of {count} of {len(group)} nodes: "
                    "it stops. Move its data directory away and start it anew; keep the directory for a report"
                )
        return None
