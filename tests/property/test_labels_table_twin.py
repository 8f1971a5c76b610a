"""The table of labels against a naive twin, and two replicas against each other: one from the beginning, one from a snapshot on the way."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.tables.labels import LabelsTable, forget, learn, routing_labels
from consensus import CommandRefused, Context
from consensus.ledger.commands import Entry, Opcode, encode_entry
from consensus.ledger.machine import LedgerMachine
from executor import Label, Lane

pytestmark = pytest.mark.unit
ROWS_MAX = 6

_nothing: Any = None
SOMEWHERE = Context(proposer=1, time_ms=0, sessions=_nothing, blocks=_nothing, executed=_nothing)
names = st.sampled_from(["a", "b", "c"])
labels = st.builds(
    Label,
    handler=names,
    kind=st.sampled_from(["", "x", "y"]),
    lane=st.sampled_from(Lane),
    why=st.just("why"),
    mean_s=st.floats(0.0, 100.0),
    p95_s=st.floats(0.0, 100.0),
    cpu_s=st.floats(0.0, 100.0),
    samples=st.integers(0, 4),
)
commands = st.one_of(
    st.builds(lambda node, told: learn(f"{node}:1", told), names, st.lists(labels, min_size=1, max_size=4)),
    st.builds(lambda nodes: forget(f"{node}:1" for node in nodes), st.lists(names, max_size=1)),
    st.just([64, "learn", "a:1", [["broken"]]]),
)
plain_data = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats()
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


class NaiveTwin:
    """A list of rows, the oldest first."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, Label]] = []

    def apply(self, command: list[Any]) -> None:
        before = list(self.rows)
        match command:
            case [_, "forget", nodes]:
                self.rows = [(node, label) for node, label in self.rows if node not in nodes]
            case [_, "learn", node, [["broken"]]]:
                pass
            case [_, "learn", node, told]:
                for row in told:
                    handler, kind, lane, why, mean_s, p95_s, cpu_s, samples = row
                    label = Label(
                        handler=handler,
                        kind=kind,
                        lane=Lane(lane),
                        why=why,
                        mean_s=mean_s,
                        p95_s=p95_s,
                        cpu_s=cpu_s,
                        samples=samples,
                    )
                    self.rows = [
                        (other, each)
                        for other, each in self.rows
                        if (other, each.handler, each.kind) != (node, handler, kind)
                    ]
                    self.rows.append((node, label))
                while len(self.rows) > ROWS_MAX:
                    handlers = [label.handler for _, label in self.rows]
                    most = max(sorted(set(handlers)), key=lambda each: (handlers.count(each), each))
                    del self.rows[handlers.index(most)]
        if sorted(before, key=repr) == sorted(self.rows, key=repr):
            self.rows = before


@given(st.lists(commands, max_size=30))
def test_the_table_holds_what_the_naive_twin_holds_in_its_order(given_commands: list[list[Any]]) -> None:
    table, twin = LabelsTable(rows_max=ROWS_MAX), NaiveTwin()
    for command in given_commands:
        try:
            table.apply(command, SOMEWHERE)
        except CommandRefused:
            assert command[3] == [["broken"]]
        twin.apply(command)
        assert [(key.node, label) for key, label in table.rows.items()] == twin.rows
        assert all((key.handler, key.kind) == (each.handler, each.kind) for key, each in table.rows.items())


@given(st.lists(commands, max_size=20))
def test_the_routing_label_is_the_lane_with_most_samples(given_commands: list[list[Any]]) -> None:
    table = LabelsTable()
    for command in given_commands:
        if command[-1] != [["broken"]]:
            table.apply(command, SOMEWHERE)
    routing = {(label.handler, label.kind): label for label in routing_labels(table.rows)}
    assert routing.keys() == {(key.handler, key.kind) for key in table.rows}
    for place, label in routing.items():
        rows = [each for key, each in table.rows.items() if (key.handler, key.kind) == place]
        votes = {lane: sum(max(1, each.samples) for each in rows if each.lane is lane) for lane in Lane}
        assert votes[label.lane] == max(votes.values())
        tied = [lane for lane in Lane if votes[lane] == votes[label.lane]]
        assert label.lane.is_long or not any(lane.is_long for lane in tied)
        means = [each.mean_s for each in rows if each.lane is label.lane]
        assert min(means) * (1 - 1e-9) <= label.mean_s <= max(means) * (1 + 1e-9)


@given(st.lists(commands, max_size=30), st.integers(0, 30))
def test_two_replicas_agree_also_when_one_begins_with_a_snapshot(
    given_commands: list[list[Any]], at: int
) -> None:
    alone = LabelsTable(rows_max=ROWS_MAX)
    first, tables = LabelsTable(rows_max=ROWS_MAX), [LabelsTable(rows_max=ROWS_MAX) for _ in range(2)]
    machines = [LedgerMachine([first]), LedgerMachine([tables[0]])]
    late = LedgerMachine([tables[1]])
    opens = [Opcode.OPEN_SESSION, "a:1", machines[0].sessions.next_nonce("a:1")]
    for seq, command in enumerate((opens, *given_commands), 1):
        data = encode_entry(Entry(7, seq, 0, 0, [command]))
        answers = [machine.apply(data, 1) for machine in machines]
        assert answers[0] == answers[1]
        if seq > 1 and command[-1] != [["broken"]]:
            alone.apply(command, SOMEWHERE)
        if seq == min(at, len(given_commands)) + 1:
            late.load(list(machines[0].freeze()))
            machines.append(late)
        assert len({machine.hash for machine in machines}) == 1
    orders = [list(table.rows.items()) for table in (first, *tables)]
    assert list(alone.rows.items()) == orders[0] == orders[1] == orders[2]
    assert len({tuple(machine.freeze()) for machine in machines}) == 1


@given(st.lists(plain_data, max_size=4))
def test_no_data_whatever_makes_it_raise_anything_but_a_refusal(fields: list[Any]) -> None:
    table = LabelsTable()
    for command in (
        [64, *fields],
        [64, "learn", *fields],
        [64, "learn", "a:1", fields],
        [64, "forget", fields],
    ):
        try:
            table.apply(command, SOMEWHERE)
        except CommandRefused:
            assert dict(table.rows) == {}
