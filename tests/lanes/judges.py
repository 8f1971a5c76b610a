"""What must hold after every event, whatever the workload. Each judge keeps books of its own and trusts those of the scheduler little.

L1  every task ends once; it is in one place at a time; none waits for ever
L2  no long task starts unless fewer than W - R run; re-badged ones count
L3  no place idles while work that may start waits
L4  short work waits behind long work only while fewer than R places are free of it, which spares repair within a second
L5  no task is overtaken by one of its handler that is more than 3 T_age younger
L6  long work always moves: it waits for the end of short work at most, never for the end of its flood
L7  limits, pauses and declared bounds hold; nothing is sent behind work that is not brief
L8  what is unknown takes one place in ten of the reserve at most
L9  short of memory: no room, no spares
L10 a time-out that is ignored ends in a kill 5 s later; a runner that says nothing is given up
L11 processes, threads, queues and reasons stay in their bounds; spares and surplus runners are given back
L12 a queue is in the lane of its label; the counters are what they count
L13 a run that does not end is known to be long within 5 s
L14 nothing waits in a process behind a task that is stuck
"""

from __future__ import annotations

from executor.lanes.handler_queue import HandlerQueue
from executor.lanes.in_flight import RunnerState
from executor.lanes.instructions import Send
from executor.pools.demand import QUEUE_TASKS_MAX
from executor.pools.pool import Pool
from executor.task import Form, Lane, Task
from tests.lanes.books import Books, Broken, Sent
from tests.lanes.world import World

REPAIR_S = 1.0  # to look (50 ms), to start a process (120 ms), to staff after a back-off
DISTURBED_S = 2.0  # after a death, a limit, a kept-back start
LOOK_S = 0.06


