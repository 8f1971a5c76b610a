"""checks.file: a file that is there once and whole, or a mark around something that cannot be asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from executor import checks
from executor.checks import AlreadyMarked, Answer, ask
from tests.integration.checks.attempts import Start, task

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("point", "expected"),
    [("began", Answer.NOT_DONE), ("written", Answer.NOT_DONE), ("named", Answer.DONE)],
)
def test_a_result_is_there_whole_or_not_at_all_when_its_attempt_is_killed(
    tmp_path: Path, attempt: Start, point: str, expected: Answer
) -> None:
    check = checks.file(tmp_path / "result-{key}")

    attempt("write_file", task(7), tmp_path / "result-{key}").reach(point).kill()

    assert ask(check, task(7)).answer is expected
    assert check.path(task(7)).exists() is (expected is Answer.DONE)
    assert ask(check, task(77)).answer is Answer.NOT_DONE


def test_a_result_that_comes_after_the_check_changes_nothing(tmp_path: Path, attempt: Start) -> None:
    # Given an attempt that was paused before its file got its name, and a second one that the check let run
    path = tmp_path / "result-{key}"
    check = checks.file(path)
    late = attempt("write_file", task(7), path).reach("written")
    assert ask(check, task(7)).answer is Answer.NOT_DONE
    assert attempt("write_file", task(7, 2), path).finish() == ""

    assert late.finish().startswith("AlreadyMarked")
    assert check.path(task(7)).read_text() == "whole, by attempt 2"
    assert [each.name for each in tmp_path.glob(".*")] == []


def test_the_next_attempt_tidies_up_what_a_killed_one_left(tmp_path: Path, attempt: Start) -> None:
    path = tmp_path / "result-{key}"
    attempt("write_file", task(7), path).reach("written").kill()
    assert (tmp_path / ".result-7.1.part").exists()

    checks.file(path).write(task(7, 2), b"whole")

    assert sorted(each.name for each in tmp_path.iterdir() if "result" in each.name) == ["result-7"]


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ("began", Answer.NOT_DONE),
        ("begun", Answer.UNKNOWN),
        ("effect", Answer.UNKNOWN),
        ("ended", Answer.DONE),
    ],
)
def test_what_cannot_be_asked_is_unknown_between_begun_and_ended(
    tmp_path: Path, attempt: Start, point: str, expected: Answer
) -> None:
    path = tmp_path / "printed-{key}"

    attempt("once", task(7), path, tmp_path / "effects").reach(point).kill()

    assert ask(checks.file(path), task(7)).answer is expected
    assert (tmp_path / "effects").exists() is (point in ("effect", "ended"))


@pytest.mark.parametrize("point", ["begun", "effect", "ended"])
def test_a_late_attempt_never_enters_the_block_that_another_has_entered(
    tmp_path: Path, attempt: Start, point: str
) -> None:
    path, effects = tmp_path / "printed-{key}", tmp_path / "effects"
    late = attempt("once", task(7), path, effects)
    assert ask(checks.file(path), task(7)).answer is Answer.NOT_DONE
    second = attempt("once", task(7, 2), path, effects).reach(point)

    assert late.finish().startswith("AlreadyMarked")
    assert second.finish() == ""
    assert effects.read_text() == "7\n"
    assert ask(checks.file(path), task(7)).answer is Answer.DONE


def test_only_its_own_begun_mark_is_withdrawn(tmp_path: Path) -> None:
    check = checks.file(tmp_path / "printed-{key}")

    def refused_by_the_printer() -> None:
        with check.once(task(7)):
            raise ConnectionRefusedError

    with pytest.raises(ConnectionRefusedError):
        refused_by_the_printer()
    answer, why = ask(check, task(7))
    assert answer is Answer.UNKNOWN
    assert str(tmp_path / "printed-7.begun") in why
    check.withdraw(task(7, 2))
    assert ask(check, task(7)).answer is Answer.UNKNOWN
    check.withdraw(task(7))
    assert ask(check, task(7)).answer is Answer.NOT_DONE
    with check.once(task(7, 2)):
        pass
    assert ask(check, task(7)).answer is Answer.DONE


def test_an_effect_whose_begun_mark_was_removed_by_hand_is_done_all_the_same(tmp_path: Path) -> None:
    check = checks.file(tmp_path / "printed-{key}")
    with check.once(task(7)):
        (tmp_path / "printed-7.begun").unlink()
    assert ask(check, task(7)).answer is Answer.DONE


def test_a_mark_that_is_renamed_between_the_two_looks_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = checks.file(tmp_path / "printed-{key}")
    begun, final = tmp_path / "printed-7.begun", tmp_path / "printed-7"
    begun.touch()
    look = os.lstat

    def look_and_rename(path: Path) -> os.stat_result:
        try:
            return look(path)
        finally:
            if begun.exists():
                begun.rename(final)

    monkeypatch.setattr(os, "lstat", look_and_rename)
    assert ask(check, task(7)).answer is Answer.DONE


def test_a_folder_that_is_not_there_is_unknown_and_is_not_made(tmp_path: Path) -> None:
    check = checks.file(tmp_path / "mounted" / "{key}")

    answer, why = ask(check, task(7))

    assert answer is Answer.UNKNOWN
    assert "is it mounted?" in why
    with pytest.raises(FileNotFoundError):
        check.write(task(7), b"x")
    assert list(tmp_path.iterdir()) == []


def test_a_result_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    check = checks.file(tmp_path / "{key}.csv", scope="shop")

    def half() -> None:
        with check.open(task(7)) as file:
            file.write(b"half")
            raise ValueError("the other half")

    with pytest.raises(ValueError, match="the other half"):
        half()
    assert list(tmp_path.iterdir()) == []
    assert check.write(task(7), b"whole") == tmp_path / "shop-7.csv"
    with pytest.raises(AlreadyMarked):
        check.write(task(7, 2), b"again")
