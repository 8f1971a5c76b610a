"""The judge of keys is judged: each lie that a broken ledger could tell is refused, and honest answers are not."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chaos.history import RecordedCall
from tests.chaos.key_history import judge_keys, key_histories
from tests.chaos.key_model import Act, KeyModel, Request, Sessions, exactly
from tests.chaos.linearizability import UNANSWERED, Operation, judge
from tests.unit.chaos.test_linearizability import explained_by_some_order

pytestmark = pytest.mark.unit

KEY = 7


class Story:
    """Calls one after the other, unless told otherwise; `node` n1 has session 1, n2 has 2, and so on."""

    def __init__(self) -> None:
        self.calls: list[RecordedCall] = []
        self._times = itertools.count(10, 10)

    def call(
        self,
        session: int,
        operation: str,
        arguments: dict[str, Any],
        answer: Any,
        *,
        node: str = "",
        during: tuple[int, int] | None = None,
    ) -> Story:
        invoked, returned = during or ((at := next(self._times)), at + 5)
        self.calls.append(
            RecordedCall(
                node=node or f"n{session}",
                operation=operation,
                arguments=arguments,
                answer=answer,
                invoked_ns=invoked,
                returned_ns=None if answer is None else returned,
                session=session,
                session_after=None if answer is None else session,
            )
        )
        return self

    def claim(self, session: int, after: int, *answer: Any, **more: Any) -> Story:
        return self.call(
            session, "claim", {"pairs": [[KEY, after]]}, [list(answer)] if answer else None, **more
        )

    def end(self, session: int, operation: str, attempt: int, answer: Any, **more: Any) -> Story:
        arguments = {"pairs": [[KEY, attempt]]}
        return self.call(session, operation, arguments, None if answer is None else [answer], **more)

    def execute(self, session: int, answer: str | None, **more: Any) -> Story:
        return self.call(session, "execute", {"keys": [KEY]}, None if answer is None else [answer], **more)

    def read(self, session: int, answer: bool, **more: Any) -> Story:
        return self.call(session, "is_executed", {"keys": [KEY]}, [answer], **more)

    def faults(self) -> tuple[str, ...]:
        return judge_keys(self.calls).faults


HONEST = {
    "run once": Story()
    .claim(1, 0, "go", 1, 1)
    .claim(2, 0, "held", 1, 1)
    .end(1, "execute", 1, "new")
    .end(2, "execute", 1, "already")
    .claim(2, 0, "executed", 0, 0)
    .read(3, True),
    "failed and run again": Story()
    .claim(1, 0, "go", 1, 1)
    .end(1, "fail", 1, True)
    .claim(2, 0, "stale", 1, 1)
    .claim(2, 1, "go", 2, 2)
    .claim(1, 0, "stale", 2, 2)
    .end(2, "execute", 2, "new"),
    "withdrawn": Story()
    .claim(1, 0, "go", 1, 1)
    .end(1, "release", 1, True)
    .end(1, "release", 1, False)
    .claim(2, 0, "go", 2, 2),
    "taken over from a closed session": Story()
    .claim(1, 0, "go", 1, 1)
    .claim(2, 0, "recover", 2, 2)
    .end(1, "execute", 1, "overtaken")
    .end(2, "execute", 2, "new")
    .call(9, "reserve", {"count": 1}, [50, 51], node="n1"),
    "an unanswered claim held the key": Story()
    .claim(1, 0)
    .claim(2, 0, "held", 1, 1)
    .claim(3, 0, "held", 1, 1),
    "an unanswered claim came to nothing": Story().claim(1, 0).claim(2, 0, "go", 1, 2),
    "an unanswered claim of a later session": Story().claim(1, 0).claim(2, 0, "held", 1, 5),
    "a late mark": Story()
    .claim(1, 0, "go", 1, 1)
    .end(2, "execute", 1, "late")
    .call(9, "reserve", {"count": 1}, [50, 51], node="n1"),
    "an unanswered mark seen late": Story().execute(1, None).read(2, False).read(2, True),
}

LIES = {
    "a lost acknowledgement": Story().execute(1, "new").read(2, False),
    "a stale read": Story().execute(1, "new", during=(10, 20)).read(2, False, during=(21, 22)),
    "a read that goes back": Story().execute(1, None).read(2, True).read(2, False),
    "an effect from nowhere": Story().read(1, True),
    "executed twice": Story().execute(1, "new").execute(2, "new"),
    "executed twice at once": Story().execute(1, "new", during=(10, 20)).execute(2, "new", during=(10, 20)),
    "two attempts executed": Story()
    .claim(1, 0, "go", 1, 1)
    .end(1, "execute", 1, "new")
    .end(1, "execute", 1, "new"),
    "two go": Story().claim(1, 0, "go", 1, 1).claim(2, 0, "go", 1, 2),
    "two go at once": Story()
    .claim(1, 0, "go", 1, 1, during=(10, 20))
    .claim(2, 0, "go", 1, 2, during=(10, 20)),
    "an attempt skipped": Story().claim(1, 0, "go", 2, 1),
    "an attempt given out again": Story()
    .claim(1, 0, "go", 1, 1)
    .end(1, "release", 1, True)
    .claim(2, 0, "go", 1, 2),
    "a claim of an executed key": Story().execute(1, "new").claim(2, 0, "go", 1, 2),
    "taken over from an open session": Story()
    .claim(1, 0, "go", 1, 1)
    .claim(2, 0, "recover", 2, 2)
    .call(1, "reserve", {"count": 1}, [50, 51]),
    "held by a closed session": Story()
    .claim(1, 0, "go", 1, 1)
    .call(9, "reserve", {"count": 1}, [50, 51], node="n1")
    .claim(2, 0, "held", 1, 1),
    "held by a stranger": Story().claim(1, 0, "go", 1, 1).claim(2, 0, "held", 1, 3),
    "a retry before its failure": Story().claim(1, 0, "go", 1, 1).claim(2, 1, "go", 2, 2),
    "a failed record run again": Story()
    .claim(1, 0, "go", 1, 1)
    .end(1, "fail", 1, True)
    .claim(2, 0, "go", 2, 2),
    "failed by another": Story().claim(1, 0, "go", 1, 1).end(2, "fail", 1, True),
    "failed in silence": Story().claim(1, 0, "go", 1, 1).end(1, "fail", 1, False),
    "an overtaken mark counts": Story()
    .claim(1, 0, "go", 1, 1)
    .claim(2, 0, "recover", 2, 2)
    .end(1, "execute", 1, "new")
    .call(9, "reserve", {"count": 1}, [50, 51], node="n1"),
    "called late while open": Story()
    .claim(1, 0, "go", 1, 1)
    .end(1, "execute", 1, "late")
    .call(1, "reserve", {"count": 1}, [50, 51]),
    "an older session at work after a newer": Story()
    .call(9, "reserve", {"count": 1}, [50, 51], node="n1")
    .call(1, "reserve", {"count": 1}, [51, 52]),
}


@pytest.mark.parametrize("story", HONEST.values(), ids=HONEST)
def test_an_honest_history_is_believed(story: Story) -> None:
    assert story.faults() == ()


@pytest.mark.parametrize("story", LIES.values(), ids=LIES)
def test_a_lie_is_refused(story: Story) -> None:
    assert len(story.faults()) == 1, story.faults()


def test_too_many_unanswered_calls_of_a_key_fail_the_test() -> None:
    story = Story()
    for _ in range(31):
        story.execute(1, None)
    [fault] = story.faults()
    assert "undecided" in fault


def test_a_call_over_several_keys_is_one_operation_of_each() -> None:
    story = Story().call(1, "execute", {"keys": [3, 4]}, ["new", "already"])
    histories = key_histories(story.calls)
    assert histories[3][0].answer == "new"
    assert histories[4][0].answer == "already"
    [fault] = story.faults()
    assert fault.startswith("key 4 ")


def test_a_call_that_no_model_knows_is_not_passed_over() -> None:
    with pytest.raises(ValueError, match="'cancel'"):
        Story().call(1, "cancel", {"keys": [1]}, [True]).faults()


SESSIONS = st.sampled_from([exactly(1), exactly(2), Sessions(1, 5)])
ANSWERS: dict[Act, st.SearchStrategy[Any]] = {
    Act.READ: st.booleans(),
    Act.EXECUTE: st.sampled_from(["new", "already", "late", "overtaken"]),
    Act.EXECUTE_CLAIMED: st.sampled_from(["new", "already", "late", "overtaken"]),
    Act.RELEASE: st.booleans(),
    Act.FAIL: st.booleans(),
    Act.CLOSE: st.none(),
    Act.CLAIM: st.one_of(
        st.tuples(
            st.sampled_from(["go", "go", "held", "recover", "stale"]), st.integers(1, 2), st.integers(1, 2)
        ),
        st.just(("executed", 0, 0)),
    ),
}


@st.composite
def operations(draw: st.DrawFn) -> Operation:
    act = draw(st.sampled_from([*Act, Act.CLAIM, Act.CLAIM, Act.EXECUTE_CLAIMED]))
    number = draw(st.integers(0, 2)) if act not in (Act.READ, Act.CLOSE, Act.EXECUTE) else 0
    sessions = exactly(draw(st.integers(1, 2))) if act is Act.CLOSE else draw(SESSIONS)
    invoked = draw(st.integers(0, 6))
    returned = draw(st.one_of(st.none(), st.integers(invoked, 7)))
    return Operation(
        request=Request(act, sessions, number),
        answer=UNANSWERED if returned is None else draw(ANSWERS[act]),
        invoked=invoked,
        returned=returned,
    )


@given(st.lists(operations(), max_size=5))
@settings(max_examples=2000)
def test_the_search_agrees_with_the_definition_on_keys(history: list[Operation]) -> None:
    assert judge(history, KeyModel()).good == explained_by_some_order(history, KeyModel())
