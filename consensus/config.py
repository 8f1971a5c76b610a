"""Settings of a ledger node, checked once (values)."""

from __future__ import annotations

from dataclasses import dataclass

from consensus.errors import Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerConfig:
    """Times of one Raft group; all nodes of a group should have the same.

    heartbeat_s: a leader speaks at least this often. Longer: slower to notice a loss; shorter: more idle work.
    election_min_s, election_max_s: a follower that hears no leader for a random time between them asks for an election.
    leader_fallback_s: a leader that hears no majority for this long steps down; at most election_min_s, so that two leaders never
    serve at once for longer than it takes to elect the second.
    lease_s: a session that has not been renewed for this long is closed by the leader (plus `lease_margin_s`).
    snapshot_every_s, snapshot_entries: whichever comes first starts a snapshot.
    kept_entries: log entries kept in memory behind a snapshot, so that a follower that lags a little needs no snapshot.
    snapshot_chunk_bytes: of one message while a snapshot is sent; at most half of the largest frame.
    sync_interval_s: with SyncMode.INTERVAL marks are flushed this often.
    """

    heartbeat_s: float = 0.05
    election_min_s: float = 0.4
    election_max_s: float = 0.9
    leader_fallback_s: float = 0.4
    lease_s: float = 10.0
    lease_margin_s: float = 1.0
    snapshot_every_s: float = 60.0
    snapshot_entries: int = 50_000
    kept_entries: int = 5_000
    snapshot_chunk_bytes: int = 128 * 1024
    sync_interval_s: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < 3 * self.heartbeat_s < self.election_min_s < self.election_max_s:
            raise Refused(
                f"heartbeat_s {self.heartbeat_s:g}, election_min_s {self.election_min_s:g}, election_max_s "
                f"{self.election_max_s:g}: three heartbeats must be shorter than the first, the first than the last"
            )
        if not self.heartbeat_s < self.leader_fallback_s <= self.election_min_s:
            raise Refused(
                f"leader_fallback_s {self.leader_fallback_s:g} must lie between heartbeat_s and election_min_s"
            )
        if not 1 <= self.snapshot_chunk_bytes <= 512 * 1024:
            raise Refused(f"snapshot_chunk_bytes {self.snapshot_chunk_bytes} must lie between 1 and 524288")
        if self.lease_s < 4 * self.election_max_s / 2 or self.snapshot_every_s <= 0 or self.kept_entries < 1:
            raise Refused(
                f"lease_s {self.lease_s:g} must outlast an election; snapshot_every_s and kept_entries are positive"
            )
