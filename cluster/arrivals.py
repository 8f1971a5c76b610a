"""From the records of one place to events: decoded, known as executed or not, and asked of operators and labels (pure).

Nearly always all records of a batch are plain and simply run; then a batch costs one pass over its columns. A record that is no task, one
of a paused or purged handler, or one that lies in another lane than its handler's, is looked at by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cluster.envelope import Columns, Envelope, decode_columns, decode_envelope, decode_key, decode_keys
from cluster.errors import RecordError
from cluster.flow_events import Delivered, Drop, Event, Forward, Place, Undecodable, Way
from cluster.gate import Gate, Verdict
from cluster.parked import encode_parked
from cluster.routing import parked_topic, task_topic
from executor import Lane

NO_AFTERS: Mapping[int, int] = {}


class Arrivals:
    """`executed(keys)`: which of them stand in the executed set. `gate()`: what operators say now. `lane_of(handler, kind)`: where the
    cluster routes it now; None leaves every task in the lane in which it was found. `room(lane)`: what this node's executor takes."""

    def __init__(
        self,
        prefix: str,
        *,
        executed: Callable[[Sequence[int]], list[bool]],
        gate: Callable[[], Gate],
        lane_of: Callable[[str, str], Lane] | None,
        room: Callable[[Lane], int],
    ) -> None:
        self._prefix, self._executed = prefix, executed
        self._gate, self._lane_of, self._room = gate, lane_of, room
        self.parked = 0
        self.moved = 0

    def events(
        self,
        place: Place,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        offsets: Sequence[int],
    ) -> list[Event]:
        numbers, columns = decode_keys(keys), decode_columns(values)
        if numbers is not None and columns is not None:
            return [self._delivered(place, numbers, offsets, values, columns)]  # type: ignore[arg-type]
        events: list[Event] = []
        good: list[tuple[int, int, bytes, tuple[str, str, bytes, int]]] = []
        afters: dict[int, int] = {}
        for raw_key, value, offset in zip(keys, values, offsets, strict=True):
            try:
                key, one = decode_key(raw_key), decode_envelope(value)
            except RecordError as error:
                events.append(
                    Undecodable(
                        raw_key=raw_key or b"",
                        value=value or b"",
                        reason=str(error),
                        place=place,
                        offset=offset,
                    )
                )
            else:
                row = (one.handler, one.kind, one.arguments, one.submitted_ms)
                good.append((key, offset, value or b"", row))
                if one.after:
                    afters[key] = one.after
        if good:
            some_keys, some_offsets, some_values, rows = zip(*good, strict=True)
            some_columns = Columns(*zip(*rows, strict=True))
            events.append(self._delivered(place, some_keys, some_offsets, some_values, some_columns, afters))
        return events

    def way_again(self, place: Place, value: bytes, envelope: Envelope) -> Way | None:
        """Of a task that the executor gave back: operators may have spoken meanwhile. None: it runs."""
        return self._way(self._gate(), place, value, envelope.handler, envelope.kind, envelope.submitted_ms)

    def _delivered(
        self,
        place: Place,
        keys: Sequence[int],
        offsets: Sequence[int],
        values: Sequence[bytes],
        columns: Columns,
        afters: Mapping[int, int] = NO_AFTERS,
    ) -> Delivered:
        executed = self._executed(keys)
        return Delivered(
            place=place,
            keys=keys,
            offsets=offsets,
            values=values,
            columns=columns,
            executed={key for key, is_so in zip(keys, executed, strict=True) if is_so}
            if any(executed)
            else frozenset(),
            ways=self._ways(place, keys, values, columns),
            afters=afters,
        )

    def _ways(
        self, place: Place, keys: Sequence[int], values: Sequence[bytes], columns: Columns
    ) -> Mapping[int, Way]:
        """Of records that are not simply to run; only the few pairs of handler and kind are looked at unless one of them is noted."""
        gate = self._gate()
        pairs = set(zip(columns.handlers, columns.kinds, strict=True))
        noted = {pair for pair in pairs if not gate.is_plain(pair[0]) or self._elsewhere(place, *pair)}
        if not noted:
            return {}
        ways = {}
        for key, value, handler, kind, _, submitted_ms in zip(keys, values, *columns, strict=True):
            if (handler, kind) in noted:
                way = self._way(gate, place, value, handler, kind, submitted_ms)
                if way is not None:
                    ways[key] = way
        return ways

    def _elsewhere(self, place: Place, handler: str, kind: str) -> Lane | None:
        """Its lane, if that is another one by now and this node has no room for it there."""
        lane = None if self._lane_of is None else self._lane_of(handler, kind)
        return None if lane is None or lane == place.lane or self._room(lane) > 0 else lane

    def _way(
        self, gate: Gate, place: Place, value: bytes, handler: str, kind: str, submitted_ms: int
    ) -> Way | None:
        match gate.judge(handler, place.lane, submitted_ms):
            case Verdict.DROP:
                return Drop()
            case Verdict.PARK:
                self.parked += 1
                return Forward(topic=parked_topic(self._prefix), value=encode_parked(place.topic, value))
            case Verdict.RUN if (lane := self._elsewhere(place, handler, kind)) is not None:
                self.moved += 1
                return Forward(topic=task_topic(self._prefix, lane, place.priority), value=value)
            case Verdict.RUN:
                return None
