"""The gate: most handlers are plain; a purge goes before a pause; a lane's purge makes everybody be judged."""

from __future__ import annotations

import pytest

from cluster.gate import OPEN_GATE, Gate, Verdict

pytestmark = pytest.mark.unit


def test_an_open_gate_lets_everything_run_unjudged() -> None:
    assert OPEN_GATE.is_plain("pdf")
    assert OPEN_GATE.judge("pdf", "cpu-short", 0) is Verdict.RUN


def test_a_paused_handler_is_parked_and_the_others_stay_plain() -> None:
    gate = Gate(paused=frozenset({"pdf"}))
    assert not gate.is_plain("pdf")
    assert gate.judge("pdf", "cpu-short", 5) is Verdict.PARK
    assert gate.is_plain("mail")


def test_what_was_purged_is_dropped_even_while_its_handler_is_paused() -> None:
    gate = Gate(paused=frozenset({"pdf"}), purged_handlers={"pdf": 10})
    assert gate.judge("pdf", "cpu-short", 10) is Verdict.DROP
    assert gate.judge("pdf", "cpu-short", 11) is Verdict.PARK


def test_a_purged_lane_drops_the_records_of_every_handler_that_stand_in_it() -> None:
    gate = Gate(purged_lanes={"cpu-long": 10})
    assert not gate.is_plain("mail")
    assert gate.judge("mail", "cpu-long", 10) is Verdict.DROP
    assert gate.judge("mail", "cpu-long", 11) is Verdict.RUN
    assert gate.judge("mail", "cpu-short", 10) is Verdict.RUN
