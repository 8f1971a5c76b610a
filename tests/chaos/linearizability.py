"""Could one copy, asked by one caller at a time, have given these answers? The search behind every history test (pure).

A history is linearizable when each answered call can be given one moment between its invocation and its return, so that the
answers are those of a sequential `Model`. A call without an answer may have taken effect at any moment after its invocation, or
never. The search is Wing and Gong's, in Lowe's just-in-time order: walk through the invocations and returns by time with the set of
all configurations (state, which open calls have already taken effect); only when a call returns must it have taken effect, so only
then are open calls tried, as few as possible. Depth-first with a memo, the usual form, was rejected: it explores every
placing of every unanswered call before it finds the one answer that fits nowhere.

What keeps the set small: an unanswered call is an option, never a duty, so of two configurations that differ only in unanswered
calls used up, the one that used fewer replaces the other; and of two equal unanswered calls only the older is tried.
A search that grows beyond its bound ends as UNDECIDED, which a test must treat as a failure.
"""

from __future__ import annotations

import enum
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

OPEN_CALLS_MAX: Final = 30  # each may double the configurations: more of them prove nothing in finite time
CONFIGURATIONS_MAX: Final = 200_000  # a few hundred MB, half a minute


class Unanswered(enum.Enum):
    """The answer of a call that never returned."""

    UNANSWERED = "unanswered"


UNANSWERED: Final = Unanswered.UNANSWERED


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One call as its caller saw it. `request` must be hashable; times only need an order that all callers share."""

    request: Hashable
    answer: Any
    invoked: int
    returned: int | None  # None: never, `answer` is UNANSWERED

    def __post_init__(self) -> None:
        if (self.returned is None) != (self.answer is UNANSWERED):
            raise ValueError(f"a call has returned exactly when it has an answer: {self}")
        if self.returned is not None and self.returned < self.invoked:
            raise ValueError(f"a call returned before it was invoked: {self}")


State = TypeVar("State", bound=Hashable)


class Model(Protocol[State]):
    """The sequential specification. `step` lists every state that may follow; none: this answer is wrong in this state.

    With `UNANSWERED` it lists what the call may have done, whatever it would have answered.
    """

    def initial(self) -> State: ...
    def is_read(self, request: Any) -> bool: ...  # changes nothing: unanswered, it tells nothing
    def step(self, state: State, request: Any, answer: Any) -> Iterable[State]: ...


class Verdict(enum.Enum):
    LINEARIZABLE = "linearizable"
    VIOLATED = "violated"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    verdict: Verdict
    reason: str = ""  # a sentence, unless linearizable

    @property
    def good(self) -> bool:
        return self.verdict is Verdict.LINEARIZABLE


def judge(
    operations: Sequence[Operation],
    model: Model[State],
    *,
    open_calls_max: int = OPEN_CALLS_MAX,
    configurations_max: int = CONFIGURATIONS_MAX,
) -> Judgement:
    """Whether `operations`, in any order, are a linearizable history of `model`."""
    unanswered = [one for one in operations if one.returned is None and not model.is_read(one.request)]
    if len(unanswered) > open_calls_max:
        return Judgement(
            verdict=Verdict.UNDECIDED,
            reason=f"{len(unanswered)} calls were never answered, {open_calls_max} can be judged: "
            "use more keys, or longer deadlines",
        )
    calls = sorted(
        [*unanswered, *(one for one in operations if one.returned is not None)], key=lambda one: one.invoked
    )
    search = _Search(calls, model, configurations_max)
    for _, place in sorted(_returns(calls)):
        if not search.call_returns(place):
            return search.failure(place)
    return Judgement(verdict=Verdict.LINEARIZABLE)


def _returns(calls: Sequence[Operation]) -> list[tuple[int, int]]:
    return [(one.returned, place) for place, one in enumerate(calls) if one.returned is not None]


class _Search:
    """`configurations`: (state, taken answered calls) -> the smallest sets of taken unanswered calls. Sets are bit masks."""

    def __init__(self, calls: Sequence[Operation], model: Model[Any], configurations_max: int) -> None:
        self._calls, self._model, self._max = calls, model, configurations_max
        self._invoked = 0  # calls[:_invoked] are invoked at the time reached
        self._open: list[int] = []  # places of invoked calls that have not returned
        self._configurations: dict[tuple[Any, int], list[int]] = {(model.initial(), 0): [0]}
        self._too_many = False
        self._before: list[Any] = []

    def call_returns(self, place: int) -> bool:
        """Goes on to the return of this call; False when no configuration is left, or too many are."""
        now = self._calls[place].returned
        assert now is not None
        while self._invoked < len(self._calls) and self._calls[self._invoked].invoked <= now:
            self._open.append(self._invoked)
            self._invoked += 1
        self._before = [state for state, _ in self._configurations]
        self._configurations = self._taken(place)
        self._open.remove(place)
        return bool(self._configurations) and not self._too_many

    def _taken(self, place: int) -> dict[tuple[Any, int], list[int]]:
        """All configurations, from the present ones, in which the call at `place` has just taken effect or had before."""
        bit = 1 << place
        done: dict[tuple[Any, int], list[int]] = {}
        seen: dict[tuple[Any, int], list[int]] = {}
        todo = [
            (state, answered, options)
            for (state, answered), all_options in self._configurations.items()
            for options in all_options
        ]
        explored = 0
        while todo:
            state, answered, options = todo.pop()
            if answered & bit:
                _keep_smallest(done, (state, answered & ~bit), options)
                continue
            if not _keep_smallest(seen, (state, answered), options):
                continue
            explored += 1
            if explored > self._max:
                self._too_many = True
                return done
            todo += self._successors(state, answered, options)
        return done

    def _successors(self, state: Any, answered: int, options: int) -> list[tuple[Any, int, int]]:
        found: list[tuple[Any, int, int]] = []
        tried: set[Hashable] = set()
        for place in self._open:
            bit, call = 1 << place, self._calls[place]
            if (answered | options) & bit:
                continue
            if call.returned is not None:
                for after in self._model.step(state, call.request, call.answer):
                    found.append((after, answered | bit, options))
            elif call.request not in tried:
                tried.add(call.request)
                for after in self._model.step(state, call.request, UNANSWERED):
                    if after != state:
                        found.append((after, answered, options | bit))
        return found

    def failure(self, place: int) -> Judgement:
        if self._too_many:
            return Judgement(
                verdict=Verdict.UNDECIDED,
                reason=f"more than {self._max} configurations at {self._calls[place]}: the history is too entangled",
            )
        states = "; ".join(sorted({str(state) for state in self._before})[:5])
        others = "; ".join(str(self._calls[one]) for one in self._open[-5:])
        return Judgement(
            verdict=Verdict.VIOLATED,
            reason=f"no order explains {self._calls[place]}. Possible states before it: {states}. Open beside it: {others or 'nothing'}",
        )


def _keep_smallest(
    sets: dict[tuple[Any, int], list[int]], configuration: tuple[Any, int], options: int
) -> bool:
    """False when a set that used up no more is known; else `options` takes the place of those that used up more."""
    known = sets.setdefault(configuration, [])
    if any(one & options == one for one in known):
        return False
    known[:] = [one for one in known if one & options != options]
    known.append(options)
    return True
