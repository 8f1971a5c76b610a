"""What the lanes ask of the labels: the order of what is believed, how fast it turns, what travels together, and the bounds."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.handlers.declaration import Handler
from executor.labels.labels import Labels
from executor.labels.rows import IDLE_S, KINDS_MAX
from executor.task import Form, Label, Lane, Resource, Sample

pytestmark = pytest.mark.unit


def labels_of(*handlers: Handler) -> Labels:
    return Labels({each.name: each for each in handlers})


def undeclared(*names: str) -> Labels:
    return labels_of(*(Handler(name=name) for name in names))


def computing(wall_s: float) -> Sample:
    return Sample(wall_s=wall_s, cpu_s=0.95 * wall_s, blocked_s=0.02 * wall_s)


def waiting(wall_s: float, cpu_s: float = 0.0005) -> Sample:
    return Sample(wall_s=wall_s, cpu_s=cpu_s, blocked_s=wall_s - cpu_s)


def told(handler: str, lane: Lane, kind: str = "") -> Label:
    return Label(
        handler=handler,
        kind=kind,
        lane=lane,
        why="p95 > 200 ms",
        mean_s=0.4,
        p95_s=0.8,
        cpu_s=0.3,
        samples=500,
    )


def run(
    labels: Labels, handler: str, sample: Sample, times: int, now: float = 0.0, kind: str = ""
) -> list[Label]:
    """One after the other, all at the same moment."""
    changes: list[Label] = []
    for _ in range(times):
        changes += labels.observe(handler, kind, [sample], 1, now)
    return changes


def seconds(labels: Labels, first: float, count: int) -> Iterator[tuple[float, list[Label]]]:
    for number in range(count):
        yield first + number, labels.tick(first + number)


# The examples of the design.


def test_thumb_is_cpu_short_and_with_bigger_pictures_cpu_long_at_once() -> None:
    labels = undeclared("thumb")
    small = Sample(wall_s=0.012, cpu_s=0.0105, run_queue_s=0.001, blocked_s=0.0005)
    for number in range(200):
        labels.observe(
            "thumb", "", [small._replace(wall_s=0.03) if number % 10 == 0 else small], 1, number / 50
        )
    [label] = labels.labels()
    assert (label.lane, label.p95_s) == (Lane.CPU_SHORT, 0.05)
    # When the pictures become bigger.
    changes = run(labels, "thumb", computing(0.3), 3, now=4.0)
    # Then the third of them turns it, and says by which numbers.
    [turned] = changes
    assert turned.lane is Lane.CPU_LONG
    assert turned.why == "3 of the last 100 runs took more than 200 ms"
    assert turned.mean_s == pytest.approx(0.3)
    assert labels.reasons()[-1].decision == "to cpu-long, process"


def test_the_cut_off_climbs_to_800_ms_pdf_becomes_short_and_train_stays_long() -> None:
    labels = undeclared("thumb", "pdf", "train")
    labels.resize(Resource.CPU, 8)
    loads = {"thumb": (100.0, 0.012), "pdf": (10.0, 0.150), "train": (0.6, 4.0)}
    # Given exponential times, spread over their quantiles so that each minute looks like the next.
    counts = dict.fromkeys(loads, 0)
    for second in range(600):
        for handler, (rate_s, mean_s) in loads.items():
            while counts[handler] < rate_s * (second + 1):
                counts[handler] += 1
                share = (counts[handler] * 0.6180339887) % 1.0
                wall_s = -mean_s * math.log(1 - 0.998 * share)
                labels.observe(handler, "", [computing(wall_s)], 1, float(second))
        labels.tick(float(second))
    # Then
    assert labels.cutoff_s(Resource.CPU) == 0.8
    assert [labels.lane(handler, "") for handler in loads] == [Lane.CPU_SHORT, Lane.CPU_SHORT, Lane.CPU_LONG]
    moves = [each.decision for each in labels.reasons() if each.subject == "resource cpu"]
    assert moves == ["cut-off 100 -> 200 ms", "cut-off 200 -> 400 ms", "cut-off 400 -> 800 ms"]
    assert labels.cutoff_s(Resource.IO) == 0.1


def test_work_that_is_declared_short_is_reckoned_among_the_short_wherever_the_line_is() -> None:
    # Given short tasks that wait behind much longer ones.
    for lane, is_moved in ((None, True), (Lane.CPU_SHORT, False)):
        labels = labels_of(Handler(name="brief"), Handler(name="longer", lane=lane), Handler(name="rare"))
        labels.resize(Resource.CPU, 4)
        for second in range(100):
            now = float(second)
            labels.observe("brief", "", [computing(0.002)] * 200, 200, now)
            labels.observe("longer", "", [computing(0.09)] * 20, 20, now)
            labels.observe("rare", "", [computing(3.0)], 1, now) if second % 5 == 0 else None
            labels.tick(now)
        # Then the line comes down between them, unless a declaration keeps them together.
        assert (labels.cutoff_s(Resource.CPU) < 0.1) == is_moved


# Turning long.


@given(
    st.integers(0, 3_000),
    st.floats(1e-6, 0.099),
    st.floats(0.001, 10.0),
    st.floats(0.201, 100.0),
)
def test_a_handler_that_turns_long_is_relabelled_within_3_runs_whatever_its_past(
    past: int, short_s: float, pause_s: float, long_s: float
) -> None:
    labels, now = undeclared("h"), 0.0
    for _ in range(past // 16):
        labels.observe("h", "", [computing(short_s)] * 16, 16, now)
        now += 16 * pause_s
    assert labels.lane("h", "") is Lane.CPU_SHORT
    runs = 0
    while labels.lane("h", "") is Lane.CPU_SHORT:
        labels.observe("h", "", [computing(long_s)], 1, now + runs * long_s)
        runs += 1
    assert runs <= 3
    assert labels.mean_s("h", "") == pytest.approx(long_s) or past < 64


@given(st.integers(0, 49), st.integers(0, 400))
def test_a_bimodal_handler_is_relabelled_within_50_runs_when_a_twentieth_is_long(
    phase: int, past: int
) -> None:
    labels = undeclared("h")
    run(labels, "h", computing(0.002), past)
    runs = 0
    while labels.lane("h", "") is Lane.CPU_SHORT or labels.is_unknown("h", ""):
        runs += 1
        is_long = (runs + phase) % 16 == 0
        run(labels, "h", computing(5.0 if is_long else 0.002), 1, now=float(runs))
    assert runs <= 50


def test_runs_that_are_not_over_turn_it_as_well() -> None:
    labels = undeclared("h")
    run(labels, "h", computing(0.002), 500)
    # When three of its runs are seen at 0.2 s, none of them over.
    changes = [labels.overran("h", "", 0.2, 10.0 + step) for step in (0.0, 0.3, 0.6)]
    # Then
    assert [len(each) for each in changes] == [0, 0, 1]
    assert changes[2][0].lane is Lane.CPU_LONG
    # And their ends are the same three runs, not three more: the mean is theirs.
    for wall_s in (30.0, 31.0, 32.0):
        labels.observe("h", "", [computing(wall_s)], 1, 40.0)
    assert labels.labels()[0].samples == 3


def test_a_run_that_overran_and_never_said_how_it_ended_is_forgotten_in_the_end() -> None:
    labels = undeclared("h")
    run(labels, "h", computing(0.01), 3)
    labels.tick(0.0)
    labels.overran("h", "", 0.2, 1.0)
    for now in (2.0, 600.0, 602.0):
        assert labels.labels()[0].samples == 4
        labels.tick(now)
    assert labels.labels()[0].samples == 3


def test_an_unknown_handler_is_taken_for_long_from_its_first_overrun_until_more_is_known() -> None:
    labels = undeclared("h")
    assert labels.is_unknown("h", "")
    # When its first run, with all its imports, is slow.
    [hint] = labels.overran("h", "", 0.25, 0.0)
    assert hint.lane is Lane.CPU_LONG
    labels.observe("h", "", [computing(0.3)], 1, 0.1)
    # Then twenty quick ones put it right.
    changes = run(labels, "h", computing(0.002), 20, now=1.0)
    assert [each.lane for each in changes] == [Lane.CPU_SHORT]
    run(labels, "h", computing(0.002), 30, now=1.0)
    assert (labels.is_unknown("h", ""), labels.lane("h", "")) == (False, Lane.CPU_SHORT)


def test_one_long_run_in_a_hundred_turns_nothing() -> None:
    labels = undeclared("h")
    for number in range(5_000):
        run(labels, "h", computing(1.0 if number % 100 == 99 else 0.002), 1, now=number / 10)
    assert labels.reasons() == ()


def test_between_the_cut_off_and_twice_of_it_the_first_label_is_long_and_a_short_one_stays() -> None:
    fresh, known = undeclared("h"), undeclared("h")
    run(fresh, "h", computing(0.15), 50)
    assert fresh.lane("h", "") is Lane.CPU_LONG
    assert fresh.labels()[0].why.startswith("first label: p95 > 100 ms")
    run(known, "h", computing(0.05), 50)
    run(known, "h", computing(0.15), 1_000)
    assert known.lane("h", "") is Lane.CPU_SHORT


# And back.


def test_a_handler_that_changes_class_each_hour_is_followed_both_ways() -> None:
    labels, now = undeclared("h"), 0.0
    for hour in range(6):
        is_long = bool(hour % 2)
        turned_s = None
        for second in range(3600):
            now += 1.0
            run(labels, "h", computing(2.0 if is_long else 0.02), 5, now=now)
            labels.tick(now)
            if turned_s is None and labels.lane("h", "").is_long == is_long:
                turned_s = second + 1
            if turned_s is not None:
                assert labels.lane("h", "").is_long == is_long  # no going to and fro
        # To long within a second of such runs; back when the long ones have faded, and 5 minutes later.
        assert turned_s is not None
        assert turned_s == 1 if is_long or hour == 0 else 300 <= turned_s < 900


def test_to_short_takes_five_minutes_and_fifty_runs_and_hardly_any_overruns() -> None:
    few, many, spiky = undeclared("h"), undeclared("h"), undeclared("h")
    for labels in (few, many, spiky):
        run(labels, "h", computing(0.5), 60)
    run(few, "h", computing(0.01), 5_000, now=1_000.0)
    few.tick(999.0)
    few.tick(1_000.0)
    run(few, "h", computing(0.01), 40, now=1_000.5)
    run(many, "h", computing(0.01), 5_000, now=1_000.0)
    run(spiky, "h", computing(0.01), 5_000, now=1_000.0)
    for now, _ in seconds(few, 1_001.0, 302):
        run(many, "h", computing(0.01), 1, now=now)
        run(spiky, "h", computing(0.01), 99, now=now)
        run(spiky, "h", computing(0.5), 1, now=now)
        many.tick(now)
        spiky.tick(now)
        if now < 1_300.0:
            assert many.lane("h", "") is Lane.CPU_LONG
    assert few.lane("h", "") is Lane.CPU_LONG  # 40 runs meanwhile
    assert many.lane("h", "") is Lane.CPU_SHORT
    assert spiky.lane("h", "") is Lane.CPU_LONG  # 1 % of them still take 0.5 s


# Which resource.


def test_what_mostly_waits_becomes_io_after_50_runs_and_its_form_changes() -> None:
    labels = undeclared("h")
    changes = run(labels, "h", waiting(0.02), 50)
    assert [each.lane for each in changes] == [Lane.IO_SHORT]
    assert labels.form("h", "") is Form.THREADS


def test_long_waits_are_known_from_ten_runs() -> None:
    labels = undeclared("h")
    changes = run(labels, "h", waiting(1.5, cpu_s=0.03), 10)
    assert [each.lane for each in changes] == [Lane.CPU_LONG, Lane.IO_LONG]


def test_a_task_that_does_next_to_nothing_is_not_sent_to_threads() -> None:
    labels = undeclared("h")
    run(labels, "h", Sample(wall_s=5e-6, cpu_s=1e-6, blocked_s=4e-6), 500)
    assert labels.lane("h", "") is Lane.CPU_SHORT


def test_computing_beside_busy_threads_is_not_taken_for_waiting() -> None:
    labels = undeclared("h")
    run(labels, "h", computing(0.03), 100)
    # When its runs show the 0.32 of a process with three busy threads, for ten minutes.
    beside = Sample(wall_s=0.03, cpu_s=0.0096, blocked_s=0.02, exact=False)
    for now, _ in seconds(labels, 1.0, 600):
        run(labels, "h", beside, 5, now=now)
    assert labels.lane("h", "") is Lane.CPU_SHORT


def test_the_resource_changes_after_three_windows_that_agree() -> None:
    labels = undeclared("h")
    run(labels, "h", computing(0.03), 100)
    turned = [
        now
        for now, changes in seconds(labels, 1.0, 200)
        if changes or run(labels, "h", waiting(0.03), 3, now=now)
    ]
    [turned_s] = turned
    assert 90.0 <= turned_s <= 125.0
    assert labels.lane("h", "") is Lane.IO_SHORT


def test_a_coroutine_stays_io_until_it_holds_its_loop_up_twice() -> None:
    labels = labels_of(Handler(name="h", is_async=True))
    assert (labels.lane("h", ""), labels.form("h", "")) == (Lane.IO_SHORT, Form.LOOP)
    run(labels, "h", Sample(wall_s=5e-6, cpu_s=5e-6), 100)
    assert (labels.lane("h", ""), labels.form("h", "")) == (Lane.IO_SHORT, Form.LOOP)
    slow = Sample(wall_s=0.05, cpu_s=0.03, step_s=0.03)
    assert run(labels, "h", slow, 1) == []
    assert run(labels, "h", slow._replace(run_queue_s=0.02), 1) == []  # it waited for a core
    [change] = run(labels, "h", slow, 1)
    assert (change.lane, labels.form("h", "")) == (Lane.CPU_SHORT, Form.PROCESS)


def test_two_slow_steps_far_apart_are_an_accident() -> None:
    labels = labels_of(Handler(name="h", is_async=True))
    slow = Sample(wall_s=0.05, cpu_s=0.03, step_s=0.03)
    for _ in range(10):
        assert run(labels, "h", slow, 1) == []
        run(labels, "h", waiting(0.02), 120)


# What is believed.


def test_a_declared_lane_wins_and_is_said_to_be_wrong_once() -> None:
    labels = labels_of(Handler(name="h", lane=Lane.IO_SHORT))
    run(labels, "h", computing(0.9), 200)
    for _ in seconds(labels, 1.0, 5):
        pass
    assert (labels.lane("h", ""), labels.form("h", "")) == (Lane.IO_SHORT, Form.THREADS)
    [reason] = labels.reasons()
    assert (reason.subject, reason.decision) == ("handler h", "stays io-short, as declared")
    assert "it behaves like cpu-long" in reason.why


def test_what_others_have_learnt_is_believed_until_it_is_learnt_here() -> None:
    labels = undeclared("h", "other")
    # When
    [change] = labels.tell([told("h", Lane.IO_LONG)])
    # Then
    assert (change.lane, change.why) == (Lane.IO_LONG, "told: p95 > 200 ms")
    assert (labels.lane("h", ""), labels.form("h", "")) == (Lane.IO_LONG, Form.THREADS)
    assert (labels.is_unknown("h", ""), labels.mean_s("h", "")) == (False, 0.4)
    # And a first hint of its own changes nothing, but 50 runs do.
    assert run(labels, "h", computing(0.002), 49) == []
    assert labels.lane("h", "") is Lane.IO_LONG
    [own] = run(labels, "h", computing(0.002), 1)
    assert own.lane is Lane.CPU_SHORT
    # And being told the same or nothing again changes nothing any more.
    assert labels.tell([told("h", Lane.IO_LONG)]) == []
    assert labels.tell([]) == []


def test_told_short_and_three_overruns_of_its_own_make_it_long() -> None:
    labels = undeclared("h")
    labels.tell([told("h", Lane.IO_SHORT)])
    changes = run(labels, "h", waiting(3.0), 3)
    assert [each.lane for each in changes] == [Lane.IO_LONG]


def test_what_is_no_longer_told_is_no_longer_believed() -> None:
    labels = undeclared("h", "other")
    labels.tell([told("h", Lane.CPU_LONG)])
    changes = labels.tell([told("other", Lane.CPU_LONG)])
    assert [(each.handler, each.lane) for each in changes] == [
        ("h", Lane.CPU_SHORT),
        ("other", Lane.CPU_LONG),
    ]


def test_kinds_are_learnt_apart() -> None:
    labels = undeclared("thumb")
    run(labels, "thumb", computing(0.01), 60, kind="small")
    run(labels, "thumb", computing(1.0), 60, kind="4k")
    lanes = [labels.lane("thumb", kind) for kind in ("small", "4k", "")]
    assert lanes == [Lane.CPU_SHORT, Lane.CPU_LONG, Lane.CPU_SHORT]
    assert labels.statistics()["thumb"].count == 120


def test_brief_runs_that_are_measured_one_in_sixteen_are_known_from_ten_samples() -> None:
    labels, runs = undeclared("h"), 0
    while labels.is_unknown("h", ""):
        labels.observe("h", "", [computing(5e-6)] if runs % 16 == 0 else [], 1, 0.0)
        runs += 1
    assert runs == 9 * 16 + 1
    assert labels.batch_tasks("h", "") == 64


# What travels together.


@pytest.mark.parametrize(("wall_s", "tasks"), [(1e-6, 64), (50e-6, 40), (0.0009, 2), (0.002, 1), (0.09, 1)])
def test_a_batch_is_about_2_ms_of_work(wall_s: float, tasks: int) -> None:
    labels = undeclared("h")
    assert labels.batch_tasks("h", "") == 1
    run(labels, "h", computing(wall_s), 49)
    assert labels.batch_tasks("h", "") == 1  # unknown yet
    run(labels, "h", computing(wall_s), 1)
    assert labels.batch_tasks("h", "") == tasks


def test_after_an_overrun_tasks_go_one_at_a_time_for_a_while() -> None:
    labels = undeclared("h")
    run(labels, "h", computing(1e-5), 5_000)
    labels.tick(0.0)
    labels.overran("h", "", 0.25, 1.0)
    assert labels.batch_tasks("h", "") == 1
    for _ in seconds(labels, 2.0, 10):
        pass
    assert labels.batch_tasks("h", "") > 1


# Bounds.


def test_kinds_without_end_are_learnt_together_beyond_the_bound() -> None:
    labels = undeclared("h")
    changes = []
    for number in range(10 * KINDS_MAX):
        changes += run(labels, "h", computing(1.0), 3, kind=f"user-{number}")
    # One change for each that is learnt apart, and one, without a kind, for all the others.
    assert [each.kind for each in changes] == [*(f"user-{number}" for number in range(KINDS_MAX)), ""]
    assert len(labels.labels()) == KINDS_MAX + 1
    assert labels.lane("h", "user-639") is Lane.CPU_LONG
    assert labels.lane("h", "never seen") is Lane.CPU_LONG
    # A kind that comes after a pause takes the place of one that has gone.
    run(labels, "h", computing(0.01), 3, now=IDLE_S, kind="new")
    assert len(labels.labels()) == KINDS_MAX + 1
    assert labels.lane("h", "new") is Lane.CPU_SHORT


def test_handlers_that_never_ended_a_run_have_no_label() -> None:
    labels = undeclared("h")
    labels.observe("h", "", [], 1, 0.0)
    assert labels.labels() == []
    assert labels.mean_s("h", "") is None
    assert labels.statistics()["h"].count == 1


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("observe"), st.sampled_from("abc"), st.floats(1e-6, 50.0), st.integers(1, 20)),
            st.tuples(st.just("overran"), st.sampled_from("abc"), st.floats(0.2, 5.0), st.just(1)),
            st.tuples(st.just("tick"), st.just("a"), st.floats(0.1, 400.0), st.just(1)),
            st.tuples(st.just("tell"), st.sampled_from("abc"), st.floats(0.0, 1.0), st.integers(0, 3)),
        ),
        max_size=60,
    )
)
def test_every_change_of_lane_is_told_and_nothing_else(
    events: list[tuple[str, str, float, int]],
) -> None:
    handlers = [Handler(name="a"), Handler(name="b", is_async=True), Handler(name="c", lane=Lane.CPU_LONG)]
    labels = labels_of(*handlers)
    seen = {name: (labels.lane(name, ""), labels.form(name, "")) for name in "abc"}
    now = 0.0
    for event, name, number, count in events:
        match event:
            case "observe":
                sample = Sample(wall_s=number, cpu_s=number / 3, blocked_s=number / 2, step_s=number / 10)
                changes = labels.observe(name, "", [sample] * count, count, now)
            case "overran":
                changes = labels.overran(name, "", number, now)
            case "tick":
                now += number
                changes = labels.tick(now)
            case _:
                changes = labels.tell([told(name, list(Lane)[count])])
        for change in changes:
            shown = (change.lane, labels.form(change.handler, ""))
            assert shown != seen[change.handler]
            seen[change.handler] = shown
        assert seen == {each: (labels.lane(each, ""), labels.form(each, "")) for each in "abc"}
        assert labels.lane("c", "") is Lane.CPU_LONG
        for each in labels.labels():
            assert 1 <= labels.batch_tasks(each.handler, "") <= 64
            assert 0 < each.mean_s < 60.0


def test_the_statistics_of_a_handler_are_those_of_all_its_kinds_by_their_runs() -> None:
    labels = undeclared("h")
    small = Sample(
        wall_s=0.010, cpu_s=0.008, blocked_s=0.001, run_queue_s=0.001, io_s=0.0005, memory_bytes=4096
    )
    large = Sample(wall_s=0.040, cpu_s=0.020, blocked_s=0.016, run_queue_s=0.004, io_s=0.01, memory_bytes=0)
    run(labels, "h", small, 90, kind="small")
    run(labels, "h", large, 30, kind="large")
    shown = labels.statistics()["h"]
    assert shown.count == 120
    assert shown.mean_wall_s == pytest.approx(0.0175)
    assert shown.mean_cpu_s == pytest.approx(0.011)
    assert shown.mean_blocked_s == pytest.approx(0.00475)
    assert shown.mean_run_queue_s == pytest.approx(0.00175)
    assert shown.mean_io_s == pytest.approx(0.002875)
    assert shown.mean_memory_bytes == pytest.approx(3072)
