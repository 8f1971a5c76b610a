"""Judges of the calls: what a caller heard against what is true in the end.

A call is committed, refused or unknown; "lost" is a call whose process died with it, which says as little as unknown.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.simulation.judges_raft import Violation

if TYPE_CHECKING:
    from tests.simulation.judges_ledger import NotedOnce
    from tests.simulation.node import SimNode

LATE_S = 0.1  # a tick and its work


class Heard(enum.Enum):
    OPEN = "open"
    COMMITTED = "committed"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    LOST = "lost with its process"


@dataclass(slots=True, kw_only=True)
class Record:
    """One call of one client. `number` is its number in the tally, 0 for other calls."""

    id: int
    what: str
    node: str
    life: int
    started_s: float
    deadline: float  # on the node's own clock
    number: int = 0
    noted_before: int = 0  # how many notes, and executed keys, anybody had applied when the call began
    executed_before: int = 0
    heard: Heard = Heard.OPEN
    answer: Any = None
    why: str = ""
    ended_s: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)


class EachCallEndsOnce:
    """I8, first half: a call ends once, by its deadline, as long as its process runs."""

    name = "I8"

    def __init__(self) -> None:
        self._open: dict[str, dict[int, Record]] = {}

    def began(self, record: Record) -> None:
        self._open.setdefault(record.node, {})[record.id] = record

    def ended(self, record: Record) -> None:
        if self._open[record.node].pop(record.id, None) is None:
            raise Violation(self.name, f"call {record.id} ({record.what}) ends a second time")

    def stepped(self, node: SimNode) -> None:
        """Called after a step: whatever was due before the step began must have ended in it."""
        waiting = self._open.get(node.name)
        if waiting:
            now = node.clock.boot_s + node.cluster.timeline.now_s - LATE_S
            for record in waiting.values():
                if record.deadline < now:
                    raise Violation(
                        self.name,
                        f"call {record.id} ({record.what}) of {node.name}, begun at {record.started_s:.3f} s, is still open",
                    )

    def crashed(self, name: str) -> list[Record]:
        """They died with their process."""
        return list(self._open.pop(name, {}).values())

    def still_open(self) -> list[Record]:
        return [record for waiting in self._open.values() for record in waiting.values()]


class AnswersAreTrue:
    """I6: what was answered stands, with that answer, in the history. I7: what was refused never does."""

    name = "I6"

    def __init__(self, noted: NotedOnce) -> None:
        self._noted = noted
        self.records: list[Record] = []

    def ended(self, record: Record) -> None:
        if record.number:
            self.records.append(record)
            self._judge(record)

    def healed(self) -> None:
        for record in self.records:
            self._judge(record)

    def _judge(self, record: Record) -> None:
        place = self._noted.places.get(record.number)
        if record.heard is Heard.COMMITTED and place != record.answer:
            raise Violation(
                self.name,
                f"call {record.number} at {record.node} was told place {record.answer}, the history says {place}",
            )
        if record.heard is Heard.REFUSED and place is not None:
            raise Violation(
                "I7", f"call {record.number} at {record.node} was refused ({record.why}) and took effect"
            )


class ReadsSeeTheCommitted:
    """I13: a read behind a barrier sees all that was committed anywhere before the call."""

    name = "I13"

    def ended(self, record: Record, noted: int, executed: int) -> None:
        if record.what != "barrier" or record.heard is not Heard.COMMITTED:
            return
        if noted < record.noted_before or executed < record.executed_before:
            raise Violation(
                self.name,
                f"behind its barrier {record.node} reads {noted} notes and {executed} executed keys, before the call there "
                f"were {record.noted_before} and {record.executed_before}",
            )


class BlocksOnce:
    """I9 as callers hear it: no two blocks overlap, and keys rise within a session."""

    name = "I9"

    def __init__(self) -> None:
        self._taken: dict[int, int] = {}  # first key -> end
        self._last: dict[int, int] = {}  # session -> end of its last block

    def ended(self, record: Record, session: int | None) -> None:
        if record.what != "reserve" or record.heard is not Heard.COMMITTED:
            return
        block: range = record.answer
        if block.start in self._taken:
            raise Violation(self.name, f"block {block} was handed out twice")
        self._taken[block.start] = block.stop

    def healed(self) -> None:
        end = 0
        for first in sorted(self._taken):
            if first < end:
                raise Violation(self.name, f"the block from key {first} overlaps the one that ends at {end}")
            end = self._taken[first]
