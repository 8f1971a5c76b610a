"""The replicated table of labels: who may tell what, which label routes, what goes when it is full."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgpack
import pytest

from cluster.tables.labels import (
    OPCODE,
    ROWS_MAX,
    LabelKey,
    LabelsTable,
    forget,
    learn,
    learnt_by,
    routing_labels,
)
from consensus import CommandRefused, Context
from executor import Label, Lane

pytestmark = pytest.mark.unit
_nothing: Any = None
SOMEWHERE = Context(proposer=1, time_ms=0, sessions=_nothing, blocks=_nothing, executed=_nothing)


def label(
    handler: str = "thumb",
    lane: Lane = Lane.CPU_SHORT,
    samples: int = 100,
    *,
    kind: str = "",
    mean_s: float = 0.01,
    why: str = "p95 <= 50 ms",
) -> Label:
    return Label(
        handler=handler,
        kind=kind,
        lane=lane,
        why=why,
        mean_s=mean_s,
        p95_s=0.05,
        cpu_s=0.009,
        samples=samples,
    )


def table_of(*told: tuple[str, Label]) -> LabelsTable:
    table = LabelsTable()
    for node, each in told:
        table.apply(learn(node, [each]), SOMEWHERE)
    return table


def routed(table: LabelsTable) -> list[tuple[str, str, Lane, int]]:
    return [(each.handler, each.kind, each.lane, each.samples) for each in routing_labels(table.rows)]


def test_a_node_tells_its_own_rows_and_a_later_word_replaces_the_former() -> None:
    changes: list[None] = []
    table = LabelsTable(lambda: changes.append(None))
    assert table.apply(learn("a:1", [label(), label("pdf")]), SOMEWHERE) == 2
    assert table.apply(learn("b:1", [label()]), SOMEWHERE) == 3
    assert table.apply(learn("a:1", [label(lane=Lane.CPU_LONG)]), SOMEWHERE) == 3
    assert table.rows[LabelKey("thumb", "", "a:1")].lane is Lane.CPU_LONG
    assert learnt_by(table.rows, "b:1") == {("thumb", ""): label()}
    assert len(changes) == 3
    # And the same word again is no news.
    table.apply(learn("b:1", [label()]), SOMEWHERE)
    assert len(changes) == 3


def test_the_lane_with_most_samples_over_all_nodes_routes() -> None:
    table = table_of(
        ("a:1", label(lane=Lane.CPU_SHORT, samples=60)),
        ("b:1", label(lane=Lane.CPU_SHORT, samples=60)),
        ("c:1", label(lane=Lane.CPU_LONG, samples=100)),
    )
    assert routed(table) == [("thumb", "", Lane.CPU_SHORT, 120)]


def test_a_tie_goes_to_long() -> None:
    for lanes in ([Lane.IO_SHORT, Lane.CPU_LONG], [Lane.CPU_LONG, Lane.IO_SHORT]):
        table = table_of(("a:1", label(lane=lanes[0])), ("b:1", label(lane=lanes[1])))
        assert routed(table) == [("thumb", "", Lane.CPU_LONG, 100)]


def test_the_mean_of_a_routing_label_is_that_of_all_runs_in_its_lane() -> None:
    table = table_of(
        ("a:1", label(samples=300, mean_s=0.010, why="most")),
        ("b:1", label(samples=100, mean_s=0.030, why="less")),
        ("c:1", label(samples=10, mean_s=9.0, lane=Lane.CPU_LONG)),
    )
    [routing] = routing_labels(table.rows)
    assert (routing.mean_s, routing.why) == (pytest.approx(0.015), "most")


def test_kinds_are_routed_apart() -> None:
    table = table_of(("a:1", label(kind="small")), ("a:1", label(kind="4k", lane=Lane.CPU_LONG)))
    assert routed(table) == [
        ("thumb", "4k", Lane.CPU_LONG, 100),
        ("thumb", "small", Lane.CPU_SHORT, 100),
    ]


def test_a_node_that_left_no_longer_votes() -> None:
    table = table_of(("a:1", label(lane=Lane.CPU_LONG, samples=9_000)), ("b:1", label()))
    assert table.apply(forget(["a:1", "never:1"]), SOMEWHERE) == 1
    assert routed(table) == [("thumb", "", Lane.CPU_SHORT, 100)]


def test_when_full_the_oldest_row_of_the_handler_with_most_rows_goes() -> None:
    table = LabelsTable(rows_max=5)
    table.apply(learn("a:1", [label("mail"), label("pdf")]), SOMEWHERE)
    for number in range(20):
        assert table.apply(learn("a:1", [label("user", kind=str(number))]), SOMEWHERE) <= 5
    assert [(key.handler, key.kind) for key in table.rows] == [
        ("mail", ""),
        ("pdf", ""),
        ("user", "17"),
        ("user", "18"),
        ("user", "19"),
    ]


def test_the_bound_of_a_real_table_is_kept_and_a_snapshot_of_it_has_small_pieces() -> None:
    table = LabelsTable()
    for number in range(0, ROWS_MAX + 320, 32):
        kinds = [label(kind=str(number + place), why="w" * 300) for place in range(32)]
        table.apply(learn("a:1", kinds), SOMEWHERE)
    assert len(table.rows) == ROWS_MAX
    assert max(len(piece) for piece in table.freeze()) < 200_000


def test_a_snapshot_shows_the_moment_it_was_asked_for() -> None:
    table = table_of(("a:1", label()), ("b:1", label("pdf")))
    pieces = table.freeze()
    table.apply(learn("a:1", [label("later")]), SOMEWHERE)
    copy = LabelsTable()
    copy.load(list(pieces), 1)
    assert list(copy.rows) == [LabelKey("thumb", "", "a:1"), LabelKey("pdf", "", "b:1")]


def test_a_snapshot_from_before_the_table_existed_is_an_empty_table() -> None:
    table = table_of(("a:1", label()))
    table.load([], 0)
    assert dict(table.rows) == {}


def test_a_snapshot_that_cannot_be_read_is_an_error_with_a_sentence() -> None:
    for row in (["thumb"], [1, "", "cpu-short", "", 0.0, 0.0, 0.0, 1]):
        with pytest.raises(ValueError, match="cannot be read"):
            LabelsTable().load([msgpack.packb([["a:1", row]])], 1)


GOOD = learn("a:1", [label()])[3][0]


def broken(place: int, value: object) -> list[Any]:
    row = list(GOOD)
    row[place] = value
    return [OPCODE, "learn", "a:1", [GOOD, row]]


@pytest.mark.parametrize(
    "command",
    [
        [OPCODE],
        [OPCODE, "learn"],
        [OPCODE, "learn", "a:1", []],
        [OPCODE, "learn", "", [GOOD]],
        [OPCODE, "learn", 7, [GOOD]],
        [OPCODE, "learn", "n" * 256, [GOOD]],
        [OPCODE, "learn", "a:1", [GOOD] * 33],
        [OPCODE, "learn", "a:1", [None]],
        [OPCODE, "learn", "a:1", [GOOD[:-1]]],
        [OPCODE, "learn", "a:1", {"a": 1}],
        [OPCODE, "forget", "a:1"],
        [OPCODE, "forget", [1]],
        [OPCODE, "unlearn", ["a:1"]],
        broken(0, ""),
        broken(0, "h" * 201),
        broken(1, "k" * 201),
        broken(1, None),
        broken(2, "gpu-short"),
        broken(3, "w" * 301),
        broken(4, math.nan),
        broken(4, -1.0),
        broken(5, math.inf),
        broken(6, "0.1"),
        broken(7, -1),
        broken(7, 1 << 60),
        broken(7, 1.5),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(command: list[Any]) -> None:
    table = table_of(("a:1", label("kept")))
    before = table.rows
    with pytest.raises(CommandRefused):
        table.apply(command, SOMEWHERE)
    assert table.rows is before


def test_a_reason_that_is_too_long_is_cut_by_who_tells_it() -> None:
    table = table_of(("a:1", label(why="w" * 1000)))
    assert len(table.rows[LabelKey("thumb", "", "a:1")].why) == 300


def test_what_was_read_once_never_changes() -> None:
    table = table_of(("a:1", label()))
    seen = table.rows
    kept: dict[LabelKey, Label] = dict(seen)
    changes: list[Callable[[], Any]] = [
        lambda: table.apply(learn("a:1", [replace(label(), samples=5)]), SOMEWHERE),
        lambda: table.apply(forget(["a:1"]), SOMEWHERE),
        lambda: table.load([], 0),
    ]
    for change in changes:
        change()
        assert dict(seen) == kept
