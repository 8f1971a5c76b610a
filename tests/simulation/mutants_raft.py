"""Mutants of the log, the elections and the group: each function switches one repair off in this process (see `mutants.py`)."""

from __future__ import annotations

from typing import Any

from consensus.raft import binding, handlers, membership
from consensus.raft.append_check import Accept, Mismatch, check_append
from consensus.raft.binding import LedgerNode
from consensus.raft.handlers import Handlers
from consensus.raft.stamps import Stamps


def snapshot_message_commits_own_log() -> None:
    hear = Handlers._snapshot_chunk

    def jump(self: Any, peer: str, message: dict[str, Any]) -> None:
        if message["term"] >= self.term:
            self._set_commit_index(max(self.commit_index, self.journal[-1][1]))
        hear(self, peer, message)

    Handlers._snapshot_chunk = jump  # type: ignore[method-assign]


def cut_without_conflict() -> None:
    def check(log: Any, **asked: Any) -> Any:
        verdict = check_append(log, **asked)
        if (
            isinstance(verdict, Accept)
            and asked["prev_index"] >= log[0][1]
            and asked["prev_index"] < log[-1][1]
        ):
            return Accept(
                cut_from=asked["prev_index"] + 1,
                entries=asked["entries"],
                next_index=asked["prev_index"] + len(asked["entries"]) + 1,
                commit_index=min(verdict.commit_index, asked["prev_index"] + len(asked["entries"])),
            )
        return verdict

    handlers.check_append = check  # type: ignore[assignment]


def acks_of_any_term() -> None:
    hear = Handlers._answered

    def credulous(self: Any, peer: str, message: dict[str, Any]) -> None:
        if message["term"] < self.term:
            message = {**message, "term": self.term}
        hear(self, peer, message)

    Handlers._answered = credulous  # type: ignore[method-assign]
    Stamps.is_current = lambda self, peer, echo: True  # type: ignore[method-assign]


def old_snapshots_are_installed() -> None:
    hear = Handlers._snapshot_chunk

    def install(self: Any, peer: str, message: dict[str, Any]) -> None:
        commit = self.commit_index
        if (
            message["index"] <= commit
            and message["term"] == self.term
            and message["size"] == len(message["data"])
        ):
            try:
                receiver = self.snapshots.receiver(
                    message["index"], message["snapshot_term"], message["size"], message["sha256"]
                )
                receiver.write(0, message["data"])
                self._install(receiver.finish())
            except ValueError:
                return
        else:
            hear(self, peer, message)

    Handlers._snapshot_chunk = install  # type: ignore[method-assign]


def changes_overlap() -> None:
    refusal = membership.refusal

    def hasty(change: Any, **known: Any) -> Any:
        return refusal(change, **{**known, "change_in_log": False, "own_term_applied": True})

    membership.refusal = hasty  # type: ignore[assignment]


def group_counts_when_applied() -> None:
    """At a start the group is that of the snapshot, not that of the log's last record."""
    read = binding.group_log
    binding.group_log = lambda journal, founders, start: read([], founders, start)  # type: ignore[assignment,arg-type]


def one_entry_back_a_round() -> None:
    def check(log: Any, **asked: Any) -> Any:
        verdict = check_append(log, **asked)
        if isinstance(verdict, Mismatch) and asked["prev_index"] <= log[-1][1]:
            return Mismatch(next_index=max(asked["prev_index"], asked["commit_index"] + 1))
        return verdict

    def always(self: Any, peer: str, echo: int) -> bool:
        self._on_their_way.pop(peer, None)
        return True

    handlers.check_append = check  # type: ignore[assignment]
    Stamps.may_go_back = always  # type: ignore[method-assign]


def votes_not_voters() -> None:
    hear = Handlers._heard

    def count(self: Any, peer: str, message: Any) -> None:
        if isinstance(message, dict) and message.get("type") == "response_vote":
            self._voters.discard(peer)
        hear(self, peer, message)

    Handlers._heard = count  # type: ignore[method-assign]


def stale_leaders_are_not_told() -> None:
    """As the library: an older term is ignored in silence, and a leader lets go after 30 s without a majority."""
    hears = Handlers._hears_leader

    def silent(self: Any, peer: str, term: int) -> bool:
        return term >= self.term and hears(self, peer, term)

    def hear(self: Any, peer: str, message: Any) -> None:
        answers = ("newer_term", "next_node_idx", "snapshot_ack", "pre_vote_answer")
        if message.get("type") not in answers or message["term"] <= self.term:
            heard(self, peer, message)

    heard = Handlers._heard
    init = LedgerNode.__init__

    def patient(self: Any, *args: Any, **named: Any) -> None:
        init(self, *args, **named)
        self.conf.leaderFallbackTimeout = 30.0

    Handlers._hears_leader, Handlers._heard = silent, hear  # type: ignore[method-assign]
    LedgerNode.__init__ = patient  # type: ignore[method-assign]


def no_pre_vote() -> None:
    Handlers.may_campaign = lambda self: self.disk_full is None and self.name in self.members()  # type: ignore[method-assign]


def following_is_no_vote() -> None:
    adopt = LedgerNode._adopt
    LedgerNode._adopt = lambda self, term, vote=None: adopt(self, term)  # type: ignore[method-assign]
