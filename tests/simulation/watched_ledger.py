"""The real ledger, with one ear in it: the judges hear of every entry that any node applies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from consensus.ledger.machine import Applied, LedgerMachine
from tests.simulation.tally import Tally

if TYPE_CHECKING:
    from tests.simulation.node import SimNode


class WatchedLedger(LedgerMachine):
    def __init__(self, node: SimNode) -> None:
        self.tally = Tally()
        super().__init__((self.tally,))
        self._node = node

    def apply(self, entry: bytes, term: int) -> Applied:
        applied = super().apply(entry, term)
        self._node.cluster.judges.applied(self._node, entry, term, applied)
        return applied

    def load(self, sections: Iterable[tuple[str, bytes]]) -> None:
        super().load(sections)
        self._node.snapshot_received()
