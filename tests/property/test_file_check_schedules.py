"""checks.file under any interleaving: attempts and questions stopped before each step on the disk, some of them for ever.

`checks.file` is the one check that builds its exclusion itself, so it is tried in every order. Each attempt and each question is a thread
that goes on only when the schedule says so, up to its next call of the operating system. One that gets no more turns was killed there.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor import Context, checks
from executor.checks import AlreadyMarked, Answer, ask

pytestmark = pytest.mark.unit
STEPS = ("link", "rename", "unlink", "lstat", "stat", "fsync", "open")
STEP_S = 10.0
ACTORS = 5
# Bursts: who goes on, and how many steps. An attempt has some 12 steps, a question 4.
schedules = st.lists(st.tuples(st.integers(0, ACTORS - 1), st.integers(1, 12)), min_size=3, max_size=30)
Schedule = list[tuple[int, int]]


class Killed(BaseException):
    """Ends a thread whose process would be gone by now."""


class Actor:
    """One thread that goes from step to step."""

    def __init__(self, play: Callable[[], None]) -> None:
        self.is_over = False
        self.error: BaseException | None = None
        self._is_killed = False
        self._go, self._stands = threading.Semaphore(0), threading.Semaphore(0)
        self._play = play
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._await_stand()

    def _run(self) -> None:
        here.actor = self
        try:
            self.stop()
            self._play()
        except (AlreadyMarked, Killed):
            pass
        except BaseException as error:
            self.error = error
        finally:
            self.is_over = True
            self._stands.release()

    def stop(self) -> None:
        if not self._is_killed:
            self._stands.release()
            assert self._go.acquire(timeout=STEP_S)
        if self._is_killed:
            raise Killed

    def _await_stand(self) -> None:
        assert self._stands.acquire(timeout=STEP_S)

    def step(self) -> None:
        if not self.is_over:
            self._go.release()
            self._await_stand()

    def kill(self) -> None:
        self._is_killed = True
        self._go.release()
        self._thread.join(STEP_S)


here = threading.local()


def stopping(step: str) -> Callable[..., Any]:
    """The call of the operating system, as an actor makes it; nothing needs to reach a disk here."""
    real = getattr(os, step)

    def call(*args: Any, **options: Any) -> Any:
        actor = getattr(here, "actor", None)
        if actor is not None:
            actor.stop()
        return None if step == "fsync" else real(*args, **options)

    return call


def play(schedule: Schedule, scenes: Callable[[Path], list[Callable[[], None]]], *, to_the_end: bool) -> None:
    """Lets the actors go on in this order; `to_the_end`: then each until it is over, else they are killed where they stand."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for step in STEPS:
            patch.setattr(os, step, stopping(step))
        actors = [Actor(scene) for scene in scenes(Path(folder))]
        for number, steps in schedule:
            for _ in range(steps):
                actors[number].step()
        for actor in actors:
            while to_the_end and not actor.is_over:
                actor.step()
        errors = [actor.error for actor in actors]
        for actor in actors:
            actor.kill()
        assert errors == [None] * ACTORS


class Question:
    """One question to the check, and what was true before and after it."""

    def __init__(self, check: checks.file, effects: Callable[[], int]) -> None:
        self._check, self._effects = check, effects
        self.answer = Answer.UNKNOWN

    def __call__(self) -> None:
        before = self._effects()
        self.answer = ask(self._check, Context(key=7, attempt=9, handler="h")).answer
        after = self._effects()
        assert self.answer is not Answer.NOT_DONE or before == 0, "not done, but it was"
        assert self.answer is not Answer.DONE or after == 1, "done, but it was not"


def noting(failures: list[AssertionError], question: Question) -> Callable[[], None]:
    """An assertion in a thread is a failure of the test."""

    def ask_and_note() -> None:
        try:
            question()
        except AssertionError as failure:
            failures.append(failure)

    return ask_and_note


@settings(max_examples=250)
@given(schedules, st.booleans())
def test_at_most_one_attempt_enters_the_block_and_no_answer_is_wrong(
    schedule: Schedule, to_the_end: bool
) -> None:
    effects: list[int] = []
    failures: list[AssertionError] = []
    answers: list[Answer] = []

    def scenes(folder: Path) -> list[Callable[[], None]]:
        check = checks.file(folder / "{key}")

        def attempt(number: int) -> Callable[[], None]:
            def run() -> None:
                with check.once(Context(key=7, attempt=number, handler="h")):
                    here.actor.stop()
                    effects.append(number)
                    here.actor.stop()

            return run

        questions = [Question(check, lambda: len(effects)) for _ in range(2)]
        last = Question(check, lambda: len(effects))

        def ask_last() -> None:
            noting(failures, last)()
            answers.append(last.answer)

        return [*map(attempt, (1, 2)), *(noting(failures, each) for each in questions), ask_last]

    play(schedule, scenes, to_the_end=to_the_end)

    assert failures == []
    assert len(effects) <= 1
    if to_the_end:
        assert len(effects) == 1


@settings(max_examples=250)
@given(schedules, st.booleans())
def test_a_result_never_changes_once_it_is_there_and_no_answer_is_wrong(
    schedule: Schedule, to_the_end: bool
) -> None:
    failures: list[AssertionError] = []
    seen: set[bytes] = set()

    def scenes(folder: Path) -> list[Callable[[], None]]:
        check = checks.file(folder / "{key}")
        final = str(folder / "7")

        def effects() -> int:
            actor, here.actor = here.actor, None  # a look of the test's own is no step
            try:
                if not os.path.exists(final):
                    return 0
                seen.add(Path(final).read_bytes())
                return 1
            finally:
                here.actor = actor

        def attempt(number: int) -> Callable[[], None]:
            def run() -> None:
                try:
                    check.write(Context(key=7, attempt=number, handler="h"), b"%d" % number * 100)
                finally:
                    effects()

            return run

        return [
            *map(attempt, (1, 2, 3)),
            *(noting(failures, Question(check, effects)) for _ in range(2)),
        ]

    play(schedule, scenes, to_the_end=to_the_end)

    assert failures == []
    assert len(seen) <= 1
    assert all(len(each) == 100 for each in seen)
    if to_the_end:
        assert len(seen) == 1
