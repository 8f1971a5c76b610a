"""Group commit: every call ends exactly once, as an answer, as refused or as unknown, and never later than its deadline."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from consensus import group_commit
from consensus.errors import ConsensusError, NoQuorum, OutcomeUnknown, Refused
from consensus.group_commit import CALLS_MAX, ENTRY_CALLS_MAX, WINDOW_ENTRIES_MAX, Call, GroupCommit
from consensus.ledger.commands import ENTRY_BYTES_MAX, Entry, Opcode, decode_entry

pytestmark = pytest.mark.unit
PROPOSER = 77


@dataclass(slots=True)
class Ends:
    """What came of each call, by name; a call that ended twice stands there twice."""

    seen: list[tuple[str, Any]] = field(default_factory=list)

    def call(
        self, name: str, *, deadline: float = 5.0, needs_session: bool = False, size_bytes: int = 32
    ) -> Call:
        def end(answer: Any, error: ConsensusError | None) -> None:
            self.seen.append((name, answer if error is None else type(error)))

        return Call(
            command=lambda session: [Opcode.RESERVE, session, int(name)],
            end=end,
            deadline=deadline,
            size_bytes=size_bytes,
            needs_session=needs_session,
        )


def proposed(group: GroupCommit, now: float) -> list[Entry]:
    return [decode_entry(data) for data in group.propose(now)]


def test_calls_that_came_together_share_an_entry_and_get_their_own_answers() -> None:
    group, ends = GroupCommit(PROPOSER, session=4), Ends()
    for name in ("1", "2", "3"):
        group.add(ends.call(name))

    [entry] = proposed(group, 0.0)
    group.answered(entry.seq, [10, {"refused": "no"}, 30], 0.1)

    assert (entry.proposer, entry.commands) == (PROPOSER, [[Opcode.RESERVE, 4, n] for n in (1, 2, 3)])
    assert ends.seen == [("1", 10), ("2", Refused), ("3", 30)]


def test_an_unanswered_entry_is_repeated_under_its_own_seq_and_a_second_answer_changes_nothing() -> None:
    group, ends = GroupCommit(PROPOSER, session=1), Ends()
    group.add(ends.call("1", deadline=60.0))
    [first] = group.propose(0.0)

    repeats = [(now / 10, data) for now in range(1, 100) for data in group.propose(now / 10)]

    assert [data for _, data in repeats] == [first] * len(repeats)
    times = [time for time, _ in repeats]
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert 5 <= len(repeats) <= 8
    assert pauses == sorted(pauses), "repeats must come ever more slowly"
    seq = decode_entry(first).seq
    group.answered(seq, ["once"], 10.0)
    group.answered(seq, ["twice"], 10.0)
    group.expire(100.0)
    assert ends.seen == [("1", "once")]
    assert group.propose(100.0) == []


def test_a_deadline_without_a_proposal_is_no_quorum() -> None:
    group, ends = GroupCommit(PROPOSER), Ends()
    group.add(ends.call("1", deadline=1.0))
    group.add(ends.call("2", deadline=2.0))

    group.expire(0.99)
    assert ends.seen == []
    group.expire(1.0)

    assert ends.seen == [("1", NoQuorum)]
    [entry] = proposed(group, 1.1)
    assert [command[2] for command in entry.commands] == [2], "a call that ended as refused was proposed"


def test_a_deadline_after_the_proposal_is_unknown_and_a_late_answer_is_dropped() -> None:
    group, ends = GroupCommit(PROPOSER, session=1), Ends()
    group.add(ends.call("1", deadline=1.0))
    group.add(ends.call("2", deadline=3.0))
    [entry] = proposed(group, 0.0)

    group.expire(1.0)
    group.answered(entry.seq, [10, 20], 2.0)

    assert ends.seen == [("1", OutcomeUnknown), ("2", 20)]


def test_an_entry_whose_calls_all_ended_is_given_up() -> None:
    group, ends = GroupCommit(PROPOSER, session=1), Ends()
    group.add(ends.call("1", deadline=1.0))
    group.propose(0.0)

    group.expire(1.0)

    assert group.propose(50.0) == []
    group.add(ends.call("2", deadline=60.0))
    [entry] = proposed(group, 50.0)
    assert entry.answered_below == entry.seq == 2, "its answer must not be kept in the ledger for ever"


def test_answered_below_never_passes_an_entry_that_is_still_open() -> None:
    group, ends = GroupCommit(PROPOSER, session=1), Ends()
    entries = []
    for name in ("1", "2", "3"):
        group.add(ends.call(name))
        entries += proposed(group, 0.0)
    group.answered(entries[1].seq, [0], 0.1)
    group.add(ends.call("4"))

    [fourth] = proposed(group, 0.1)

    assert fourth.answered_below == entries[0].seq


def test_a_call_refused_for_a_closed_session_goes_out_again_in_the_next_one() -> None:
    group, ends = GroupCommit(PROPOSER, session=1), Ends()
    group.add(ends.call("1", needs_session=True))
    [entry] = proposed(group, 0.0)

    group.answered(entry.seq, [{"refused": "session 1 is closed"}], 0.1)

    assert (group.session, ends.seen) == (None, [])
    assert group.propose(0.2) == [], "it must wait for a session"
    group.session = 2
    [again] = proposed(group, 0.3)
    assert again.commands == [[Opcode.RESERVE, 2, 1]]
    assert again.seq != entry.seq
    group.answered(again.seq, [500], 0.4)
    assert ends.seen == [("1", 500)]


def test_a_closed_session_after_the_deadline_ends_the_call_as_refused() -> None:
    group, ends = GroupCommit(PROPOSER, session=1), Ends()
    group.add(ends.call("1", needs_session=True, deadline=1.0))
    [entry] = proposed(group, 0.0)

    group.answered(entry.seq, [{"refused": "session 1 is closed"}], 1.0)

    assert ends.seen == [("1", Refused)]


def test_calls_that_need_no_session_pass_those_that_wait_for_one_and_order_is_kept() -> None:
    group, ends = GroupCommit(PROPOSER), Ends()
    for name, needs_session in (("1", True), ("2", False), ("3", True)):
        group.add(ends.call(name, needs_session=needs_session))

    [entry] = proposed(group, 0.0)
    group.session = 9
    [rest] = proposed(group, 0.1)

    assert [command[2] for command in entry.commands] == [2]
    assert [command[2] for command in rest.commands] == [1, 3]


def test_the_window_bounds_the_entries_in_flight() -> None:
    group, ends = GroupCommit(PROPOSER, session=1), Ends()
    out: list[Entry] = []
    for name in range(WINDOW_ENTRIES_MAX + 3):
        group.add(ends.call(str(name)))
        out += proposed(group, 0.0)

    assert len(out) == len(group.in_flight) == WINDOW_ENTRIES_MAX
    group.answered(out[0].seq, [0], 0.1)
    [gathered] = proposed(group, 0.1)
    assert len(gathered.commands) == 3, "what waited for the window travels together"


def test_an_entry_is_bounded_in_calls_and_in_bytes() -> None:
    group, ends = GroupCommit(PROPOSER, session=1), Ends()
    for name in range(ENTRY_CALLS_MAX + 1):
        group.add(ends.call(str(name), size_bytes=1))
    assert [len(entry.commands) for entry in proposed(group, 0.0)] == [ENTRY_CALLS_MAX, 1]

    group = GroupCommit(PROPOSER, session=1)
    for name in range(4):
        group.add(ends.call(str(name), size_bytes=ENTRY_BYTES_MAX // 2 - 50))
    assert [len(entry.commands) for entry in proposed(group, 0.0)] == [2, 2]


def test_the_queue_is_bounded_and_the_call_too_many_is_refused_at_once() -> None:
    group, ends = GroupCommit(PROPOSER), Ends()
    call = ends.call("1")
    group.waiting.extend([call] * CALLS_MAX)

    group.add(ends.call("2"))

    assert ends.seen == [("2", Refused)]
    assert len(group.waiting) == CALLS_MAX


@pytest.mark.parametrize("seed", range(20))
def test_every_call_ends_exactly_once_whatever_happens(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "CALLS_MAX", 30)
    chance, group, ends = random.Random(seed), GroupCommit(PROPOSER), Ends()
    added, now, known = 0, 0.0, dict[int, int]()
    for _ in range(600):
        now += 0.05
        match chance.randrange(6):
            case 0 | 1:
                for _ in range(chance.randrange(6)):
                    deadline = now + chance.choice((0.1, 1.0, 4.0))
                    group.add(ends.call(str(added), deadline=deadline, needs_session=chance.random() < 0.5))
                    added += 1
            case 2:
                known |= {entry.seq: len(entry.commands) for entry in proposed(group, now)}
            case 3 if known:
                seq, count = chance.choice(list(known.items()))
                choices = [5, {"refused": "session 1 is closed"}, {"refused": "no"}]
                answers = [chance.choice(choices) for _ in range(count)]
                group.answered(seq, None if chance.random() < 0.1 else answers, now)
            case 4:
                group.expire(now)
            case _:
                group.session = chance.choice((None, 1, 2))
    group.end_all(OutcomeUnknown("the end"))

    assert sorted(int(name) for name, _ in ends.seen) == list(range(added)), f"seed {seed}"
