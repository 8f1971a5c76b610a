"""What a task is said to have cost, by real work in real runners. Bounds are wide: other processes share the machine."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from executor import Form, Sample
from tests.integration.runner_driver import Runner

pytestmark = pytest.mark.integration


def cost(runner: Runner, name: str, *args: object) -> Sample:
    number = runner.run(name, *args)
    assert runner.outcome(number)[0] == "done"
    return Sample(*runner.samples[number])


@pytest.fixture(params=[Form.PROCESS, Form.THREADS])
def runner(request: pytest.FixtureRequest, start_runner: Callable[..., Runner]) -> Runner:
    made = start_runner(request.param, slots=4)
    made.await_message("hello")
    return made


@pytest.mark.parametrize("name", ["burn", "burn_native"])
def test_a_burner_uses_cpu_and_is_not_blocked(runner: Runner, name: str) -> None:
    sample = cost(runner, name, 0.2)
    assert 0.2 <= sample.cpu_s < 0.25
    assert sample.blocked_s < 0.1
    assert sample.wall_s == pytest.approx(sample.cpu_s + sample.blocked_s + sample.run_queue_s, abs=0.03)
    assert sample.exact


def test_a_sleeper_is_blocked_and_uses_no_cpu(runner: Runner) -> None:
    sample = cost(runner, "sleep", 0.2)
    assert sample.cpu_s < 0.02
    assert 0.15 < sample.blocked_s <= sample.wall_s
    assert sample.wall_s >= 0.2


def test_a_mixed_task_shows_both(runner: Runner) -> None:
    sample = cost(runner, "burn_then_sleep", 0.15)
    assert 0.15 <= sample.cpu_s < 0.2
    assert 0.1 < sample.blocked_s < 0.3


def test_a_named_part_counts_as_io(runner: Runner) -> None:
    sample = cost(runner, "call_somebody", 0.1)
    assert 0.1 <= sample.io_s < 0.18
    assert sample.wall_s >= 0.2


def test_waiting_for_a_core_is_not_being_blocked(start_runner: Callable[..., Runner]) -> None:
    # Given more burners than cores
    runners = [start_runner() for _ in range(2 * len(os.sched_getaffinity(0)))]
    for runner in runners:
        runner.await_message("hello")
    numbers = [runner.run("burn", 0.4) for runner in runners]
    # Then each had to wait for a core, and none is said to be blocked for as long
    samples = []
    for runner, number in zip(runners, numbers, strict=True):
        runner.outcome(number)
        samples.append(Sample(*runner.samples[number]))
    assert max(sample.run_queue_s for sample in samples) > 0.1
    for sample in samples:
        assert 0.4 <= sample.cpu_s < 0.5
        assert sample.blocked_s < 0.1 + 0.2 * sample.wall_s


def test_memory_that_a_task_keeps_is_seen(start_runner: Callable[..., Runner]) -> None:
    runner = start_runner()
    assert 35e6 < cost(runner, "grow", 40).memory_bytes < 60e6


def test_neighbours_in_the_process_make_a_measurement_inexact(start_runner: Callable[..., Runner]) -> None:
    runner = start_runner(Form.THREADS, slots=4)
    numbers = [runner.run("sleep", 0.1) for _ in range(3)]
    for number in numbers:
        runner.outcome(number)
    assert not any(Sample(*runner.samples[number]).exact for number in numbers)


def test_threads_that_share_the_interpreter_keep_their_own_cpu_time(
    start_runner: Callable[..., Runner],
) -> None:
    runner = start_runner(Form.THREADS, slots=4)
    runner.await_message("hello")
    numbers = [runner.run("burn", 0.15) for _ in range(3)] + [runner.run("sleep", 0.2)]
    samples = []
    for number in numbers:
        runner.outcome(number)
        samples.append(Sample(*runner.samples[number]))
    for sample in samples[:3]:
        assert 0.15 <= sample.cpu_s < 0.25
    assert samples[3].cpu_s < 0.05


def test_a_coroutine_is_charged_for_its_steps_only(start_runner: Callable[..., Runner]) -> None:
    runner = start_runner(Form.LOOP, slots=8)
    runner.await_message("hello")
    numbers = [runner.run("steps", 5, 0.02) for _ in range(3)]
    for number in numbers:
        runner.outcome(number)
        sample = Sample(*runner.samples[number])
        assert 0.1 <= sample.cpu_s < 0.15
        assert 0.02 <= sample.step_s < 0.1
        assert sample.blocked_s == pytest.approx(sample.wall_s - sample.cpu_s - sample.run_queue_s, abs=0.001)
        assert sample.blocked_s >= 0.1


def test_a_step_that_waits_in_the_loop_is_as_long_as_it_waits(start_runner: Callable[..., Runner]) -> None:
    runner = start_runner(Form.LOOP)
    sample = cost(runner, "wait_in_the_loop", 0.1)
    assert sample.step_s >= 0.1
    assert sample.cpu_s < 0.02


def test_a_brief_handler_is_measured_in_its_first_runs_and_then_once_in_a_while(
    start_runner: Callable[..., Runner],
) -> None:
    runner = start_runner()
    numbers = runner.run_many("noop", [((), {})] * 225)
    for number in numbers:
        runner.outcome(number)
    assert [number for number in numbers if number in runner.samples] == numbers[:64] + numbers[79::16]
