"""The judge finds each kind of fault, and finds none in a history without fault."""

from __future__ import annotations

import pytest

from cluster.audit import Verdict, judge

pytestmark = pytest.mark.unit

KEYS = range(1, 101)


def test_a_history_without_fault_has_none() -> None:
    assert judge(submitted=KEYS, executed=KEYS, effects=KEYS) == Verdict(
        submitted=100, executed=100, lost=0, effects=100, doubled_effects=0, missing_effects=0
    )


def test_a_submitted_key_that_was_never_executed_is_lost() -> None:
    verdict = judge(submitted=KEYS, executed=KEYS[:-2], effects=KEYS[:-2])
    assert (verdict.lost, verdict.executed, verdict.nothing_lost) == (2, 98, False)


def test_another_executed_key_does_not_make_up_for_a_lost_one() -> None:
    verdict = judge(submitted=[1, 2], executed=[2, 3], effects=[2, 3])
    assert (verdict.submitted, verdict.executed, verdict.lost) == (2, 2, 1)


def test_an_effect_without_a_mark_is_still_lost() -> None:
    verdict = judge(submitted=[1, 2], executed=[1], effects=[1, 2])
    assert verdict.lost == 1


def test_each_repeated_effect_is_counted() -> None:
    verdict = judge(submitted=[1, 2, 3], executed=[1, 2, 3], effects=[1, 2, 2, 2, 3, 3])
    assert (verdict.effects, verdict.doubled_effects) == (6, 3)
    assert verdict.nothing_lost, "doubled effects are no loss"


def test_a_mark_without_an_effect_is_missing_and_counts_as_loss() -> None:
    verdict = judge(submitted=[1, 2], executed=[1, 2], effects=[1, 1])
    assert (verdict.missing_effects, verdict.doubled_effects) == (1, 1)
    assert not verdict.nothing_lost, "one effect too many does not pay for one too few"


def test_a_dead_task_owes_no_effect() -> None:
    verdict = judge(submitted=[1, 2], executed=[1, 2], effects=[1], dead=[2])
    assert (verdict.missing_effects, verdict.lost) == (0, 0)


def test_a_record_written_twice_is_one_task() -> None:
    verdict = judge(submitted=[1, 1, 2], executed=[1, 2], effects=[1, 2])
    assert (verdict.submitted, verdict.lost) == (2, 0)
