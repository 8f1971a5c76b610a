"""Which lane, which form, how many at once: the answers for each (handler, kind), and what they follow from. A pure core.

A lane comes from, in this order: the handler's declaration; what was learnt here, once it is settled; what other nodes have learnt
(`tell`); a first hint of its own; the default: cpu-short, whose clocks are exact, or io-short for coroutines.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from executor.handlers.declaration import Handler
from executor.labels.cutoff import CUTOFF_FIRST_S, CUTOFFS_S, Load, next_cutoff
from executor.labels.rows import Key, Row, Rows
from executor.labels.statistics import Statistics
from executor.task import Form, HandlerStatistics, Label, Lane, Reason, Resource, Sample

TOLD_MAX = 10_000
REASONS_MAX = 200

TICK_S = 1.0
CUTOFF_TICK_S = 30.0
RATE_WEIGHT = 0.5  # of the newest 30 s
LOAD_SAMPLES = 20  # fewer: no part of the relative law
SLOTS_FIRST = {Resource.CPU: 3, Resource.IO: 32}

BATCH_S = 0.002  # a batch should take about so long
BATCH_TASKS_MAX = 64
AGAINST_SAMPLES = 100


class Labels:
    """`handlers` is the executor's own mapping of declarations. One thread; `labels`, `reasons` and `statistics` may be asked by any."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers
        self._rows = Rows()
        self._told: dict[Key, Label] = {}
        self._cutoffs = dict.fromkeys(Resource, CUTOFF_FIRST_S)
        self._slots = dict(SLOTS_FIRST)
        self._reasons: deque[Reason] = deque(maxlen=REASONS_MAX)
        self._ticked_s: float | None = None
        self._cutoff_ticked_s: float | None = None

    # Questions.

    def lane(self, handler: str, kind: str) -> Lane:
        declared = self._handlers.get(handler)
        if declared is not None and declared.lane is not None:
            return declared.lane
        return self._learnt_lane(handler, kind, is_async=declared is not None and declared.is_async)

    def form(self, handler: str, kind: str) -> Form:
        declared = self._handlers.get(handler)
        if declared is None or declared.isolate:
            return Form.PROCESS
        if self.lane(handler, kind).resource is Resource.CPU:
            return Form.PROCESS
        if not declared.is_async:
            return Form.THREADS
        row = self._rows.find(handler, kind)
        return Form.PROCESS if row is not None and row.classifier.leaves_loop else Form.LOOP

    def is_unknown(self, handler: str, kind: str) -> bool:
        """Neither learnt here nor told: it may be anything."""
        row = self._rows.find(handler, kind)
        return (row is None or not row.classifier.is_settled) and (handler, kind) not in self._told

    def mean_s(self, handler: str, kind: str) -> float | None:
        """How long a run may take; None: nobody knows."""
        row = self._rows.find(handler, kind)
        if row is not None and row.estimate_s is not None:
            return row.estimate_s
        told = self._told.get((handler, kind))
        return None if told is None else told.mean_s

    def batch_tasks(self, handler: str, kind: str) -> int:
        """How many may travel together, 1 to 64: about 2 ms of work; of what is long, unknown or lately overran only one."""
        row = self._rows.find(handler, kind)
        if row is not None and row.classifier.is_careful:
            return 1
        mean_s = self.mean_s(handler, kind)
        if mean_s is None or self.is_unknown(handler, kind) or self.lane(handler, kind).is_long:
            return 1
        return max(1, min(BATCH_TASKS_MAX, int(BATCH_S / max(mean_s, 1e-6))))

    def cutoff_s(self, resource: Resource) -> float:
        """T: p95 of wall time up to which work is short."""
        return self._cutoffs[resource]

    # Events. Each answers with the labels whose lane or form has changed. One without a kind is also that of the kinds that share its row.

    def observe(
        self, handler: str, kind: str, samples: Sequence[Sample], count: int, now: float
    ) -> list[Label]:
        """`count` tasks have ended; `samples` tell of some of them."""
        row = self._rows.own(handler, kind) or self._row(handler, kind, now)
        row.observed_s = now
        classifier = row.classifier
        changed = classifier.observe(samples, count, now, self._cutoffs[classifier.resource])
        if samples:
            row.estimate_s = classifier.statistics.estimate_s
        return self._changes([self._rows.key(handler, kind)], now) if changed else []

    def overran(self, handler: str, kind: str, running_s: float, now: float) -> list[Label]:
        """A run takes longer than twice the cut-off and is not over. Told once for each run."""
        row = self._rows.own(handler, kind) or self._row(handler, kind, now)
        row.observed_s = now
        classifier = row.classifier
        changed = classifier.overran(running_s, now, self._cutoffs[classifier.resource])
        row.estimate_s = classifier.statistics.estimate_s
        return self._changes([self._rows.key(handler, kind)], now) if changed else []

    def tick(self, now: float) -> list[Label]:
        """As often as one likes: each second it looks for what only time tells, each 30 s where the cut-offs should be."""
        if self._ticked_s is None or self._cutoff_ticked_s is None:
            self._ticked_s = self._cutoff_ticked_s = now
        if now - self._ticked_s < TICK_S:
            return []
        self._ticked_s = now
        for key, row in self._rows.items():
            row.classifier.tick(now, self._cutoffs[row.classifier.resource])
            if not row.is_warned and row.classifier.statistics.samples >= AGAINST_SAMPLES:
                self._warn(key, row, now)
        elapsed_s = now - self._cutoff_ticked_s
        if elapsed_s >= CUTOFF_TICK_S:
            self._cutoff_ticked_s = now
            self._count_rates(elapsed_s)
            for resource in Resource:
                self._move_cutoff(resource, now)
        return self._changes(self._rows.keys(), now)

    def tell(self, rows: Sequence[Label]) -> list[Label]:
        """What the other nodes have learnt, in place of all that was told before."""
        told = {(label.handler, label.kind): label for label in rows[:TOLD_MAX]}
        touched = self._told.keys() | told.keys()
        before = {key: (self.lane(*key), self.form(*key)) for key in touched}
        self._told = told
        changes = []
        for handler, kind in sorted(touched):
            shown = (self.lane(handler, kind), self.form(handler, kind))
            row = self._rows.find(handler, kind)
            if row is not None:
                row.shown = shown
            if shown != before[handler, kind]:
                changes.append(self._label(handler, kind))
        return changes

    def resize(self, resource: Resource, slots: int) -> None:
        """How many tasks of this resource run here at once: the relative law wants to know."""
        self._slots[resource] = max(2, slots)

    # Views.

    def labels(self) -> list[Label]:
        """Of everything that was measured here."""
        return [self._label(*key) for key, row in self._rows.items() if row.estimate_s is not None]

    def reasons(self) -> Sequence[Reason]:
        """The newest changes, oldest first."""
        return tuple(self._reasons)

    def statistics(self) -> dict[str, HandlerStatistics]:
        """By handler, all its kinds together."""
        parts: dict[str, list[Statistics]] = {}
        for (handler, _), row in self._rows.items():
            parts.setdefault(handler, []).append(row.classifier.statistics)
        return {handler: _together(kinds) for handler, kinds in parts.items()}

    def _row(self, handler: str, kind: str, now: float) -> Row:
        declared = self._handlers.get(handler)
        is_async = declared is not None and declared.is_async
        shown = (self.lane(handler, kind), self.form(handler, kind))
        return self._rows.make(handler, kind, is_async=is_async, shown=shown, now=now)

    # Labels.

    def _learnt_lane(self, handler: str, kind: str, *, is_async: bool) -> Lane:
        row = self._rows.find(handler, kind)
        told = self._told.get((handler, kind))
        resource = Resource.IO if is_async else Resource.CPU
        is_long = False
        if told is not None:
            resource, is_long = told.lane.resource, told.lane.is_long
        if row is not None:
            classifier = row.classifier
            if classifier.is_resource_settled or told is None:
                resource = classifier.resource
            if classifier.is_settled or told is None:
                is_long = classifier.is_long
        if resource is Resource.CPU:
            return Lane.CPU_LONG if is_long else Lane.CPU_SHORT
        return Lane.IO_LONG if is_long else Lane.IO_SHORT

    def _label(self, handler: str, kind: str) -> Label:
        lane = self.lane(handler, kind)
        row = self._rows.find(handler, kind)
        told = self._told.get((handler, kind))
        if row is None or (row.classifier.statistics.is_empty and told is not None):
            mean_s = 0.0 if told is None else told.mean_s
            return Label(
                handler=handler,
                kind=kind,
                lane=lane,
                why="nothing is known of it" if told is None else f"told: {told.why}",
                mean_s=mean_s,
                p95_s=0.0 if told is None else told.p95_s,
                cpu_s=0.0 if told is None else told.cpu_s,
                samples=0,
            )
        statistics = row.classifier.statistics
        declared = self._handlers.get(handler)
        is_declared = declared is not None and declared.lane is not None
        return Label(
            handler=handler,
            kind=kind,
            lane=lane,
            why="declared" if is_declared else row.classifier.why,
            mean_s=row.estimate_s or 0.0,
            p95_s=statistics.quantile_s(0.95),
            cpu_s=statistics.cpu_s,
            samples=round(statistics.weight),
        )

    def _changes(self, keys: Sequence[Key], now: float) -> list[Label]:
        changes = []
        for handler, kind in keys:
            row = self._rows.find(handler, kind)
            shown = (self.lane(handler, kind), self.form(handler, kind))
            if row is None or shown == row.shown:
                continue
            row.shown = shown
            changes.append(self._label(handler, kind))
            self._note(now, _subject(handler, kind), f"to {shown[0]}, {shown[1]}", row.classifier.why)
        return changes

    def _warn(self, key: Key, row: Row, now: float) -> None:
        """A declared lane wins, but whoever declared it should know when it is wrong."""
        declared = self._handlers.get(key[0])
        if declared is None or declared.lane is None:
            return
        learnt = self._learnt_lane(*key, is_async=declared.is_async)
        if learnt is not declared.lane:
            row.is_warned = True
            why = f"it behaves like {learnt}: {row.classifier.why}"
            self._note(now, _subject(*key), f"stays {declared.lane}, as declared", why)

    def _note(self, now: float, subject: str, decision: str, why: str) -> None:
        self._reasons.append(Reason(at_s=now, subject=subject, decision=decision, why=why))

    # The relative law.

    def _count_rates(self, elapsed_s: float) -> None:
        for row in self._rows.values():
            runs = row.classifier.statistics.runs
            rate_s = (runs - row.runs_counted) / elapsed_s
            weight = RATE_WEIGHT if row.rate_s else 1.0
            row.rate_s += weight * (rate_s - row.rate_s)
            row.runs_counted = runs

    def _move_cutoff(self, resource: Resource, now: float) -> None:
        loads = [
            self._load(handler, kind, row)
            for (handler, kind), row in self._rows.items()
            if row.rate_s > 0
            and row.classifier.statistics.weight >= LOAD_SAMPLES
            and row.shown[0].resource is resource
        ]
        move = next_cutoff(loads, self._cutoffs[resource], self._slots[resource])
        if move is None:
            return
        before_s = self._cutoffs[resource]
        self._cutoffs[resource], why = move
        decision = f"cut-off {before_s * 1000:g} -> {self._cutoffs[resource] * 1000:g} ms"
        self._note(now, f"resource {resource}", decision, why)
        for row in self._rows.values():
            if row.classifier.resource is resource:
                row.classifier.judge_again(self._cutoffs[resource])

    def _load(self, handler: str, kind: str, row: Row) -> Load:
        statistics = row.classifier.statistics
        declared = self._handlers.get(handler)
        if declared is not None and declared.lane is not None:
            is_long = (declared.lane.is_long,) * len(CUTOFFS_S)
        else:
            is_long = row.classifier.is_long_under_each(CUTOFFS_S)
        return Load(
            rate_s=row.rate_s, mean_s=statistics.mean_s, square_s2=statistics.square_s2, is_long=is_long
        )


def _together(kinds: Sequence[Statistics]) -> HandlerStatistics:
    weights = [each.weight for each in kinds]

    def mean(values: Iterable[float]) -> float:
        weighed = sum(value * weight for value, weight in zip(values, weights, strict=True))
        return weighed / max(sum(weights), 1e-9)

    return HandlerStatistics(
        count=sum(each.runs for each in kinds),
        mean_wall_s=mean(each.mean_s for each in kinds),
        mean_cpu_s=mean(each.cpu_s for each in kinds),
        mean_blocked_s=mean(each.blocked_s for each in kinds),
        mean_run_queue_s=mean(each.run_queue_s for each in kinds),
        mean_io_s=mean(each.io_s for each in kinds),
        mean_memory_bytes=mean(each.memory_bytes for each in kinds),
    )


def _subject(handler: str, kind: str) -> str:
    return f"handler {handler}" if not kind else f"handler {handler}, kind {kind}"
