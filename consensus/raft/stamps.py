"""Numbers on everything a leader sends, so that an answer counts for what it answers only (pure).

Each message of a leader carries its term and a number that rises; the answer carries both back. An answer of another term is dropped
(A3: an acknowledgement of term 1 counted in term 3), and so is one to a message of a link that has ended since: the follower may
have lost power.
An answer that asks the leader to go back counts once for each time it went back: those to messages sent before that are
stale, and would send the same entries over and over (E1).
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Stamps:
    """One node's view of its followers while it leads."""

    sent: int = 0
    _linked_at: dict[str, int] = field(default_factory=dict)
    _went_back_at: dict[str, int] = field(default_factory=dict)
    _on_their_way: dict[str, list[int]] = field(default_factory=dict)

    def begin(self) -> None:
        """A new leadership; its numbers go on from those of the last."""
        self._went_back_at.clear()
        self._on_their_way.clear()

    def next(self) -> int:
        """For a new message; the same one may go to several peers."""
        self.sent += 1
        return self.sent

    def entries_sent(self, peer: str, number: int) -> None:
        self._on_their_way.setdefault(peer, []).append(number)

    def unanswered(self, peer: str) -> int:
        """Messages with entries on their way to `peer`."""
        return len(self._on_their_way.get(peer, ()))

    def is_current(self, peer: str, echo: int) -> bool:
        return self._linked_at.get(peer, 0) < echo <= self.sent

    def answered(self, peer: str, echo: int) -> None:
        waiting = self._on_their_way.get(peer)
        if waiting and waiting[0] <= echo:
            self._on_their_way[peer] = [number for number in waiting if number > echo]

    def may_go_back(self, peer: str, echo: int) -> bool:
        """True once for each time: afterwards only answers to later messages may ask again."""
        if echo <= self._went_back_at.get(peer, 0):
            return False
        self._went_back_at[peer] = self.sent
        self._on_their_way.pop(peer, None)
        return True

    def forget(self, peer: str) -> None:
        """The link came or went: what was on its way is not answered any more."""
        self._on_their_way.pop(peer, None)
        self._linked_at[peer] = self.sent
