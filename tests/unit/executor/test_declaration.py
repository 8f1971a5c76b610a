"""Declarations and frames: wrong ones are refused by name."""

from __future__ import annotations

import pytest

from executor import CheckTerms, CheckWhen, Guarantee, Handler, HandlerError, Lane, Retry, handler
from executor.errors import FrameError
from executor.runners.frames import FRAME_BYTES_MAX, FrameReader, encode_frame

pytestmark = pytest.mark.unit


def test_unknown_lane_lists_the_lanes() -> None:
    with pytest.raises(HandlerError, match="cpu-short, cpu-long"):
        handler(name="pay", lane="fast")(print)


def test_fields_come_back() -> None:
    declared = Handler(
        name="a",
        lane=Lane.IO_LONG,
        timeout_s=2.5,
        version="7",
        is_async=True,
        isolate=True,
        max_running=3,
        recycle_after=1000,
        retry=Retry(max_attempts=2, on={ValueError: None}),
        guarantee=Guarantee.EXACTLY_ONCE,
        check=CheckTerms(when=CheckWhen.ALWAYS, settle_s=3.5, timeout_s=7.0, is_async=True),
    )
    assert Handler.from_fields(declared.to_fields()) == declared
    assert Handler.from_fields(Handler(name="b").to_fields()) == Handler(name="b")


@pytest.mark.parametrize("fields", [[], ["a"], [1, *Handler(name="a").to_fields()[1:]]])
def test_fields_that_make_no_declaration_are_refused(fields: list[object]) -> None:
    with pytest.raises(HandlerError, match="makes no sense"):
        Handler.from_fields(fields)


@pytest.mark.parametrize("option", ["max_running", "recycle_after"])
@pytest.mark.parametrize("count", [0, -1, 1.5, True])
def test_a_count_that_is_none_is_refused(option: str, count: object) -> None:
    with pytest.raises(HandlerError, match=f"'pay': {option} is {count}; give a whole number from 1"):
        handler(name="pay", **{option: count})(print)  # type: ignore[call-overload]


def test_frames_survive_any_cut() -> None:
    data = encode_frame(["a", 1]) + encode_frame(["b", b"x" * 300])
    reader = FrameReader()
    messages = [message for at in range(len(data)) for message in reader.feed(data[at : at + 1])]
    assert messages == [["a", 1], ["b", b"x" * 300]]


def test_a_frame_that_announces_too_much_is_refused() -> None:
    with pytest.raises(FrameError, match="announces"):
        FrameReader().feed((FRAME_BYTES_MAX + 1).to_bytes(4, "big"))
