"""The table of limits and the gate against a naive twin: a list of all that was ever asked, searched from its end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.gate import Gate, Verdict
from cluster.tables.limits import LimitsTable, Verb, command
from consensus import Context

pytestmark = pytest.mark.unit

SUBJECTS = ["handler:a", "handler:b", "lane:cpu-short", "lane:io-long"]
ASKED = st.lists(
    st.tuples(st.sampled_from(list(Verb)), st.sampled_from(SUBJECTS), st.integers(1, 3), st.integers(0, 50)),
    max_size=40,
)

Asked = list[tuple[Verb, str, int, int]]


def after(asked: Asked) -> LimitsTable:
    nothing: Any = None
    table = LimitsTable()
    for verb, subject, value, time_ms in asked:
        where = Context(proposer=1, time_ms=time_ms, sessions=nothing, blocks=nothing, executed=nothing)
        table.apply(command(verb, subject, value if verb is Verb.SET else None, "x"), where)
    return table


def last(asked: Asked, subject: str, verbs: tuple[Verb, ...]) -> tuple[Verb, int] | None:
    found = [(verb, value) for verb, of, value, _ in asked if of == subject and verb in verbs]
    return found[-1] if found else None


@given(ASKED)
def test_what_is_in_force_is_what_was_asked_last(asked: Asked) -> None:
    state = after(asked).state
    for subject in SUBJECTS:
        number = last(asked, subject, (Verb.SET, Verb.CLEAR))
        assert state.value(subject) == (number[1] if number and number[0] is Verb.SET else None)
        pause = last(asked, subject, (Verb.PAUSE, Verb.RESUME))
        assert (subject in state.paused) == (pause is not None and pause[0] is Verb.PAUSE)
        purges = [time_ms for verb, of, _, time_ms in asked if of == subject and verb is Verb.PURGE]
        assert (state.purged[subject].at_ms if subject in state.purged else None) == max(purges, default=None)


@given(ASKED)
def test_a_snapshot_in_between_changes_nothing(asked: Asked) -> None:
    table = after(asked)
    copy = LimitsTable()
    copy.load(list(table.freeze()), table.version)
    assert copy.state == table.state


@given(
    ASKED,
    st.sampled_from(["a", "b", "plain"]),
    st.sampled_from(["cpu-short", "io-long", "io-short"]),
    st.integers(0, 60),
)
def test_the_gate_drops_what_was_purged_parks_what_is_paused_and_runs_the_rest(
    asked: Asked, handler: str, lane: str, submitted_ms: int
) -> None:
    gate = Gate.of(after(asked).state)
    purged = any(
        verb is Verb.PURGE and subject in (f"handler:{handler}", f"lane:{lane}") and submitted_ms <= time_ms
        for verb, subject, _, time_ms in asked
    )
    pause = last(asked, f"handler:{handler}", (Verb.PAUSE, Verb.RESUME))
    is_paused = pause is not None and pause[0] is Verb.PAUSE
    naive = Verdict.DROP if purged else Verdict.PARK if is_paused else Verdict.RUN
    assert gate.judge(handler, lane, submitted_ms) is naive
    if gate.is_plain(handler):
        assert naive is Verdict.RUN
