"""The recorder hides no call, and the judge of blocks refuses what a broken counter would answer."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus import OutcomeUnknown, Refused
from tests.chaos.blocks import judge_blocks
from tests.chaos.history import HistoryDamaged, RecordedCall, Recorder, read_history
from tests.chaos.line_process import ENVIRONMENT

pytestmark = pytest.mark.unit

KILLED_IN_A_CALL = """
import os, signal, sys
from pathlib import Path
from tests.chaos.history import Recorder

recorder = Recorder(Path(sys.argv[1]), node="n")
recorder.call("read", {"key": 1}, lambda: True)
recorder.call("execute", {"key": 1}, lambda: os.kill(os.getpid(), signal.SIGKILL))
"""


def block(
    first: int, stop: int, invoked: int, returned: int | None, *, count: int | None = None
) -> RecordedCall:
    return RecordedCall(
        node="n",
        operation="reserve",
        arguments={"count": stop - first if count is None else count},
        answer=None if returned is None else [first, stop],
        invoked_ns=invoked,
        returned_ns=returned,
        session=1,
        session_after=1,
    )


def raise_error(error: Exception) -> None:
    raise error


def test_a_call_keeps_its_times_answer_and_sessions(tmp_path: Path) -> None:
    clock, sessions = itertools.count(100), iter([7, 8])
    with Recorder(
        tmp_path / "h", node="n1", session=lambda: next(sessions), clock_ns=lambda: next(clock)
    ) as recorder:
        assert recorder.call("claim", {"key": 5}, lambda: ["go", 1]) == ["go", 1]

    assert read_history([tmp_path / "h"]) == [
        RecordedCall(
            node="n1",
            operation="claim",
            arguments={"key": 5},
            answer=["go", 1],
            invoked_ns=100,
            returned_ns=101,
            session=7,
            session_after=8,
        )
    ]


def test_a_refused_call_is_dropped_and_an_unknown_one_stays_open(tmp_path: Path) -> None:
    with Recorder(tmp_path / "h", node="n1") as recorder:
        with pytest.raises(Refused):
            recorder.call("execute", {"key": 1}, lambda: raise_error(Refused("no")))
        with pytest.raises(OutcomeUnknown):
            recorder.call("execute", {"key": 2}, lambda: raise_error(OutcomeUnknown("perhaps")))

    [left] = read_history([tmp_path / "h"])
    assert left.arguments == {"key": 2}
    assert left.returned_ns is None


def test_a_caller_killed_in_a_call_leaves_it_open(tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_IN_A_CALL, str(tmp_path / "h")],
        env=ENVIRONMENT,
        check=False,
        timeout=60,
    )
    assert killed.returncode == -signal.SIGKILL

    assert [call.operation for call in read_history([tmp_path / "h"]) if call.returned_ns is None] == [
        "execute"
    ]


def test_a_torn_last_line_is_no_damage_but_a_torn_line_before_it_is(tmp_path: Path) -> None:
    file = tmp_path / "h"
    with Recorder(file, node="n1") as recorder:
        recorder.call("read", {"key": 1}, lambda: True)
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"call": 2, "no')
    assert len(read_history([file])) == 1
    file.write_bytes(b'{"call": 2, "no\n' + whole)
    with pytest.raises(HistoryDamaged, match="line 1"):
        read_history([file])
    file.write_bytes(whole.split(b"\n")[1] + b"\n")
    with pytest.raises(HistoryDamaged, match="does not have"):
        read_history([file])


def test_many_threads_write_whole_lines(tmp_path: Path) -> None:
    with Recorder(tmp_path / "h", node="n1") as recorder:
        threads = [
            threading.Thread(
                target=lambda: [recorder.call("read", {"x": "y" * 500}, lambda: 1) for _ in range(50)]
            )
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(read_history([tmp_path / "h"])) == 400


def test_a_history_of_several_lives_is_one_by_time(tmp_path: Path) -> None:
    for name, start in (("a", 50), ("b", 10)):
        with Recorder(tmp_path / name, node=name, clock_ns=itertools.count(start).__next__) as recorder:
            recorder.call("read", {}, lambda: 1)
    assert [call.node for call in read_history([tmp_path / "a", tmp_path / "b"])] == ["b", "a"]
    os.stat(tmp_path / "a")


def test_good_blocks_have_no_fault_also_with_a_hole_of_an_unanswered_call() -> None:
    history = [block(1, 11, 0, 5), block(21, 31, 2, 9), block(31, 36, 10, 11)]
    assert judge_blocks([*history, block(0, 0, 1, None, count=10)]) == []


@pytest.mark.parametrize(
    ("history", "fault"),
    [
        ([block(1, 11, 0, 5), block(1, 11, 2, 6)], "twice"),
        ([block(1, 11, 0, 5), block(8, 18, 6, 7)], "twice"),
        ([block(11, 21, 0, 5), block(1, 11, 6, 9)], "lower keys"),
        ([block(1, 11, 0, 5), block(21, 31, 2, 6)], "took effect twice"),
        ([block(1, 11, 0, 5), block(21, 31, 2, 6), block(0, 0, 1, None, count=7)], "took effect twice"),
        (
            [block(1, 11, 0, 1), block(21, 31, 2, 3), block(41, 51, 4, 5), block(0, 0, 0, None, count=10)],
            "took effect twice",
        ),
        ([block(1, 11, 0, 5, count=9)], "was answered"),
    ],
    ids=["doubled", "overlapping", "falling", "hole", "hole of another size", "second hole", "short"],
)
def test_a_broken_counter_is_refused(history: list[RecordedCall], fault: str) -> None:
    faults = judge_blocks(history)
    assert any(fault in sentence for sentence in faults), faults


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=30), st.randoms(use_true_random=False))
def test_what_a_true_counter_answers_is_never_refused(calls: list[tuple[int, bool]], random: object) -> None:
    history, next_key = [], 1
    for place, (count, answered) in enumerate(calls):
        times = (place * 10 - 15, place * 10 + 15 if answered else None)  # each overlaps its neighbours
        history.append(block(next_key, next_key + count, times[0] + 100, times[1] and times[1] + 100))
        next_key += count
    random.shuffle(history)  # type: ignore[attr-defined]
    assert judge_blocks(history) == []
