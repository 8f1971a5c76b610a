"""What the scheduler wants done when something happens. Whole workloads are played in tests/lanes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from executor.handlers.declaration import Handler
from executor.labels.labels import Labels
from executor.lanes.instructions import Drain, Instruction, Kill, Recall, Renice, Resize, Send, Start
from executor.lanes.scheduler import Scheduler
from executor.lanes.waiting import ALONE_FROM_ATTEMPT
from executor.lanes.watch import HARD_AFTER_S
from executor.pools.upkeep import ABANDONED_MAX, HELLO_S_MAX, RSS_GROWTH_BYTES_MAX
from executor.task import Form, Lane, Level, Limits, Sample, Status, Task

pytestmark = pytest.mark.unit

MIB = 1 << 20


class Desk:
    """A scheduler, and a shell that starts every runner at once and remembers what each was sent."""

    def __init__(self, *handlers: Handler, workers: int = 2) -> None:
        self.now = 0.0
        self.handlers = {handler.name: handler for handler in handlers}
        self.labels = Labels(self.handlers)
        self.core = Scheduler(self.labels, handlers=self.handlers, workers=workers, cores=2)
        self.sent: dict[int, list[Send]] = {}
        self.told: list[Instruction] = []
        self.seq = 0
        self.turn()

    def turn(self, at_s: float | None = None) -> list[Instruction]:
        """Everything that is to be done by now."""
        self.now = self.now if at_s is None else at_s
        self.core.tick(self.now)
        told: list[Instruction] = []
        while batch := self.core.instructions(self.now):
            told += batch
            for instruction in batch:
                if isinstance(instruction, Start):
                    self.sent[instruction.runner] = []
                    self.core.ready(instruction.runner, self.now)
                elif isinstance(instruction, Send):
                    self.sent[instruction.runner].append(instruction)
        self.core.check_invariants()
        self.told += told
        return told

    def offer(self, handler: str, count: int = 1, **fields: object) -> list[Instruction]:
        tasks = []
        for _ in range(count):
            self.seq += 1
            task = Task(self.seq, self.seq, 1, handler, b"")
            tasks.append(task._replace(**fields))  # type: ignore[arg-type]
        self.core.offer(tasks, self.now)
        return self.turn()

    def learn(self, handler: str, wall_s: float, kind: str = "") -> None:
        """Enough runs to know it."""
        for _ in range(60):
            self.core.measured(handler, kind, [Sample(wall_s, wall_s)], 1, self.now)

    def look(self, runner: int, after_s: float) -> list[Instruction]:
        """The first task of this runner runs for so long."""
        self.now += after_s
        first = self.core.numbers(runner)[0]
        self.core.looked(runner, [(first, self.now - after_s)], self.now)
        return self.turn()

    def end(self, runner: int) -> list[Instruction]:
        self.core.ended(runner, self.core.numbers(runner), self.now)
        return self.turn()

    def busy(self) -> list[int]:
        return [view.number for view in self.core.runners() if view.running]


def sends(told: Sequence[Instruction]) -> list[tuple[int, list[int]]]:
    return [(each.runner, [task.seq for task in each.tasks]) for each in told if isinstance(each, Send)]


def of(told: Sequence[Instruction], form: type) -> list[Instruction]:
    return [each for each in told if isinstance(each, form)]


SHORT = Handler(name="short", lane=Lane.CPU_SHORT)
LONG = Handler(name="long", lane=Lane.CPU_LONG)
BRIEF = Handler(name="brief")


def test_it_starts_the_places_the_reserve_and_a_warm_spare() -> None:
    desk = Desk(SHORT, workers=2)
    assert [each.form for each in desk.told if isinstance(each, Start)] == [Form.PROCESS] * 4


def test_threads_and_event_loops_are_started_for_handlers_that_need_them() -> None:
    desk = Desk(Handler(name="web", lane=Lane.IO_SHORT), Handler(name="aio", is_async=True))
    forms = [each.form for each in desk.told if isinstance(each, Start)]
    assert (forms.count(Form.THREADS), forms.count(Form.LOOP)) == (1, 1)


def test_long_work_leaves_the_reserve_alone_and_short_work_finds_it() -> None:
    desk = Desk(SHORT, LONG, workers=2)
    assert len(sends(desk.offer("long", 10))) == 2
    assert len(sends(desk.offer("short", 5))) == 1


def test_long_work_goes_to_a_niced_runner_and_short_work_to_a_quick_one() -> None:
    desk = Desk(SHORT, LONG, workers=2)
    told = desk.offer("long")
    (niced,) = [each.runner for each in told if isinstance(each, Renice)]
    desk.end(niced)
    ((runner, _),) = sends(desk.offer("short"))
    assert runner != niced
    assert [(each, isinstance(told, list)) for each, _ in sends(desk.offer("long"))] == [(niced, True)]


def test_long_work_that_waits_goes_first_when_none_of_it_runs() -> None:
    desk = Desk(SHORT, LONG, workers=2)
    desk.offer("short", 20)
    desk.offer("long", 1)
    desk.end(desk.busy()[0])
    assert any(
        task.handler == "long" for batches in desk.sent.values() for each in batches for task in each.tasks
    )


def test_brief_tasks_travel_in_batches_and_one_batch_ahead() -> None:
    desk = Desk(BRIEF, workers=2)
    desk.learn("brief", 0.00001)
    told = sends(desk.offer("brief", 2_000))
    assert {len(numbers) for _, numbers in told} == {64}
    assert sorted(runner for runner, _ in told) == sorted(2 * sorted({runner for runner, _ in told}))
    assert len({runner for runner, _ in told}) == 3


def test_few_tasks_are_shared_out_but_not_in_crumbs() -> None:
    desk = Desk(Handler(name="ms"), Handler(name="us"), workers=2)
    desk.learn("ms", 0.0005)
    desk.learn("us", 0.000001)
    assert [len(numbers) for _, numbers in sends(desk.offer("ms", 6))] == [2, 2, 2]
    for runner in desk.busy():
        desk.end(runner)
    assert [len(numbers) for _, numbers in sends(desk.offer("us", 60))] == [60]


def test_nothing_is_sent_behind_what_is_not_brief() -> None:
    desk = Desk(SHORT, BRIEF, workers=2)
    desk.learn("brief", 0.00001)
    desk.offer("short", 3)
    assert sends(desk.offer("brief", 100)) == []


def test_what_is_not_known_leaves_the_reserve_but_for_a_probe_of_each_kind() -> None:
    desk = Desk(Handler(name="new"), Handler(name="other"), workers=2)
    assert len(sends(desk.offer("new", 10))) == 2
    assert len(sends(desk.offer("other", 10))) == 1


def test_an_unknown_kind_is_probed_although_another_kind_of_its_handler_runs_on_every_long_place() -> None:
    desk = Desk(Handler(name="two"), workers=2)
    desk.offer("two", 10, kind="slow")
    for runner in desk.busy():
        desk.look(runner, 0.3)
    assert desk.labels.lane("two", "slow") is Lane.CPU_LONG
    assert len(sends(desk.offer("two", 5, kind="quick"))) == 1


def test_a_short_task_that_goes_on_counts_as_long_and_a_spare_makes_the_reserve_whole() -> None:
    desk = Desk(SHORT, LONG, workers=2)
    desk.offer("long", 2)
    ((runner, _),) = sends(desk.offer("short"))
    assert sends(desk.offer("short")) == []
    told = desk.look(runner, 0.25)
    assert len(sends(told)) == 1
    assert len(of(told, Start)) == 1
    assert any("counts as long" in reason.decision for reason in desk.core.reasons())


def test_a_runner_is_niced_only_when_its_task_goes_on_and_on() -> None:
    desk = Desk(SHORT, workers=2)
    ((runner, _),) = sends(desk.offer("short"))
    assert of(desk.look(runner, 0.5), Renice) == []
    assert of(desk.look(runner, 1.5), Renice) == [Renice(runner=runner)]


def test_spares_are_bounded() -> None:
    desk = Desk(SHORT, workers=2)
    for _ in range(20):
        desk.offer("short", 3)
        for runner in desk.busy():
            desk.look(runner, 0.25)
    assert len(desk.busy()) == 3 + 4


def test_what_waits_behind_a_stuck_task_is_recalled_and_keeps_its_place() -> None:
    desk = Desk(BRIEF, workers=1)
    desk.learn("brief", 0.00001)
    desk.offer("brief", 300)
    runner = desk.busy()[0]
    numbers = desk.core.numbers(runner)
    (recall,) = of(desk.look(runner, 0.06), Recall)
    assert isinstance(recall, Recall)
    assert recall.numbers == numbers[1:]
    desk.core.returned(runner, recall.numbers, desk.now)
    assert desk.core.numbers(runner) == numbers[:1]
    other = next(each for each in desk.busy() if each != runner)
    told = desk.end(other)
    assert [seq for _, batch in sends(told) for seq in batch][:63] == list(range(2, 65))
    assert all(batch.first <= numbers[-1] for batch in desk.sent[runner])


def test_a_task_that_outlives_its_time_out_is_killed_with_its_runner() -> None:
    desk = Desk(Handler(name="deaf", timeout_s=1.0), workers=2)
    ((runner, _),) = sends(desk.offer("deaf"))
    assert of(desk.look(runner, 1.0 + HARD_AFTER_S - 0.1), Kill) == []
    desk.now = 0.0
    (kill,) = of(desk.look(runner, 1.0 + HARD_AFTER_S + 0.1), Kill)
    assert isinstance(kill, Kill)
    assert (kill.runner, kill.number, kill.status) == (runner, 1, Status.TIMED_OUT)
    assert "time-out of 1 s" in kill.why


def test_a_runner_that_dies_is_replaced_and_its_tasks_wait_again_with_their_age() -> None:
    desk = Desk(SHORT, workers=2)
    ((runner, (seq,)),) = sends(desk.offer("short"))
    desk.core.returned(runner, desk.core.numbers(runner), 1.0)
    desk.core.gone(runner, 1.0, early=False, why="signal 9")
    told = desk.turn(1.0)
    assert len(of(told, Start)) == 1
    assert [numbers for _, numbers in sends(told)] == [[seq]]
    assert any("signal 9" in reason.why for reason in desk.core.reasons())


def test_who_ends_its_process_pays_for_the_new_one() -> None:
    desk = Desk(Handler(name="poison", lane=Lane.CPU_SHORT), SHORT, workers=1)
    desk.learn("short", 0.005)
    desk.learn("poison", 0.005)
    desk.offer("poison", 50)
    desk.offer("short", 50)
    runner = desk.busy()[0]
    desk.core.ended(runner, desk.core.numbers(runner), 0.01)
    desk.core.gone(runner, 0.01, early=False)
    told = desk.turn(0.01)
    for _ in range(20):
        desk.now += 0.005
        for runner in desk.busy():
            told += desk.end(runner)
    names = [task.handler for each in told if isinstance(each, Send) for task in each.tasks]
    assert names.count("poison") <= 2 < 18 <= names.count("short")


def test_early_deaths_are_answered_more_and_more_slowly_until_one_says_hello() -> None:
    desk = Desk(SHORT, workers=1)
    for view in desk.core.runners():
        desk.core.gone(view.number, 0.0, early=True)
    assert desk.core.instructions(0.3) == []
    starts = of(desk.core.instructions(0.5), Start)
    assert len(starts) == 1
    assert isinstance(starts[0], Start)
    desk.sent[starts[0].runner] = []
    desk.core.ready(starts[0].runner, 0.6)
    assert len(of(desk.turn(0.6), Start)) == 2


def test_a_runner_that_says_nothing_is_given_up() -> None:
    desk = Desk(SHORT, workers=1)
    desk.core.gone(desk.core.runners()[0].number, 1.0, early=False)
    (start,) = of(desk.core.instructions(1.0), Start)
    assert isinstance(start, Start)
    desk.core.tick(1.0 + HELLO_S_MAX + 0.6)
    (kill,) = of(desk.core.instructions(1.0 + HELLO_S_MAX + 0.6), Kill)
    assert isinstance(kill, Kill)
    assert (kill.runner, kill.number) == (start.runner, None)


@pytest.mark.parametrize(
    ("grown_bytes", "abandoned", "ends"),
    [(RSS_GROWTH_BYTES_MAX - MIB, 0, False), (RSS_GROWTH_BYTES_MAX + MIB, 0, True), (0, ABANDONED_MAX, True)],
)
def test_a_runner_that_is_worn_out_finishes_and_ends(grown_bytes: int, abandoned: int, ends: bool) -> None:
    desk = Desk(SHORT, workers=1)
    ((runner, _),) = sends(desk.offer("short"))
    desk.core.beat(runner, 50 * MIB, 0.0, 1.0)
    desk.core.beat(runner, 50 * MIB + grown_bytes, 0.0, 2.0, abandoned=abandoned)
    told = desk.turn(2.0)
    assert bool(of(told, Drain)) is ends
    assert bool(of(told, Start)) is ends
    assert len(desk.core.numbers(runner)) == 1


def test_an_event_loop_that_hangs_is_killed_for_the_task_that_holds_it() -> None:
    desk = Desk(Handler(name="aio", is_async=True))
    ((runner, _),) = sends(desk.offer("aio"))
    desk.core.beat(runner, MIB, 0.0, 6.0, stuck_number=1)
    (kill,) = of(desk.turn(6.0), Kill)
    assert isinstance(kill, Kill)
    assert (kill.number, kill.status) == (1, Status.TIMED_OUT)


def test_what_died_twice_runs_alone_in_a_process() -> None:
    desk = Desk(Handler(name="aio", is_async=True))
    forms = {view.number: view.form for view in desk.core.runners()}
    ((runner, _),) = sends(desk.offer("aio", attempt=ALONE_FROM_ATTEMPT))
    assert forms[runner] is Form.PROCESS
    ((runner, _),) = sends(desk.offer("aio"))
    assert forms[runner] is Form.LOOP


def test_a_handler_at_its_limit_waits_and_its_lane_goes_on() -> None:
    desk = Desk(Handler(name="one", lane=Lane.CPU_SHORT, max_running=1), SHORT, workers=2)
    assert len(sends(desk.offer("one", 5))) == 1
    assert len(sends(desk.offer("short", 1))) == 1
    assert desk.core.rooms()[Lane.CPU_SHORT] > 100
    desk.core.tune(Limits(handlers={"one": 0}), desk.now)
    desk.end(desk.busy()[0])
    assert not any(task.seq == 2 for batches in desk.sent.values() for each in batches for task in each.tasks)
    desk.core.tune(Limits(), desk.now)
    assert len(sends(desk.turn())) == 1


def test_what_is_paused_waits_until_it_is_not() -> None:
    desk = Desk(SHORT, LONG, workers=2)
    desk.core.tune(Limits(paused_handlers=frozenset(["short"]), paused_lanes=frozenset([Lane.CPU_LONG])), 0.0)
    assert sends([*desk.offer("short", 2), *desk.offer("long", 2)]) == []
    assert desk.core.rooms()[Lane.CPU_LONG] == 0
    desk.core.tune(Limits(), 0.0)
    assert len(sends(desk.turn())) == 3


def test_a_lane_has_its_own_limit() -> None:
    desk = Desk(SHORT, workers=3)
    desk.core.tune(Limits(lanes={Lane.CPU_SHORT: 2}), 0.0)
    assert len(sends(desk.offer("short", 9))) == 2


def test_fewer_workers_leave_fewer_long_places_and_in_time_fewer_processes() -> None:
    desk = Desk(LONG, workers=4)
    desk.core.tune(Limits(workers=1), 0.0)
    assert len(sends(desk.offer("long", 9))) == 1
    for second in range(1, 60):
        desk.turn(float(second))
    assert len(of(desk.told, Drain)) == 3


def test_bounds_of_threads_and_event_loops_are_told_to_their_runners() -> None:
    desk = Desk(Handler(name="web", lane=Lane.IO_SHORT), Handler(name="aio", is_async=True))
    desk.core.tune(Limits(io_threads_max=3, loop_tasks_max=7), 0.0)
    assert sorted(each.slots for each in desk.turn() if isinstance(each, Resize)) == [3, 7]


def test_a_label_that_changes_moves_what_waits_and_is_told() -> None:
    desk = Desk(Handler(name="turns"), workers=2)
    desk.offer("turns", 10)
    for runner in desk.busy():
        desk.look(runner, 0.3)
    lanes = desk.core.lanes()
    assert (lanes[Lane.CPU_SHORT].queued, lanes[Lane.CPU_LONG].queued) == (0, 7)  # one more of it runs
    assert [label.lane for label in desk.core.label_changes()] == [Lane.CPU_LONG]
    assert desk.core.label_changes() == []


def test_a_task_is_cancelled_where_it_is() -> None:
    desk = Desk(SHORT, workers=1)
    told = sends(desk.offer("short", 3))
    waiting = desk.core.cancel(3, 0.0)
    assert isinstance(waiting, Task)
    assert waiting.seq == 3
    assert desk.core.cancel(1, 0.0) == (told[0][0], 1)
    assert desk.core.cancel(3, 0.0) is None


def test_what_waits_can_be_taken_back_by_handler_and_by_lane() -> None:
    desk = Desk(SHORT, LONG, Handler(name="other", lane=Lane.CPU_SHORT), workers=1)
    desk.offer("short", 5)
    desk.offer("other", 2)
    desk.offer("long", 3)
    assert [task.handler for task in desk.core.take(["other"], [], 0.0)] == ["other"] * 2
    assert {task.handler for task in desk.core.take([], [Lane.CPU_LONG], 0.0)} == {"long"}
    assert {task.handler for task in desk.core.take_all()} == {"short"}
    assert desk.offer("short", 1) == []


def test_numbers_that_are_not_open_have_no_task() -> None:
    desk = Desk(BRIEF, workers=1)
    desk.learn("brief", 0.00001)
    desk.offer("brief", 128)
    runner = desk.busy()[0]
    got = desk.core.ended(runner, [3, 1, 2, 2, 99], 0.0)
    assert [None if task is None else task.seq for task in got] == [3, 1, 2, None, None]
    assert desk.core.ended(77, [1], 0.0) == [None]
    rest = desk.core.ended(runner, range(1, 65), 0.0)
    assert [task.seq for task in rest if task is not None] == list(range(4, 65))
    assert not desk.core.is_idle
    desk.end(desk.busy()[0])
    assert desk.core.is_idle


def test_short_of_memory_there_is_no_room_and_no_spare() -> None:
    desk = Desk(SHORT, workers=1)
    ((first, _), (second, _)) = sends(desk.offer("short", 2))
    desk.core.gauges(0.85, 0.0, 0.0)
    desk.look(first, 0.3)
    assert sends([*desk.look(second, 0.3), *desk.offer("short", 1)]) == []
    assert not any(desk.core.rooms().values())
    desk.core.gauges(0.5, 0.0, 0.0)
    assert len(sends(desk.turn())) == 1


def test_statistics_say_how_much_work_waits() -> None:
    desk = Desk(BRIEF, workers=2)
    assert desk.core.lanes()[Lane.CPU_SHORT].mean_s == 0.0
    desk.learn("brief", 0.01)
    desk.offer("brief", 103)
    lane = desk.core.lanes()[Lane.CPU_SHORT]
    assert (lane.queued, lane.running, lane.slots) == (100, 3, 3)
    assert lane.backlog_s == pytest.approx(1.0, rel=0.05)
    assert lane.mean_s == pytest.approx(0.01, rel=0.05)


def test_a_level_is_heeded_from_offer_to_send() -> None:
    desk = Desk(SHORT, workers=1)
    desk.offer("short", 2)
    desk.offer("short", 1, level=Level.LOW)
    desk.offer("short", 1, level=Level.DUE)
    told = desk.end(desk.busy()[0])
    assert [numbers for _, numbers in sends(told)] == [[4]]


def test_threads_end_tasks_of_several_batches_in_any_order_and_each_place_is_freed_once() -> None:
    # Given two batches in one runner
    web = Handler(name="web", lane=Lane.IO_SHORT)
    desk = Desk(web)
    desk.learn("web", 0.0001)
    sent = [each for each in desk.offer("web", 40) if isinstance(each, Send)][:2]
    runner = sent[0].runner
    assert [each.runner for each in sent] == [runner, runner]
    one, other = ([number for number, _ in enumerate(each.tasks, each.first)] for each in sent)
    # When their last tasks end in one message, mixed
    got = desk.core.ended(runner, [*one[:-1], *other[:-1], one[-1], other[-1]], desk.now)
    # Then
    assert None not in got
    desk.turn()
    assert set(one + other).isdisjoint(desk.core.numbers(runner))


def test_tasks_of_several_batches_go_back_in_any_order() -> None:
    web = Handler(name="web", lane=Lane.IO_SHORT)
    desk = Desk(web)
    desk.learn("web", 0.0001)
    sent = [each for each in desk.offer("web", 40) if isinstance(each, Send)][:2]
    one, other = ([number for number, _ in enumerate(each.tasks, each.first)] for each in sent)
    desk.core.returned(sent[0].runner, [*one[:-1], *other[:-1], one[-1], other[-1]], desk.now)
    desk.core.check_invariants()
    assert set(one + other).isdisjoint(desk.core.numbers(sent[0].runner))
