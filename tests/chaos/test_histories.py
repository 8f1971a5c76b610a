"""Real groups under kills, pauses and cuts: every answer fits one ledger, nobody ran an attempt twice, and the group comes back.

The plan of faults is a function of a seed, which a failure prints; `SEED=n` takes that plan again. What real processes make of
it differs from run to run, so a failure keeps its histories in the test's directory.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

import pytest

from tests.chaos.blocks import judge_blocks
from tests.chaos.faults import FaultDriver, plan
from tests.chaos.history import RecordedCall
from tests.chaos.history_worker import KEYS_PER_S, WINDOW_KEYS
from tests.chaos.key_group import KeyGroup
from tests.chaos.key_history import judge_keys

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

BACK_WITHIN_S = 10.0  # after the last fault: ten of the longest elections, and what a start takes
FAULTS_SHOWN = 3


def seed_of_this_run() -> int:
    return int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))


def storm(
    directory: Path, *, nodes: int, duration_s: float, pause_s_max: float, every_s: float = 1.2
) -> None:
    seed = seed_of_this_run()
    faults = plan(seed, nodes=nodes, duration_s=duration_s, every_s=every_s, pause_s_max=pause_s_max)
    with KeyGroup(directory, nodes, seed=seed) as group:
        driver = FaultDriver(
            nodes=group.nodes, addresses=group.addresses, proxy=group.proxy, leader=group.leader
        )
        group.begin_work(int((duration_s + 60) * KEYS_PER_S) + WINDOW_KEYS)
        print(f"SEED={seed}, histories in {directory}")
        driver.run(faults)
        print("\n".join(driver.log))

        back_s = group.probe_all(BACK_WITHIN_S)
        group.end_work()
        group.read_all()
        agree = group.hashes_agree(BACK_WITHIN_S)
        died, calls, runs = group.died_alone(), group.calls(), group.runs()
    print(f"back after {max(back_s):.2f} s; {summary(calls)}; {len(runs)} runs; terms {group.terms()}")
    assert died == []
    assert agree, "the nodes do not show the same state after the storm"
    judge_history(calls, runs)


def judge_history(calls: list[RecordedCall], runs: list[tuple[int, int]]) -> None:
    """The promises of reserve, claim, execute and is_executed over the whole history."""
    assert judge_blocks(calls)[:FAULTS_SHOWN] == []
    verdicts = judge_keys(calls)
    assert verdicts.faults[:FAULTS_SHOWN] == (), f"{len(verdicts.faults)} of {verdicts.keys} keys are wrong"
    doubled = [run for run, times in Counter(runs).items() if times > 1]
    assert doubled == [], "the witness heard of an attempt twice"
    unseen = [
        (key, attempt)
        for call in calls
        if call.operation == "execute" and call.returned_ns is not None and "pairs" in call.arguments
        for key, attempt in call.arguments["pairs"]
        if (key, attempt) not in set(runs)
    ]
    assert unseen == [], "an attempt was marked that the witness never heard of"
    answered = Counter(call.operation for call in calls if call.returned_ns is not None)
    for operation in ("reserve", "claim", "execute", "is_executed"):
        assert answered[operation] > 0, f"no {operation} was answered: the history shows nothing"


def summary(calls: list[RecordedCall]) -> str:
    unanswered = sum(call.returned_ns is None for call in calls)
    kinds = Counter(call.operation for call in calls)
    claims = Counter(answer[0] for call in calls if call.operation == "claim" for answer in call.answer or [])
    marks = Counter(answer for call in calls if call.operation == "execute" for answer in call.answer or [])
    return f"{len(calls)} calls, {unanswered} unanswered, {dict(kinds)}, claims {dict(claims)}, marks {dict(marks)}"


def test_three_nodes_in_a_storm_answer_like_one_ledger(tmp_path: Path) -> None:
    storm(tmp_path, nodes=3, duration_s=8.0, pause_s_max=4.0)


def test_five_nodes_in_a_storm_answer_like_one_ledger(tmp_path: Path) -> None:
    storm(tmp_path, nodes=5, duration_s=8.0, pause_s_max=4.0)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("nodes", [3, 5])
def test_a_long_storm_with_pauses_beyond_every_lease_changes_nothing(tmp_path: Path, nodes: int) -> None:
    storm(tmp_path, nodes=nodes, duration_s=150.0, pause_s_max=60.0, every_s=2.0)
