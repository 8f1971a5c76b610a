"""What the key service reads from the local replica: it may lag behind the group, and waits for nobody.

Any thread may read while the Raft thread applies: each read is a few calls that are atomic under the interpreter's lock, on tables that
never change what they have handed out. Several reads are no single moment. A barrier before a read makes it as new as the call.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from consensus.ledger.claims import Claim
from consensus.ledger.executed import Outcome
from consensus.ledger.marks import DoubleEffect
from consensus.raft.raft_thread import RaftThread


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerConnection:
    address: str
    connected: bool
    round_trip_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionView:
    """A closed session is shown while claims stand under it."""

    number: int
    node: str
    open: bool
    renewals: int
    claims: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerStatistics:
    node: str
    leader: str | None
    is_leader: bool
    ready: bool
    term: int
    commit_index: int
    last_applied: int
    log_length: int
    session: int | None
    executed_count: int
    high_water: int
    claims_count: int
    in_doubt_count: int
    bindings_count: int
    double_effect_count: int
    state_hash: str
    members: tuple[str, ...]
    peers: tuple[PeerConnection, ...]


class KeyReads:
    """`_started` comes from the service that starts and stops."""

    def _started(self) -> RaftThread:
        raise NotImplementedError

    def executed(self, keys: Sequence[int]) -> list[bool]:
        found = self._started().ledger.executed.found(keys)
        return [key in found for key in keys] if found else [False] * len(keys)

    def outcome(self, key: int) -> Outcome | None:
        """None: not executed."""
        return self._started().ledger.executed.outcome(key)

    def high_water(self) -> int:
        """Every key below was handed out at some time, as far as the local replica knows."""
        return self._started().ledger.blocks.next_key

    def sessions(self) -> list[SessionView]:
        return [
            SessionView(
                number=number,
                node=session.node,
                open=session.open,
                renewals=session.renewals,
                claims=session.claims,
            )
            for number, session in self._started().ledger.sessions.items()
        ]

    def claims_of(self, session: int) -> list[Claim]:
        """What stands claimed under this session, open or closed. Looks through all claims."""
        return self._started().ledger.claims.of(session)

    def recoverable(self) -> list[Claim]:
        """Claims of closed sessions: whoever claims such a key hears *recover*. Those in doubt wait for an operator."""
        ledger = self._started().ledger
        return [
            claim for number in ledger.sessions.closed_with_claims() for claim in ledger.claims.of(number)
        ]

    def in_doubt(self) -> dict[int, str]:
        """Key -> why its check could not tell."""
        return self._started().ledger.claims.in_doubt()

    def claim_of(self, key: int) -> Claim | None:
        """The entry of a key that was claimed and is not executed, in whatever state."""
        return self._started().ledger.claims.get(key)

    def double_effects(self) -> list[DoubleEffect]:
        """The newest possible ones; `statistics` counts all."""
        return self._started().ledger.marks.double_effects()

    def members(self) -> tuple[str, ...]:
        """The nodes of the group, sorted, as the last committed change says."""
        raft = self._started()
        return raft.ledger.members.nodes or raft.replica.raft.members()

    def broadcast_status(self, status: bytes) -> None:
        """Sent to every peer about once a second, outside the log."""
        self._started().replica.status = status

    def peer_status(self) -> dict[str, tuple[float, bytes]]:
        """Peer -> (age in s, its last status)."""
        now = time.monotonic()
        known = dict(self._started().replica.peer_status)
        return {peer: (now - at, status) for peer, (at, status) in known.items()}

    def statistics(self) -> LedgerStatistics:
        raft = self._started()
        replica, ledger = raft.replica, raft.ledger
        node, members = replica.raft, self.members()
        leader, connected = node.leader(), node.connected()
        return LedgerStatistics(
            node=raft.node,
            leader=leader,
            is_leader=node.is_leader(),
            ready=raft.session is not None and leader is not None,
            term=node.term,
            commit_index=node.commit_index,
            last_applied=node.last_applied,
            log_length=len(node.log()),
            session=raft.session,
            executed_count=len(ledger.executed),
            high_water=ledger.blocks.next_key,
            claims_count=len(ledger.claims),
            in_doubt_count=ledger.claims.in_doubt_count(),
            bindings_count=len(ledger.bindings),
            double_effect_count=ledger.marks.double_effect_count,
            state_hash=ledger.hash.hex(),
            members=members,
            peers=tuple(
                PeerConnection(
                    address=peer,
                    connected=peer in connected,
                    round_trip_ms=replica.round_trips_ms.get(peer),
                )
                for peer in members
                if peer != raft.node
            ),
        )
