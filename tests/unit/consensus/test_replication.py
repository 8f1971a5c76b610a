"""What a leader sends: pipelined, bounded, back once for each time, and a snapshot to whoever lags behind memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from consensus.raft.append_check import LogEntry
from consensus.raft.replication import UNANSWERED_MAX, Replication
from consensus.storage.disk import DirectoryDisk
from consensus.storage.snapshots import SnapshotHead, SnapshotStore

pytestmark = pytest.mark.unit


class Peer(str):
    """Stands for the library's node: hashable, with an id."""

    @property
    def id(self) -> str:
        return str(self)


B = Peer("b:1")


class Leader:
    """A leader of term 5 with one follower, its log a list, what it sends a list; `deaf`: nothing can be sent."""

    def __init__(self, tmp_path: Path, *, first: int = 1, entries: int = 10) -> None:
        self.log: list[LogEntry] = [(b"x", index, 5) for index in range(first, first + entries)]
        self.store = SnapshotStore(DirectoryDisk(tmp_path), cluster="c", node="a:1")
        self.sent: list[dict[str, Any]] = []
        self.deaf = False
        self.replication = Replication(
            self.log, self.store, self._send, next_index={B: self.log[-1][1] + 1}, match_index={B: 0}
        )

    def _send(self, peer: str, message: dict[str, Any]) -> bool:
        if not self.deaf:
            self.sent.append(message)
        return not self.deaf

    def append(self, count: int = 1) -> None:
        for _ in range(count):
            self.log.append((b"x", self.log[-1][1] + 1, 5))

    def send(self, *, beat: bool = False, now: float = 0.0) -> list[dict[str, Any]]:
        self.sent.clear()
        self.replication.begin_round()
        self.replication.send_to(B, term=5, commit_index=1, beat=beat, now=now)
        return list(self.sent)

    def answer(
        self, to: dict[str, Any], next_index: int, *, success: bool = True, caught_up: bool = True
    ) -> None:
        self.replication.answered(
            B,
            {
                "type": "next_node_idx",
                "echo": to["number"],
                "next_node_idx": next_index,
                "reset": not success,
                "success": success,
                "caught_up": caught_up,
            },
            0.0,
        )

    @property
    def matched(self) -> int:
        return self.replication.match_index[B]


def indices(message: dict[str, Any]) -> list[int]:
    return [index for _, index, _ in message["entries"]]


def test_each_entry_is_sent_once_without_waiting_for_answers(tmp_path: Path) -> None:
    leader = Leader(tmp_path)
    sent = []
    for _ in range(3):
        leader.append()
        sent += leader.send()
    assert [indices(message) for message in sent] == [[11], [12], [13]]
    leader.answer(sent[0], 12)
    assert (leader.matched, [indices(message) for message in leader.send()]) == (11, [[]]), (
        "an early answer must not send the later entries again"
    )


def test_a_follower_that_lacks_entries_moves_the_leader_back_once_for_all_its_complaints(
    tmp_path: Path,
) -> None:
    leader = Leader(tmp_path)
    beats = [leader.send(beat=True)[0] for _ in range(4)]
    for beat in beats:
        leader.answer(beat, 4, success=False)
    [again] = leader.send()
    assert indices(again) == [4, 5, 6, 7, 8, 9, 10]
    leader.answer(beats[-1], 4, success=False)
    assert [indices(message) for message in leader.send()] == [[]]


def test_going_back_stops_at_what_the_follower_has(tmp_path: Path) -> None:
    leader = Leader(tmp_path)
    leader.answer(leader.send(beat=True)[0], 9)
    leader.answer(leader.send(beat=True)[0], 2, success=False)
    assert indices(leader.send()[0]) == [9, 10]


def test_an_answer_over_an_ended_link_counts_for_nothing(tmp_path: Path) -> None:
    leader = Leader(tmp_path)
    [beat] = leader.send(beat=True)
    leader.answer(beat, 11)
    assert leader.matched == 10
    leader.replication.link_changed(B)
    assert leader.matched == 0, "the follower may have lost power"
    leader.answer(beat, 11)
    assert leader.matched == 0


def test_an_answer_that_claims_entries_which_were_never_sent_is_refused(tmp_path: Path) -> None:
    leader = Leader(tmp_path)
    with pytest.raises(ValueError, match="claims entry 39"):
        leader.answer(leader.send(beat=True)[0], 40)
    assert leader.matched == 0


def test_what_is_on_its_way_is_bounded_and_goes_on_with_the_answers(tmp_path: Path) -> None:
    leader = Leader(tmp_path)
    first = []
    for _ in range(UNANSWERED_MAX + 5):
        leader.append()
        first += [message for message in leader.send() if message["entries"]]
    assert len(first) == UNANSWERED_MAX
    leader.answer(first[-1], first[-1]["prev_index"] + 2)
    assert [indices(message) for message in leader.send()] == [list(range(43, 48))]


def test_a_message_that_could_not_be_sent_is_sent_again(tmp_path: Path) -> None:
    leader = Leader(tmp_path)
    leader.append()
    leader.deaf = True
    assert leader.send() == []
    leader.deaf = False
    assert indices(leader.send()[0]) == [11]


def test_without_entries_a_heartbeat_wants_an_answer_and_the_commit_index_alone_does_not(
    tmp_path: Path,
) -> None:
    leader = Leader(tmp_path)
    assert [message["quiet"] for message in leader.send(beat=True) + leader.send(beat=False)] == [False, True]


def test_a_follower_behind_the_memory_gets_the_snapshot_and_one_probe_a_heartbeat_while_its_window_is_full(
    tmp_path: Path,
) -> None:
    leader = Leader(tmp_path, first=100)
    last, before = leader.log[5], leader.log[4]
    writer = leader.store.writer(SnapshotHead(last=last, before=before, members=("a:1", "b:1")))
    writer.write_section("x", bytes(3 << 20))
    writer.finish()
    leader.answer(leader.send(beat=True)[0], 7, success=False)

    chunks = leader.send()
    assert {message["type"] for message in chunks} == {"snapshot_chunk"}
    assert (chunks[0]["index"], chunks[0]["offset"]) == (105, 0)
    assert leader.send() == []
    assert [len(message["data"]) for message in leader.send(beat=True)] == [0]

    ack = {"type": "snapshot_ack", "echo": chunks[-1]["number"], "index": 105}
    leader.replication.answered(B, {**ack, "offset": chunks[1]["offset"]}, 0.0)
    assert len(leader.send()) == 1
    leader.answer(leader.send(beat=True)[0], 106)
    assert (leader.matched, indices(leader.send()[0])) == (105, [106, 107, 108, 109])


def test_a_stranger_that_votes_for_nobody_yet_is_not_told_ready_to_be_added(tmp_path: Path) -> None:
    leader = Leader(tmp_path)
    leader.answer(leader.send(beat=True)[0], 11, caught_up=False)
    assert leader.replication.missing_entries(B) is None
    leader.answer(leader.send(beat=True)[0], 11)
    assert leader.replication.missing_entries(B) == 0
    leader.replication.link_changed(B)
    assert leader.replication.missing_entries(B) is None, "it may have come back with an empty directory"
