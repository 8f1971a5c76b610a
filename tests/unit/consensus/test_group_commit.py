"""Group commit: every call ends exactly once, as an answer, as refused or as unknown, and never later than its deadline."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from consensus import group_commit
from consensus.errors import ConsensusError, NoQuorum, OutcomeUnknown, Refused
from consensus.group_commit import (
    CALLS_BYTES_MAX,
    CALLS_MAX,
    ENTRY_CALLS_MAX,
    GATHER_S,
    UNKNOWN_ENTRIES_MAX,
    UNKNOWN_KEPT_S,
    WINDOW_ENTRIES_MAX,
    Call,
    GroupCommit,
)
from consensus.ledger.commands import ENTRY_BYTES_MAX, Entry, Opcode, decode_entry

pytestmark = pytest.mark.unit
PROPOSER = 77
TIME_MS = 1_700_000_000_000


@dataclass(slots=True)
class Ends:
    """What came of each call, by name; a call that ended twice stands there twice."""

    seen: list[tuple[str, Any]] = field(default_factory=list)

    def call(
        self,
        name: str,
        *,
        deadline: float = 5.0,
        needs_session: bool = False,
        size_bytes: int = 32,
        alone: bool = False,
        opens_session: bool = False,
        opcode: Opcode = Opcode.RESERVE,
    ) -> Call:
        def end(answer: Any, error: ConsensusError | None) -> None:
            self.seen.append((name, answer if error is None else type(error)))

        return Call(
            command=lambda session: [opcode, session, int(name)],
            end=end,
            deadline=deadline,
            size_bytes=size_bytes,
            needs_session=needs_session,
            alone=alone,
            opens_session=opens_session,
        )


def proposed(group: GroupCommit, now: float) -> list[Entry]:
    """What `propose` returns, without the two bytes in front that Raft looks at."""
    return [decode_entry(data[2:]) for data in group.propose(now, TIME_MS)]


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
    [first] = group.propose(0.0, 0)

    repeats = [(now / 10, data) for now in range(1, 100) for data in group.propose(now / 10, now)]

    assert [data for _, data in repeats] == [first] * len(repeats)
    times = [time for time, _ in repeats]
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert 5 <= len(repeats) <= 8
    assert pauses == sorted(pauses), "repeats must come ever more slowly"
    seq = decode_entry(first[2:]).seq
    group.answered(seq, ["once"], 10.0)
    group.answered(seq, ["twice"], 10.0)
    group.expire(100.0)
    assert ends.seen == [("1", "once")]
    assert group.propose(100.0, 0) == []


def test_a_deadline_without_a_proposal_is_no_quorum() -> None:
    group, ends = GroupCommit(PROPOSER, session=1), Ends()
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


def test_an_entry_whose_calls_all_ended_is_not_proposed_again_and_forgotten_after_a_while() -> None:
    group, ends = GroupCommit(PROPOSER, session=1), Ends()
    group.add(ends.call("1", deadline=1.0))
    proposed(group, 0.0)

    group.expire(1.0)

    assert group.propose(50.0, 0) == []
    group.add(ends.call("2", deadline=200.0))
    [entry] = proposed(group, 50.0)
    assert entry.answered_below == 1, "its answer is kept in the ledger: the call may be repeated"
    group.answered(entry.seq, [0], 51.0)
    group.expire(1.0 + UNKNOWN_KEPT_S)
    group.add(ends.call("3", deadline=200.0))
    [entry] = proposed(group, 100.0)
    assert entry.answered_below == entry.seq == 3, "its answer must not be kept in the ledger for ever"


def unknown_call(group: GroupCommit, ends: list[Any], *, now: float = 0.0) -> tuple[Entry, str]:
    """A call that ended as unknown, beside one that did not: its entry and its id."""
    deadlines = (now + 9.0, now + 1.0)
    for name, deadline in zip((5, 6), deadlines, strict=True):

        def end(answer: Any, error: ConsensusError | None) -> None:
            ends.append(answer if error is None else error)

        group.add(Call(command=lambda _, name=name: [Opcode.RESERVE, 1, name], end=end, deadline=deadline))
    [entry] = proposed(group, now)
    group.expire(now + 1.0)
    [error] = ends
    assert isinstance(error, OutcomeUnknown)
    assert error.call_id is not None
    return entry, error.call_id


def repeated(group: GroupCommit, call_id: str, now: float) -> list[Any]:
    ends: list[Any] = []
    group.repeat(
        call_id,
        Call(
            command=lambda _: [],
            end=lambda answer, error: ends.append(answer if error is None else type(error)),
            deadline=now + 5.0,
        ),
        now,
    )
    return ends


def test_an_unknown_call_is_repeated_under_its_id_while_its_entry_is_in_flight() -> None:
    group, first = GroupCommit(PROPOSER, session=1), list[Any]()
    entry, call_id = unknown_call(group, first)
    again = repeated(group, call_id, 2.0)
    group.answered(entry.seq, [50, 60], 3.0)
    assert (first[1:], again) == ([50], [60])


def test_an_unknown_call_whose_answer_came_late_gets_it_when_it_is_repeated() -> None:
    group, first = GroupCommit(PROPOSER, session=1), list[Any]()
    entry, call_id = unknown_call(group, first)
    group.answered(entry.seq, [50, 60], 3.0)
    assert repeated(group, call_id, 4.0) == [60]


def test_a_repeated_call_whose_entry_was_given_up_goes_out_with_the_same_bytes_and_seq() -> None:
    group, first = GroupCommit(PROPOSER, session=1), list[Any]()
    entry, call_id = unknown_call(group, first)
    group.expire(9.0)
    again = repeated(group, call_id, 10.0)
    assert proposed(group, 10.0) == [entry]
    group.answered(entry.seq, [50, 60], 10.5)
    assert again == [60]


def test_a_call_id_of_another_process_or_a_forgotten_one_is_refused() -> None:
    group, first = GroupCommit(PROPOSER, session=1), list[Any]()
    _, call_id = unknown_call(group, first)
    assert repeated(group, call_id.replace(str(PROPOSER), "78"), 2.0) == [Refused]
    assert repeated(group, "rubbish", 2.0) == [Refused]
    group.expire(9.0)
    group.expire(9.0 + UNKNOWN_KEPT_S)
    assert repeated(group, call_id, 100.0) == [Refused]


def test_unknown_entries_are_bounded() -> None:
    group = GroupCommit(PROPOSER, session=1)
    for number in range(UNKNOWN_ENTRIES_MAX + 10):
        group.add(Ends().call("1", deadline=0.01 * number + 0.001))
        proposed(group, 0.01 * number)
        group.expire(0.01 * number + 0.005)
    assert len(group.unknown) == UNKNOWN_ENTRIES_MAX


def test_only_an_entry_of_marks_and_the_like_may_wait_for_the_intervals_flush() -> None:
    for opcodes, head in (
        ([Opcode.EXECUTE, Opcode.RENEW, Opcode.BARRIER], b"\x00\x00"),
        ([Opcode.EXECUTE, Opcode.CLAIM], b"\x00\x01"),
        ([Opcode.FAIL], b"\x00\x01"),
    ):
        group = GroupCommit(PROPOSER, session=1)
        for opcode in opcodes:
            group.add(Ends().call("1", opcode=opcode))
        [data] = group.propose(0.0, 0)
        assert data[:2] == head


def test_a_change_of_the_group_is_alone_in_its_entry_and_marked_as_one() -> None:
    group, ends = GroupCommit(PROPOSER, session=1), Ends()
    for name, alone in (("1", False), ("2", True), ("3", False)):
        group.add(ends.call(name, alone=alone))
    heads = [
        (data[:1], len(decode_entry(data[1 if data[:1] == b"\x02" else 2 :]).commands))
        for data in group.propose(0.0, 0)
    ]
    assert heads == [(b"\x00", 1), (b"\x02", 1), (b"\x00", 1)]


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
    assert group.propose(0.2, 0) == [], "it must wait for a session"
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


def test_the_call_that_opens_a_session_passes_those_that_wait_for_one_and_order_is_kept() -> None:
    group, ends = GroupCommit(PROPOSER), Ends()
    for name, opens_session in (("1", False), ("2", True), ("3", False)):
        group.add(ends.call(name, opens_session=opens_session))

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
        out += proposed(group, name * 2 * GATHER_S)

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


def test_the_queue_is_bounded_in_bytes_too() -> None:
    group, ends = GroupCommit(PROPOSER), Ends()
    for name in ("1", "2", "3"):
        group.add(ends.call(name, size_bytes=CALLS_BYTES_MAX // 2))
    assert ends.seen == [("3", Refused)]


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
    group.end_all("the end")

    assert sorted(int(name) for name, _ in ends.seen) == list(range(added)), f"seed {seed}"
