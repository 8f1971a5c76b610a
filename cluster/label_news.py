"""Which of the labels that this node has learnt are news to the others. A pure core.

Told is what changes a decision of theirs: a lane that is new or another, a mean that has doubled or halved, or so many more runs behind a
label that it should count for more when the nodes do not agree. So the ledger hears of a handler a few times a day, not a thousand times.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cluster.tables.labels import NAME_CHARACTERS_MAX, ROWS_A_COMMAND_MAX
from executor import Label

SURE_SAMPLES = 50  # before, a label is a guess
SURE_LONG_SAMPLES = 3  # so many overruns are no accident
MEAN_FACTOR = 2.0
MEAN_MIN_S = 0.001  # below, a factor of two makes no difference to anybody
SAMPLES_FACTOR = 4


def worth_telling(own: Iterable[Label], told: Mapping[tuple[str, str], Label]) -> list[Label]:
    """At most one command of them, lanes that changed first. `told`: (handler, kind) -> what this node has told before."""
    lanes: list[Label] = []
    rest: list[Label] = []
    for label in own:
        before = told.get((label.handler, label.kind))
        if not _is_sure(label) or len(label.kind) > NAME_CHARACTERS_MAX:
            continue
        if before is None or before.lane is not label.lane:
            lanes.append(label)
        elif _has_grown(label, before):
            rest.append(label)
    return [*lanes, *rest][:ROWS_A_COMMAND_MAX]


def _is_sure(label: Label) -> bool:
    return label.samples >= (SURE_LONG_SAMPLES if label.lane.is_long else SURE_SAMPLES)


def _has_grown(label: Label, before: Label) -> bool:
    shorter, longer = sorted(max(each.mean_s, MEAN_MIN_S) for each in (label, before))
    return longer >= MEAN_FACTOR * shorter or label.samples >= SAMPLES_FACTOR * max(before.samples, 1)
