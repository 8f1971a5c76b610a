"""Who may campaign and who gets a vote (pure): pre-votes, voters, and nodes that lost power.

A node whose leader is silent first asks whether it would be elected (a pre-vote): no term rises for a node that was merely cut
off (A10). Others say no while they hear a leader, or when their log is newer. Voters are a set, so that a doubled answer counts
once (A8), and only members of the group count.

A node with a new directory, or that runs with `--sync interval` and lost power, may have forgotten entries that it had acknowledged. Until
it has caught up with a leader it votes only for a candidate that *every* member would elect: that candidate's log reaches as far as
anybody's. So the first election of a group needs all founders, and a node whose disk was lost may simply start anew.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, order=True)
class LogEnd:
    """Orders as Raft does: by the term of the last entry, then by its index."""

    term: int
    index: int


def is_majority(count: int, group: Collection[str]) -> bool:
    return 2 * count > len(group)


def would_vote(
    *,
    candidate_term: int,
    candidate_end: LogEnd,
    own_term: int,
    own_end: LogEnd,
    leader_heard_ago_s: float,
    election_timeout_min_s: float,
) -> bool:
    """Answer to a pre-vote; `leader_heard_ago_s` is 0 at a leader itself. Promises nothing."""
    if leader_heard_ago_s < election_timeout_min_s:
        return False
    return candidate_term > own_term and candidate_end >= own_end


@dataclass(slots=True)
class PreVote:
    """The rounds of one node. `ask` starts one; `won` when a majority, this node included, said yes to that very round."""

    node: str
    round: int = 0
    ends_at: float = float("-inf")
    yes: set[str] = field(default_factory=set)
    if_all: set[str] = field(default_factory=set)  # these vote only if everybody does

    def ask(self, *, now: float, lasts_s: float, only_if_all: bool) -> int:
        self.end()
        self.ends_at = now + lasts_s
        self.answered(self.node, self.round, granted=True, only_if_all=only_if_all)
        return self.round

    def answered(self, peer: str, round_: int, *, granted: bool, only_if_all: bool) -> None:
        if round_ == self.round and granted:
            (self.if_all if only_if_all else self.yes).add(peer)

    def won(self, group: Collection[str], now: float) -> bool:
        votes = self.yes & set(group)
        return now < self.ends_at and (is_majority(len(votes), group) or self.unanimous(group))

    def unanimous(self, group: Collection[str]) -> bool:
        return self.yes | self.if_all >= set(group)

    def missing(self, group: Collection[str]) -> list[str]:
        """Who has not said yes to the last round."""
        return sorted(set(group) - self.yes - self.if_all)

    def end(self) -> None:
        """The round is used up, or a leader was heard: late answers count for nothing."""
        self.round += 1
        self.ends_at = float("-inf")
        self.yes, self.if_all = set(), set()
