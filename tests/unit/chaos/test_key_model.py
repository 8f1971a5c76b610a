"""The specification and the ledger were written apart; here they meet: whatever the real ledger answers, the judge believes.

Random commands are applied to a `LedgerMachine` one after the other; each is given an interval around the moment in which it was
applied, wide enough to overlap its neighbours, and some answers get lost. A disagreement is a fault of one of the two.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus import operations
from consensus.ledger.commands import Entry, Opcode, encode_entry
from consensus.ledger.machine import LedgerMachine
from consensus.operations import Operation
from tests.chaos.blocks import judge_blocks
from tests.chaos.history import RecordedCall
from tests.chaos.key_history import judge_keys

pytestmark = pytest.mark.unit

STEP = 10  # between two applied commands
KEYS = 3
NODES = 3


class World:
    """A ledger without a network, and what its callers would have recorded."""

    def __init__(self) -> None:
        self._machine = LedgerMachine()
        self._seqs = [0] * NODES
        self._opened: list[list[tuple[int, int]]] = [[] for _ in range(NODES)]  # (moment, session)
        self._now = 0
        self.calls: list[RecordedCall] = []
        for node in range(NODES):
            self.open(node)
        self.ask(0, "reserve", {"count": KEYS}, operations.reserve(KEYS), 0, 0)

    def _apply(self, node: int, command: list[Any]) -> Any:
        self._now += STEP
        self._seqs[node] += 1
        entry = Entry(1000 + node, self._seqs[node], self._seqs[node], 0, [command])
        answers = self._machine.apply(encode_entry(entry), 1).answers
        assert answers is not None
        return answers[0]

    def open(self, node: int) -> None:
        nonce = self._machine.sessions.next_nonce(f"n{node}")
        session = self._apply(node, [Opcode.OPEN_SESSION, f"n{node}", nonce])
        self._opened[node].append((self._now, session))

    def close(self, node: int, other: int) -> None:
        """What a leader on `other` does when the lease of `node` is over: that node does not know yet."""
        self._apply(other, [Opcode.CLOSE_SESSION, self.session(node, self._now)])

    def session(self, node: int, moment: int) -> int:
        return next((s for at, s in reversed(self._opened[node]) if at <= moment), self._opened[node][0][1])

    def holder(self, key: int) -> tuple[int, int] | None:
        """(node, attempt) of the entry, whoever's session that was."""
        claim = self._machine.claims.get(key)
        nodes = [
            node
            for node, opened in enumerate(self._opened)
            if claim is not None and claim.session in [session for _, session in opened]
        ]
        return None if claim is None else (nodes[0], claim.attempt)

    def ask(
        self,
        node: int,
        name: str,
        arguments: dict[str, Any],
        operation: Operation[Any],
        before: int,
        after: int | None,
    ) -> None:
        """`before`, `after`: how far the call reaches beyond the moment in which it is applied; None: its answer is lost."""
        raw = self._apply(node, operation.command(self.session(node, self._now)))
        if isinstance(raw, dict):
            return  # refused: dropped
        invoked = self._now - before
        returned = None if after is None else self._now + after
        self.calls.append(
            RecordedCall(
                node=f"n{node}",
                operation=name,
                arguments=arguments,
                answer=None if returned is None else _plain(operation.read(raw)),
                invoked_ns=invoked,
                returned_ns=returned,
                session=self.session(node, invoked),
                session_after=None,
            )
        )

    def read(self, node: int, key: int, before: int, after: int) -> None:
        self._now += STEP
        self.calls.append(
            RecordedCall(
                node=f"n{node}",
                operation="is_executed",
                arguments={"keys": [key]},
                answer=[key in self._machine.executed],
                invoked_ns=self._now - before,
                returned_ns=self._now + after,
                session=None,
                session_after=None,
            )
        )

    def history(self) -> list[RecordedCall]:
        """With what each caller held at the end of its call, which only now is known."""
        return [
            RecordedCall(
                **{
                    **{name: getattr(call, name) for name in RecordedCall.__slots__},
                    "session_after": None
                    if call.returned_ns is None
                    else self.session(int(call.node[1:]), call.returned_ns),
                }
            )
            for call in self.calls
        ]


def _plain(answer: Any) -> Any:
    if isinstance(answer, range):
        return [answer.start, answer.stop]
    return [
        one
        if isinstance(one, bool)
        else [one.kind.name.lower(), one.attempt, one.session]
        if hasattr(one, "kind")
        else one.value
        for one in answer
    ]


PLACES = {
    "node": st.integers(0, NODES - 1),
    "before": st.integers(0, 4 * STEP),
    "after": st.one_of(st.integers(0, 4 * STEP), st.integers(0, 4 * STEP), st.none()),
    "keys": st.lists(st.integers(1, KEYS), min_size=1, max_size=2, unique=True),
    "number": st.integers(0, 3),
    "aimed": st.sampled_from([True, True, False]),
}
STEPS = st.fixed_dictionaries(
    {
        "what": st.sampled_from(
            ["claim"] * 6
            + ["fail", "fail", "release", "execute", "execute claimed", "execute claimed"]
            + ["read", "read", "reserve", "open", "close"]
        ),
        **PLACES,
    }
)


def take(
    world: World,
    *,
    what: str,
    node: int,
    before: int,
    after: int | None,
    keys: list[int],
    number: int,
    aimed: bool,
) -> None:
    """`aimed`: by who holds the first key, with its attempt; random numbers rarely meet."""
    if aimed:
        node, number = world.holder(keys[0]) or (node, number)
    pairs = [(key, number) for key in sorted(keys)]
    match what:
        case "claim":
            world.ask(node, "claim", {"pairs": pairs}, operations.claim(pairs), before, after)
        case "fail":
            world.ask(node, "fail", {"pairs": pairs}, operations.fail(pairs), before, after)
        case "release":
            world.ask(node, "release", {"pairs": pairs}, operations.release(pairs), before, after)
        case "execute":
            world.ask(
                node, "execute", {"keys": sorted(keys)}, operations.execute(sorted(keys)), before, after
            )
        case "execute claimed":
            world.ask(node, "execute", {"pairs": pairs}, operations.execute(pairs), before, after)
        case "reserve":
            world.ask(node, "reserve", {"count": 1 + number}, operations.reserve(1 + number), before, after)
        case "read":
            world.read(node, keys[0], before, after or 0)
        case "open":
            world.open(node)
        case "close":
            world.close(node, (node + 1) % NODES)


@given(st.lists(STEPS, min_size=8, max_size=25))
@settings(max_examples=300)
def test_what_the_ledger_answers_is_believed(steps: list[dict[str, Any]]) -> None:
    world = World()
    for step in steps:
        take(world, **step)
    history = world.history()
    assert judge_keys(history).faults == ()
    assert judge_blocks(history) == []
