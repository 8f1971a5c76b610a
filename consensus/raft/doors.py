"""What the handlers of a node need of the library, and what the library's log is applied to: only names (pure).

`binding.py` opens each door with private names of pysyncobj; nothing else knows those.
"""

from __future__ import annotations

from typing import Any, Protocol

from consensus.storage.snapshots import Snapshot


class StateMachine(Protocol):
    """What the log is applied to."""

    def apply(self, command: bytes, index: int, term: int) -> None: ...

    def install(self, snapshot: Snapshot) -> None: ...

    def proposes_soon(self) -> bool:
        """The next entry will carry the commit index: it need not travel alone."""
        ...

    def knows(self, proposer: int, seq: int) -> bool: ...

    def ping(self, peer: str, message: dict[str, Any]) -> None: ...


class Doors:
    """Peers are named by their ids, "host:port"."""

    @property
    def term(self) -> int:
        raise NotImplementedError

    @property
    def commit_index(self) -> int:
        raise NotImplementedError

    @property
    def last_applied(self) -> int:
        raise NotImplementedError

    def is_leader(self) -> bool:
        raise NotImplementedError

    def leader(self) -> str | None:
        raise NotImplementedError

    def members(self) -> tuple[str, ...]:
        """The group in force."""
        raise NotImplementedError

    @property
    def vote(self) -> str | None:
        """Whom this node voted for in this term."""
        raise NotImplementedError

    def _adopt(self, term: int, vote: str | None = None) -> None:
        """This node follows in `term`, nobody leads yet, its vote is free or given to `vote`."""
        raise NotImplementedError

    def _follow(self, leader: str | None) -> None:
        """Follows `leader`, whose silence is measured from now; None: nobody leads."""
        raise NotImplementedError

    def _set_commit_index(self, index: int) -> None:
        raise NotImplementedError

    def _restored(self, index: int) -> None:
        """The state is that after entry `index`, which is committed."""
        raise NotImplementedError

    def _regroup(self, members: tuple[str, ...]) -> None:
        raise NotImplementedError

    def _vote(self, peer: str, message: dict[str, Any]) -> None:
        """Votes if Raft's rules allow it: its term, its log, no other vote."""
        raise NotImplementedError

    def _count_vote(self, peer: str, message: dict[str, Any]) -> None:
        raise NotImplementedError

    def _responded(self, peer: str) -> None:
        """`peer` answered this leader just now."""
        raise NotImplementedError

    def _link_came(self, peer: str) -> None:
        raise NotImplementedError

    def _link_went(self, peer: str) -> None:
        raise NotImplementedError

    def _node(self, peer: str) -> Any:
        """The library's name for a peer."""
        raise NotImplementedError

    def _set_applied(self, index: int) -> None:
        raise NotImplementedError

    def _has_applied_own_term(self) -> bool:
        """A leader has applied the entry with which its term began."""
        raise NotImplementedError

    def _strangers(self) -> set[Any]:
        """The library's nodes that are connected and no members."""
        raise NotImplementedError

    def _replicate(self) -> None:
        """A leader sends what its followers lack."""
        raise NotImplementedError

    def _ask_to_campaign(self) -> None:
        """A leader tells the most advanced follower to campaign, if it has every entry."""
        raise NotImplementedError
