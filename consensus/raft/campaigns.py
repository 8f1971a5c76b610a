"""How a node comes to lead, and whom it helps to (shell around elections.py): it asks before it raises its term.

A node without room on its disk, or outside of the group, asks for nothing and promises nothing.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any

from consensus.config import LedgerConfig
from consensus.raft.doors import Doors
from consensus.raft.elections import LogEnd, PreVote, would_vote
from consensus.storage.journal import Journal
from consensus.transport.links import Links

LOG = logging.getLogger("quorate.consensus")
MISSING_TOLD_EVERY_S = 10.0


class Campaigns(Doors):
    """State that belongs to elections. All of one thread."""

    def __init__(
        self,
        node: str,
        *,
        journal: Journal,
        links: Links,
        config: LedgerConfig,
        clock: Callable[[], float],
        rng: random.Random,
        must_catch_up: bool,
    ) -> None:
        self.name, self.clock, self.rng, self.config = node, clock, rng, config
        self.journal, self.links, self.must_catch_up = journal, links, must_catch_up
        self.disk_full: str | None = None
        self.pre_vote = PreVote(node)
        self.unanimous = False  # every member said yes to the campaign that runs
        self.campaign_now = False
        self.leader_heard_at = float("-inf")
        self._tell_at = clock() + MISSING_TOLD_EVERY_S / 5  # a start takes a moment

    def _tell_who_is_missing(self, now: float) -> None:
        missing = self.pre_vote.missing(self.members())
        if self.must_catch_up and missing and now >= self._tell_at:
            LOG.info(
                "waits_for_members node=%s missing=%s: with a new directory it elects a leader only together with all",
                self.name,
                ",".join(missing),
            )
            self._tell_at = now + MISSING_TOLD_EVERY_S

    def _end(self) -> LogEnd:
        _, index, term = self.journal[-1]
        return LogEnd(term, index)

    def _asked_before_vote(self, peer: str, message: dict[str, Any]) -> None:
        granted = self.disk_full is None and would_vote(
            candidate_term=message["term"],
            candidate_end=LogEnd(message["last_log_term"], message["last_log_index"]),
            own_term=self.term,
            own_end=self._end(),
            leader_heard_ago_s=0.0 if self.is_leader() else self.clock() - self.leader_heard_at,
            election_timeout_min_s=self.config.election_min_s,
        )
        answer = {
            "type": "pre_vote_answer",
            "term": self.term,
            "round": message["round"],
            "granted": granted,
            "only_if_all": self.must_catch_up,
        }
        self.links.send(peer, answer)

    def _asked_for_vote(self, peer: str, message: dict[str, Any]) -> None:
        if message["term"] < self.term:
            self.links.send(peer, {"type": "newer_term", "term": self.term})
        elif self.disk_full is None and (not self.must_catch_up or message["unanimous"]):
            self._vote(peer, message)

    def may_campaign(self) -> bool:
        """The election timeout has passed. True when this node may raise its term now; else it asks the others first."""
        now, group = self.clock(), self.members()
        if self.disk_full is not None or self.name not in group:
            return False
        if self.campaign_now:
            self.campaign_now = self.unanimous = False
            return True
        if now >= self.pre_vote.ends_at:
            self._tell_who_is_missing(now)
            lasts_s = self.rng.uniform(self.config.election_min_s, self.config.election_max_s) / 2
            round_ = self.pre_vote.ask(now=now, lasts_s=lasts_s, only_if_all=self.must_catch_up)
            end = self._end()
            self._follow(None)
            for peer in group:
                if peer != self.name:
                    question = {
                        "type": "pre_vote",
                        "term": self.term + 1,
                        "round": round_,
                        "last_log_index": end.index,
                        "last_log_term": end.term,
                    }
                    self.links.send(peer, question)
        if not self.pre_vote.won(group, now):
            return False
        self.unanimous = self.pre_vote.unanimous(group)
        if self.must_catch_up and not self.unanimous:
            return False  # its own vote is one of those that count only if all do
        self.pre_vote.end()
        return True
