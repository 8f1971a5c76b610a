"""What tasks say of themselves is kept by key, while it is of interest, within bounds."""

from __future__ import annotations

import pytest

from cluster import told
from cluster.told import Told
from executor import Outcome, Progress, Status

pytestmark = pytest.mark.unit


def progress(key: int, done: float) -> Progress:
    return Progress(seq=key, key=key, done=done, total=10.0, note="")


def ended(key: int, output: str | None = None) -> Outcome:
    return Outcome(seq=key, key=key, status=Status.DONE, output=output)


def test_progress_is_known_until_the_task_ends() -> None:
    kept = Told()
    kept.progressed([progress(1, 1), progress(2, 1), progress(1, 2)])
    assert kept.progress(1) == progress(1, 2)
    assert [one.key for one in kept.newest(1)] == [1]
    kept.ended([ended(1)])
    assert kept.progress(1) is None
    assert [one.key for one in kept.newest(5)] == [2]


def test_output_is_kept_by_key_and_a_second_run_replaces_the_first() -> None:
    kept = Told()
    kept.ended([ended(1, "first"), ended(2)])
    kept.ended([ended(1, "second")])
    assert (kept.output(1), kept.output(2)) == ("second", None)


def test_the_oldest_go_when_there_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told, "OUTPUT_KEYS_MAX", 3)
    monkeypatch.setattr(told, "OUTPUT_CHARACTERS_MAX", 10)
    monkeypatch.setattr(told, "PROGRESS_KEYS_MAX", 2)
    kept = Told()
    kept.ended([ended(key, "x") for key in range(5)])
    assert [key for key in range(5) if kept.output(key)] == [2, 3, 4]
    kept.ended([ended(9, "x" * 9)])
    assert [key for key in (*range(5), 9) if kept.output(key)] == [4, 9]
    kept.progressed([progress(key, 1) for key in range(4)])
    assert [one.key for one in kept.newest(9)] == [2, 3]
