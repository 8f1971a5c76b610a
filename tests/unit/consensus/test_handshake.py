"""Who may become a link: each refusal has its name and a sentence that says what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.transport.dialling import PATIENCE_S, REDIAL_S, Dialling
from consensus.transport.frames import FrameError
from consensus.transport.handshake import (
    Confirm,
    Hello,
    Identity,
    Reason,
    Refusal,
    Welcome,
    Word,
    choose_protocol,
    decode_word,
    encode_word,
    judge_hello,
    judge_welcome,
)
from consensus.transport.refusals import AGAIN_S, LINES_MAX, LINES_WITHIN_S, REMEMBERED_MAX, Refusals

pytestmark = pytest.mark.unit

OWN = Identity(cluster="c", node="a:1")
PEER = Identity(cluster="c", node="b:1")
HELLO = Hello(own=PEER, to="a:1")


def test_a_node_of_the_same_cluster_is_welcome() -> None:
    assert judge_hello(HELLO, OWN, None) == Welcome(own=OWN, protocol=OWN.protocol_max)
    assert judge_hello(HELLO, OWN, {"quorate:b:1"}) == Welcome(own=OWN, protocol=OWN.protocol_max)
    assert judge_welcome(Welcome(own=PEER, protocol=1), OWN, "b:1", None) == Confirm()


@pytest.mark.parametrize(
    ("hello", "certified", "reason", "said"),
    [
        (replace(HELLO, own=replace(PEER, cluster="d")), None, Reason.ANOTHER_CLUSTER, "'d'"),
        (replace(HELLO, own=replace(PEER, node="a:1")), None, Reason.OWN_ID, "own --listen"),
        (replace(HELLO, to="z:1"), None, Reason.ANOTHER_NODE, "not z:1"),
        (
            replace(HELLO, own=replace(PEER, protocol_min=7, protocol_max=9)),
            None,
            Reason.PROTOCOL,
            "7 to 9",
        ),
        (replace(HELLO, own=replace(PEER, format=OWN.format + 2)), None, Reason.FORMAT, "neighbouring"),
        (HELLO, set(), Reason.CERTIFICATE, "names no node"),
        (HELLO, {"quorate:z:1"}, Reason.CERTIFICATE, "names z:1"),
        (HELLO, {"b:1"}, Reason.CERTIFICATE, "quorate certs node b:1"),
    ],
)
def test_a_caller_is_refused_by_name(
    hello: Hello, certified: set[str] | None, reason: Reason, said: str
) -> None:
    verdict = judge_hello(hello, OWN, certified)
    assert isinstance(verdict, Refusal)
    assert verdict.reason is reason
    assert said in verdict.sentence


@pytest.mark.parametrize(
    ("welcome", "certified", "reason"),
    [
        (Welcome(own=replace(PEER, cluster="d"), protocol=1), None, Reason.ANOTHER_CLUSTER),
        (Welcome(own=replace(PEER, node="z:1"), protocol=1), None, Reason.ANOTHER_NODE),
        (Welcome(own=replace(PEER, format=9), protocol=1), None, Reason.FORMAT),
        (Welcome(own=PEER, protocol=2), None, Reason.FORMAT),
        (Welcome(own=PEER, protocol=1), {"quorate:a:1"}, Reason.CERTIFICATE),
    ],
)
def test_who_was_called_is_refused_by_name(
    welcome: Welcome, certified: set[str] | None, reason: Reason
) -> None:
    verdict = judge_welcome(welcome, OWN, "b:1", certified)
    assert isinstance(verdict, Refusal)
    assert verdict.reason is reason


@pytest.mark.parametrize(
    ("low", "high", "chosen"), [(1, 1, 1), (1, 3, 2), (2, 9, 2), (3, 4, None), (0, 0, None)]
)
def test_the_newest_common_protocol_is_chosen(low: int, high: int, chosen: int | None) -> None:
    own = replace(OWN, protocol_min=1, protocol_max=2)
    other = replace(PEER, protocol_min=low, protocol_max=high)
    assert choose_protocol(own, other) == choose_protocol(other, own) == chosen


@pytest.mark.parametrize(
    "word",
    [
        HELLO,
        Welcome(own=OWN, protocol=1),
        Confirm(),
        Refusal(reason=Reason.CROSSED, sentence="it calls itself"),
    ],
)
def test_words_survive_the_way(word: Word) -> None:
    assert decode_word(encode_word(word)) == word


@given(
    st.sampled_from([HELLO, Welcome(own=OWN, protocol=1), Refusal(reason=Reason.SILENT, sentence="s")]),
    st.data(),
)
def test_a_word_with_a_foreign_field_is_a_frame_error(word: Word, data: st.DataObject) -> None:
    message: dict[str, Any] = encode_word(word)
    field = data.draw(st.sampled_from([name for name in message if name != "type"]))
    foreign = (
        st.none()
        | st.booleans()
        | st.just("")
        | st.just("x" * 400)
        | st.just([])
        | st.just(-1)
        | st.just(b"")
    )
    message[field] = data.draw(foreign)
    with pytest.raises(FrameError, match=field):
        decode_word(message)


def test_a_word_that_is_none_and_letters_for_the_terminal_are_refused() -> None:
    with pytest.raises(FrameError, match="before the greeting was over"):
        decode_word({"type": "append_entries"})
    with pytest.raises(FrameError, match="cannot be printed"):
        decode_word(encode_word(replace(HELLO, to="\x1b[2J")))
    said = decode_word({"type": "refusal", "reason": "of the future", "sentence": "no\x1b[2J"})
    assert said == Refusal(reason=Reason.RUBBISH, sentence="no?[2J")


def test_the_greater_id_calls_at_once_and_the_other_after_a_while_without_a_link() -> None:
    greater, lesser = Dialling.of("b:1", "a:1", 10.0), Dialling.of("a:1", "b:1", 10.0)
    assert greater.is_due(10.0)
    assert not lesser.is_due(10.0 + PATIENCE_S - 0.1)
    assert lesser.is_due(10.0 + PATIENCE_S)
    greater.started(10.0)
    assert not greater.is_due(10.0 + REDIAL_S - 0.1)
    assert greater.is_due(10.0 + REDIAL_S)


def test_a_link_that_is_lost_at_once_does_not_make_calls_in_a_circle() -> None:
    greater, lesser = Dialling.of("b:1", "a:1", 10.0), Dialling.of("a:1", "b:1", 0.0)
    greater.started(10.0)
    greater.lost(10.01)
    assert not greater.is_due(10.4)
    greater.lost(90.0)
    assert greater.is_due(90.0)
    lesser.lost(90.0)
    assert not lesser.is_due(90.0 + PATIENCE_S - 0.1)


def test_a_trouble_is_said_once_and_again_after_a_while() -> None:
    refusals = Refusals()
    assert refusals.is_worth_a_line("b:1", "silent", 0.0)
    assert not any(refusals.is_worth_a_line("b:1", "silent", now) for now in (0.1, 5.0, AGAIN_S - 1))
    assert refusals.is_worth_a_line("b:1", "rubbish", 5.0)
    assert refusals.is_worth_a_line("b:1", "silent", AGAIN_S + 1)
    refusals.forget("b:1")
    assert refusals.is_worth_a_line("b:1", "rubbish", AGAIN_S + 2)
    assert refusals.counted == 7


def test_a_thousand_strangers_fill_neither_the_log_nor_the_memory() -> None:
    refusals = Refusals()
    said = sum(refusals.is_worth_a_line(f"host{n}", "silent", n / 1000) for n in range(1000))
    assert said == LINES_MAX
    for minute in range(1, 100):
        for n in range(LINES_MAX):
            assert refusals.is_worth_a_line(f"{minute}-{n}", "silent", minute * LINES_WITHIN_S * 2)
    assert len(refusals._said_at) <= REMEMBERED_MAX