class Laws(Books):
    """One for each world."""

    def __init__(self) -> None:
        super().__init__()
        self.pressed_since_s: float | None = None
        self.long_waits_since_s: dict[Form, float] = {}

    # Before a batch starts.

    def starts(self, world: World, send: Send, sent: Sent) -> None:
        runner, first = world.runners[send.runner], send.tasks[0]
        pool = world.scheduler.pools[runner.form]
        before = self.in_flight[send.runner]
        if sent.is_long:
            count = self.long(world, runner.form)
            self.check(
                world,
                count < pool.long_slots,
                "L2",
                f"{count} long ones run in {runner.form} and one more starts",
            )
            self.check(world, pool.long_slots <= max(1, pool.slots - pool.reserve), "L2", "W - R")
            self.check(world, pool.reserve >= 1, "L2", "there is no reserve")
            self.long_waits_since_s.pop(runner.form, None)
        elif sent.is_unknown:
            self._unknown(world, pool, runner.form)
        if len(before) >= runner.slots:
            self.check(
                world,
                all(not each.is_long and not each.is_unknown for each in before) and not sent.is_unknown,
                "L7",
                f"runner {send.runner} is sent work behind work that is not brief",
            )
            self.check(world, len(before) < 2 * runner.slots, "L7", "more than one batch ahead")
        self._limits(world, first, sent.lane, runner.form, len(send.tasks))
        self._overtaken(world, send, pool, runner.form)

    def _unknown(self, world: World, pool: Pool, form: Form) -> None:
        unknown = sum(sent.is_unknown and not sent.is_long for sent in self.all(world, form))
        outside = max(0, pool.long_slots - self.long(world, form))
        allowed = outside + max(1, pool.slots // 10)
        self.check(world, unknown < allowed, "L8", f"{unknown} unknown ones run in {form}, {allowed} may")

    def _limits(self, world: World, task: Task, lane: Lane, form: Form, count: int) -> None:
        limits = world.limits
        self.check(world, task.handler not in limits.paused_handlers, "L7", f"{task.handler} is paused")
        self.check(world, lane not in limits.paused_lanes, "L7", f"{lane} is paused")
        bounds = [world.handlers[task.handler].max_running]
        if limits.handlers is not None:
            bounds.append(limits.handlers.get(task.handler))
        bound = min((each for each in bounds if each is not None), default=None)
        if bound is not None:
            used = self.used(world, task.handler) + (1 if form is Form.PROCESS else count)
            self.check(world, used <= bound, "L7", f"{used} of {task.handler} run, {bound} may")

    def _overtaken(self, world: World, send: Send, pool: Pool, form: Form) -> None:
        first = send.tasks[0]
        for queue in world.scheduler.waiting.queues():
            if (queue.handler, queue.kind, queue.form) == (first.handler, first.kind, form) and queue.queued:
                oldest_s = min(chunks[0].queued_s for chunks in queue.levels if chunks)
                youngest_s = self._queued_s(world, send)
                age_s = pool.lanes[queue.lane].age_s
                self.check(
                    world,
                    youngest_s - oldest_s <= 3 * age_s + 0.01,
                    "L5",
                    f"one of {first.handler} that waits since {youngest_s:.3f} overtakes one since {oldest_s:.3f}",
                )

    def _queued_s(self, world: World, send: Send) -> float:
        """Since when the oldest task of this batch waits."""
        for runner in world.scheduler.pools[world.runners[send.runner].form].runners.values():
            if runner.number == send.runner:
                batch = runner.find(send.first)
                if batch is not None:
                    return batch.queued_s
        return world.now

    # After each turn.

    def turned(self, world: World) -> None:
        try:
            world.scheduler.check_invariants()
        except AssertionError as error:
            raise Broken(f"L12 is broken at {world.now:.3f} s: {error}") from error
        queues = [queue for queue in world.scheduler.waiting.queues() if queue.queued]
        for pool in world.scheduler.pools.values():
            self._bounds(world, pool)
            mine = [queue for queue in queues if queue.form is pool.form]
            if mine:
                self._idles(world, pool, mine)
        self._books(world, queues)
        self._presses(world, queues)
        self._moves(world, queues)
        self._memory(world)
        self._time_outs(world)
        self._learns(world)
        self._behind(world)

    def _books(self, world: World, queues: list[HandlerQueue]) -> None:
        count = sum(queue.queued for queue in queues)
        self.check(world, count == len(self.waiting), "L1", f"{count} wait, the book has {len(self.waiting)}")
        for queue in queues:
            lane = world.labels.lane(queue.handler, queue.kind)
            form = Form.PROCESS if queue.alone else world.labels.form(queue.handler, queue.kind)
            where = (queue.lane, queue.form)
            self.check(
                world, where == (lane, form), "L12", f"{queue.handler} waits in {where}, not {lane, form}"
            )

    def _eligible(self, world: World, queue: HandlerQueue) -> bool:
        """May a task of it start, as far as limits go?"""
        limits = world.limits
        if queue.handler in limits.paused_handlers or queue.lane in limits.paused_lanes:
            return False
        if limits.lanes is not None and queue.lane in limits.lanes:
            return False  # told apart from other limits by L7 only
        bounds = [world.handlers[queue.handler].max_running, (limits.handlers or {}).get(queue.handler)]
        used = self.used(world, queue.handler)
        if any(bound is not None and used >= bound for bound in bounds):
            return False
        return queue.form is Form.PROCESS or queue.running < queue.limit

    def _idles(self, world: World, pool: Pool, queues: list[HandlerQueue]) -> None:
        busy = sum(min(len(runner.batches), runner.slots) for runner in pool.runners.values())
        idle = [
            runner
            for runner in pool.runners.values()
            if runner.state is RunnerState.READY and len(self.in_flight[runner.number]) < runner.slots
        ]
        if not idle or busy >= pool.slots + pool.spares:
            return
        long = self.long(world, pool.form)
        unknown = sum(sent.is_unknown and not sent.is_long for sent in self.all(world, pool.form))
        for queue in queues:
            if not self._eligible(world, queue):
                continue
            if queue.lane.is_long:
                may = long < pool.long_slots
            elif queue.is_unknown:
                is_alone = not any(
                    (task.handler, task.kind) == (queue.handler, queue.kind)
                    for sent in self.all(world, pool.form)
                    for task in sent.numbers.values()
                )
                probes = unknown - max(0, pool.long_slots - long)
                may = long + unknown < pool.long_slots or (is_alone and probes < max(1, pool.slots // 10))
            else:
                may = True
            self.check(
                world,
                not may,
                "L3",
                f"runner {idle[0].number} idles while {queue.handler} waits in {queue.lane}",
            )

    def _presses(self, world: World, queues: list[HandlerQueue]) -> None:
        """L4: known short work waits, though long work holds places of the reserve."""
        pool = world.scheduler.pools[Form.PROCESS]
        waits = any(
            queue.form is Form.PROCESS
            and not queue.lane.is_long
            and not queue.is_unknown
            and self._eligible(world, queue)
            for queue in queues
        )
        truly_long = 0
        for runner in world.runners.values():
            if runner.form is Form.PROCESS:
                for run, since_s in runner.true_runs():
                    sent_long = any(sent.is_long for sent in self.in_flight[runner.number])
                    cutoff_s = world.labels.cutoff_s(
                        world.labels.lane(run.task.handler, run.task.kind).resource
                    )
                    truly_long += sent_long or world.now - since_s > 2 * cutoff_s + LOOK_S
        busy = sum(
            runner.form is Form.PROCESS and bool(self.in_flight[runner.number])
            for runner in world.runners.values()
        )
        is_excused = (
            world.now < world.disturbed_s + DISTURBED_S
            or world.memory_share > 0.75
            or truly_long >= pool.slots - pool.reserve + pool.spares_max
        )
        pressed = waits and busy - truly_long < pool.reserve and not is_excused
        if not pressed:
            self.pressed_since_s = None
            return
        if self.pressed_since_s is None:
            self.pressed_since_s = world.now
        since_s = self.pressed_since_s
        self.check(
            world,
            world.now - since_s <= REPAIR_S,
            "L4",
            f"short work waits for {world.now - since_s:.2f} s, {truly_long} long ones run, {busy} processes are busy",
        )

    def _learns(self, world: World) -> None:
        """L13: a run that is over twice the cut-off is known to be long before it ends."""
        for runner in world.runners.values():
            for run, since_s in runner.true_runs():
                handler, kind = run.task.handler, run.task.kind
                if world.now - since_s < 5.0 or world.handlers[handler].lane is not None:
                    continue
                if self.ended_short_s.get((handler, kind), -1.0) > since_s:
                    continue
                lane = world.labels.lane(handler, kind)
                self.check(world, lane.is_long, "L13", f"{run} runs for 5 s, and its handler is {lane}")

    def _behind(self, world: World) -> None:
        """L14: nothing waits in a process behind a task that is stuck."""
        for runner in world.runners.values():
            if runner.form is Form.PROCESS and runner.inbox and runner.number not in self.killed:
                for run, since_s in runner.true_runs():
                    stuck_s = world.now - since_s
                    self.check(
                        world,
                        stuck_s < 0.15,
                        "L14",
                        f"{len(runner.inbox)} wait behind {run} for {stuck_s:.2f} s",
                    )

    def _moves(self, world: World, queues: list[HandlerQueue]) -> None:
        for form in Form:
            waits = any(
                queue.form is form and queue.lane.is_long and self._eligible(world, queue) for queue in queues
            )
            if not waits or self.long(world, form) > 0 or world.now < world.disturbed_s + DISTURBED_S:
                self.long_waits_since_s.pop(form, None)
                continue
            since_s = self.long_waits_since_s.setdefault(form, world.now)
            waited_s = world.now - since_s
            self.check(world, waited_s < 2.0, "L6", f"no long work of {form} moves for {waited_s:.1f} s")

    def _memory(self, world: World) -> None:
        if world.scheduler_is_guarded:
            rooms = world.scheduler.rooms()
            self.check(world, not any(rooms.values()), "L9", f"short of memory, and there is room: {rooms}")
            spares = [pool.spares for pool in world.scheduler.pools.values()]
            self.check(world, not any(spares), "L9", f"short of memory, and there are spares: {spares}")

    def _time_outs(self, world: World) -> None:
        for runner in world.runners.values():
            if runner.form is Form.PROCESS and runner.is_ready and runner.number not in self.killed:
                for run, since_s in runner.true_runs():
                    timeout_s = world.handlers[run.task.handler].timeout_s
                    if timeout_s is not None:
                        over_s = world.now - since_s - timeout_s
                        self.check(world, over_s < 5.2, "L10", f"{run} is {over_s:.1f} s over its time-out")
            if not runner.is_ready and runner.number not in self.killed:
                silent_s = world.now - self.started_s[runner.number]
                self.check(
                    world, silent_s < 31.0, "L10", f"runner {runner.number} says nothing for {silent_s:.0f} s"
                )

    def _bounds(self, world: World, pool: Pool) -> None:
        alive = pool.alive()
        if pool.form is Form.PROCESS:
            most = pool.slots + pool.spares_max + 1
            if world.now < world.tuned_s + 30.0:
                most += world.plan.workers + 7  # after `workers` was lowered, until they are shed
            self.check(world, len(alive) <= most, "L11", f"{len(alive)} processes, {most} may be")
        else:
            self.check(world, len(alive) <= world.plan.cores, "L11", f"{len(alive)} runners of {pool.form}")
            self.check(world, 1 <= pool.each <= 256, "L11", f"{pool.each} places in a runner of {pool.form}")
        self.check(world, 0 <= pool.spares <= pool.spares_max, "L11", f"{pool.spares} spares")
        busy = sum(min(len(runner.batches), runner.slots) for runner in pool.runners.values())
        self.check(
            world, 1 <= pool.reserve < max(2, pool.slots), "L11", f"reserve {pool.reserve} of {pool.slots}"
        )
        if world.plan.by_room and not world.outcomes.get("died"):
            queued = pool.lanes[Lane.CPU_SHORT].queued
            self.check(world, queued <= 2 * QUEUE_TASKS_MAX, "L11", f"{queued} queued")
        self.check(world, busy >= 0, "L11", "busy")

    def over(self, world: World) -> None:
        self.check(world, not self.waiting, "L1", f"{len(self.waiting)} tasks wait at the end")
        self.check(
            world, not world.open, "L1", f"{len(world.open)} tasks never ended: {list(world.open)[:5]}"
        )
        pool = world.scheduler.pools[Form.PROCESS]
        alive, wanted = len(pool.alive()), pool.slots + 1
        quick = sum(not runner.is_long for runner in pool.alive())
        self.check(world, pool.spares == 0, "L11", f"{pool.spares} spares at the end")
        self.check(
            world, wanted <= alive <= wanted + 1, "L11", f"{alive} processes at the end, {wanted} needed"
        )
        self.check(
            world, quick >= pool.reserve + 1, "L11", f"{quick} quick processes, reserve {pool.reserve}"
        )
        self.check(world, len(world.scheduler.reasons()) <= 1_000, "L11", "reasons")

    def stuck(self, world: World) -> None:
        some = [str(task) for task in list(world.open.values())[:3]]
        raise Broken(f"L1 is broken: {len(world.open)} tasks wait for ever, among them {some}")
