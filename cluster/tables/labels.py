"""Labels: what each node has learnt of each (handler, kind), replicated, so that every node routes alike and a new one starts wise.

A node tells its own rows; the *routing label* of (handler, kind) is the lane with most samples over all nodes, ties to long. The rows of a
node that left the group are forgotten, or they would vote for ever.
The rows are one mapping that is replaced as a whole and never changed: any thread may read it, and freezing it costs nothing. Its order is
that of learning. When it is full, the row that was learnt longest ago goes, of the handler that has most of them: so a caller who makes up
kinds without end drives out nobody else's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import msgpack

from consensus import CommandRefused, Context
from executor import Label, Lane

OPCODE = 64
LEARN, FORGET = "learn", "forget"
ROWS_MAX = 10_000  # about 3 MB; a handler has at most 65 rows from each node
ROWS_A_COMMAND_MAX = 32
NAME_CHARACTERS_MAX = 200  # of a handler, as in the executor; of a kind alike
NODE_CHARACTERS_MAX = 255  # as in the ledger
WHY_CHARACTERS_MAX = 300
SECONDS_MAX = 1e9
SAMPLES_MAX = 1 << 53
PIECE_ROWS = 256

_LANES = {lane.value: lane for lane in Lane}


class LabelKey(NamedTuple):
    handler: str
    kind: str
    node: str  # its address in the group


Rows = Mapping[LabelKey, Label]


class LabelsTable:
    """`rows` may be read by any thread. `on_change` is called on the ledger's thread and must only set or queue."""

    name = "labels"
    version = 1
    opcodes = (OPCODE,)

    def __init__(self, on_change: Callable[[], None] = lambda: None, *, rows_max: int = ROWS_MAX) -> None:
        self.rows: Rows = MappingProxyType({})
        self._on_change = on_change
        self._rows_max = rows_max

    def apply(self, command: list[Any], context: Context) -> Any:
        """-> how many rows there are now."""
        match command:
            case [int(), "learn", str(node), list(told)] if (
                0 < len(node) <= NODE_CHARACTERS_MAX and 0 < len(told) <= ROWS_A_COMMAND_MAX
            ):
                rows = self._learnt(node, [_label(row) for row in told])
            case [int(), "forget", list(nodes)] if all(isinstance(node, str) for node in nodes):
                gone = frozenset(nodes)
                rows = {key: label for key, label in self.rows.items() if key.node not in gone}
            case _:
                raise CommandRefused(
                    f"labels come from a node by name, 1 to {ROWS_A_COMMAND_MAX} at a time; or name the nodes to forget"
                )
        self._replace(rows)
        return len(rows)

    def freeze(self) -> Iterator[bytes]:
        return _pieces(self.rows)

    def load(self, pieces: Sequence[bytes], version: int) -> None:
        rows = {}
        for piece in pieces:
            for node, row in msgpack.unpackb(piece):
                try:
                    label = _label(row)
                except CommandRefused as error:
                    raise ValueError(f"a label in the snapshot cannot be read: {error}") from None
                rows[LabelKey(label.handler, label.kind, str(node))] = label
        self._replace(rows)

    def _learnt(self, node: str, labels: Sequence[Label]) -> dict[LabelKey, Label]:
        rows = dict(self.rows)
        for label in labels:
            key = LabelKey(label.handler, label.kind, node)
            rows.pop(key, None)  # the newest stands last
            rows[key] = label
        counts = Counter(key.handler for key in rows)
        while len(rows) > self._rows_max:
            crowded = max(counts, key=lambda handler: (counts[handler], handler))
            del rows[next(key for key in rows if key.handler == crowded)]
            counts[crowded] -= 1
        return rows

    def _replace(self, rows: dict[LabelKey, Label]) -> None:
        if rows != self.rows:
            self.rows = MappingProxyType(rows)
            self._on_change()


def learn(node: str, labels: Iterable[Label]) -> list[Any]:
    """For `KeyService.command`."""
    return [OPCODE, LEARN, node, [_row(label) for label in labels]]


def forget(nodes: Iterable[str]) -> list[Any]:
    """For `KeyService.command`: nodes that left the group."""
    return [OPCODE, FORGET, sorted(nodes)]


def learnt_by(rows: Rows, node: str) -> dict[tuple[str, str], Label]:
    """(handler, kind) -> what this node has told."""
    return {(key.handler, key.kind): label for key, label in rows.items() if key.node == node}


def routing_labels(rows: Rows) -> list[Label]:
    """One label for each (handler, kind), by all nodes: by it a task is routed, and a node begins."""
    groups: dict[tuple[str, str], list[Label]] = {}
    for key, label in rows.items():
        groups.setdefault((key.handler, key.kind), []).append(label)
    return [_routing_label(group) for _, group in sorted(groups.items())]


def _routing_label(labels: Sequence[Label]) -> Label:
    votes = Counter[Lane]()
    for label in labels:
        votes[label.lane] += max(label.samples, 1)
    lane = max(votes, key=lambda each: (votes[each], each.is_long, each.value))
    chosen = [label for label in labels if label.lane is lane]
    first = max(chosen, key=lambda label: (label.samples, label.why))
    if len(chosen) == 1:
        return first
    weights = [max(label.samples, 1) for label in chosen]
    return Label(
        handler=first.handler,
        kind=first.kind,
        lane=lane,
        why=first.why,
        mean_s=_weighed([label.mean_s for label in chosen], weights),
        p95_s=max(label.p95_s for label in chosen),
        cpu_s=_weighed([label.cpu_s for label in chosen], weights),
        samples=sum(label.samples for label in chosen),
    )


def _weighed(values: Sequence[float], weights: Sequence[int]) -> float:
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)


def _row(label: Label) -> list[Any]:
    return [
        label.handler,
        label.kind,
        label.lane.value,
        label.why[:WHY_CHARACTERS_MAX],
        label.mean_s,
        label.p95_s,
        label.cpu_s,
        label.samples,
    ]


def _label(row: Any) -> Label:
    """Raises `CommandRefused`."""
    match row:
        case [str(handler), str(kind), str(lane), str(why), mean_s, p95_s, cpu_s, int(samples)] if (
            0 < len(handler) <= NAME_CHARACTERS_MAX
            and len(kind) <= NAME_CHARACTERS_MAX
            and lane in _LANES
            and len(why) <= WHY_CHARACTERS_MAX
            and all(_is_seconds(value) for value in (mean_s, p95_s, cpu_s))
            and 0 <= samples <= SAMPLES_MAX
        ):
            return Label(
                handler=handler,
                kind=kind,
                lane=_LANES[lane],
                why=why,
                mean_s=float(mean_s),
                p95_s=float(p95_s),
                cpu_s=float(cpu_s),
                samples=int(samples),
            )
        case _:
            raise CommandRefused(f"no label can be read from {str(row)[:100]!r}")


def _is_seconds(value: Any) -> bool:
    return isinstance(value, (int, float)) and 0 <= value <= SECONDS_MAX


def _pieces(rows: Rows) -> Iterator[bytes]:
    items = list(rows.items())
    for start in range(0, len(items), PIECE_ROWS):
        part = [[key.node, _row(label)] for key, label in items[start : start + PIECE_ROWS]]
        yield bytes(msgpack.packb(part))
