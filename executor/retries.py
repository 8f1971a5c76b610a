"""Whether a task that failed runs again, and when: a pure decision from the handler's policy, what was raised, and what failed before.

The node imports no handler, so it knows an error only by the names of its classes, which the runner tells (`Fault.classes`, most special
first). A policy has *rules*: its own, and one for each error named in `on`. The most special class that is named decides; `never` are
rules without retries. Each rule counts its own failures, so a worker's deaths and a busy service are bounded apart.

The wait is exponential with full jitter: anything from nothing to `base_s * 2^(failures - 1)`, at most `cap_s`. A thousand tasks that
failed together would come back together under any schedule that is not spread over the whole wait.

A handler that says nothing has `Retry()`: ten attempts in about four minutes on average. At-least-once allows a second run anyway, most
failures in practice are somebody else's short outage, and the alternative, dead at once, makes people write loops into their handlers,
which hold a worker while they sleep. It ends: a bug costs ten short runs and then lies in `.dead` with its history. Attempts that end with
their worker's death are three, as each takes a process with it. What can never succeed (a call that does not fit the handler, a return
value that cannot be sent) is not repeated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from executor.errors import HandlerError, TaskDied, TaskTimedOut, TimeLimitExceeded
from executor.task import Fault, Outcome, Status

ATTEMPTS_MAX = 1_000_000
AFTER_MAX_S = 366 * 86_400.0
RULES_MAX = 50
NAME_CHARS_MAX = 200
DEATHS = 3  # attempts that may end with their worker's death, unless the policy names TaskDied
OWN = ""  # the rule of what no other rule names

Named = type[BaseException] | str


def class_names(kind: type[BaseException]) -> tuple[str, ...]:
    """Of it and of what it is made of, most special first, as "module.Class"; those that everything shares are left out."""
    return tuple(
        f"{each.__module__}.{each.__qualname__}"[:NAME_CHARS_MAX]
        for each in kind.__mro__
        if each not in (BaseException, object)
    )


_DIED = class_names(TaskDied)
_TIMED_OUT = (*class_names(TaskTimedOut), *class_names(TimeLimitExceeded))


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often a handler is run in all, and how long a task waits after a failure.

    `on`: other rules for some errors, by class or name ("ValueError", "requests.exceptions.Timeout"); None there: no retry. `never`: errors
    that are not worth a second run. `TaskDied` and `TaskTimedOut` stand for a worker's death and for a time limit. `RetryLater` may be
    named too: its wait is its own, the rule says how often.
    """

    max_attempts: int = 10
    base_s: float = 1.0
    cap_s: float = 600.0
    on: Mapping[Any, Retry | None] = field(default_factory=dict, hash=False)
    never: Sequence[Named] = ()

    def __post_init__(self) -> None:
        if type(self.max_attempts) is not int or not 1 <= self.max_attempts <= ATTEMPTS_MAX:
            raise HandlerError(
                f"retry: max_attempts is {self.max_attempts!r}; give a whole number from 1 to {ATTEMPTS_MAX}"
            )
        for name, seconds in (("base_s", self.base_s), ("cap_s", self.cap_s)):
            if isinstance(seconds, bool) or not isinstance(seconds, int | float):
                raise HandlerError(f"retry: {name} is {seconds!r}; give seconds")
            if not 0 <= seconds <= AFTER_MAX_S:
                raise HandlerError(f"retry: {name} is {seconds}; give seconds from 0 to {AFTER_MAX_S:g}")
        if self.cap_s < self.base_s:
            raise HandlerError(f"retry: cap_s is {self.cap_s}, below base_s of {self.base_s}")
        if isinstance(self.never, str) or not isinstance(self.never, Sequence):
            raise HandlerError(
                f"retry: never is {self.never!r}; give a tuple of error classes or their names"
            )
        if not isinstance(self.on, Mapping) or len(self.on) + len(self.never) > RULES_MAX:
            raise HandlerError(f"retry: on is {self.on!r}; give at most {RULES_MAX} rules by error class")
        rules: dict[str, Retry | None] = {}
        for named, rule in self.on.items():
            if rule is not None and not isinstance(rule, Retry):
                raise HandlerError(f"retry: on[{named!r}] is {rule!r}; give a Retry, or None for no retry")
            if rule is not None and (rule.on or rule.never):
                raise HandlerError(f"retry: the rule for {named!r} has rules itself; put them beside it")
            rules[_name(named)] = rule
        never = tuple(sorted(_name(named) for named in self.never))
        if both := sorted(set(rules) & set(never)):
            raise HandlerError(f"retry: {', '.join(both)} stands in `on` and in `never`")
        object.__setattr__(self, "on", rules)
        object.__setattr__(self, "never", never)

    def rule(self, classes: Sequence[str]) -> tuple[str, Retry | None]:
        """The rule for an error of these classes, and its name; None: no retry."""
        for each in classes:
            for name in (each, each.rpartition(".")[2]):
                if name in self.on:
                    return name, self.on[name]
                if name in self.never:
                    return name, None
            if each == _DIED[0]:
                return each, Retry(
                    max_attempts=min(DEATHS, self.max_attempts), base_s=self.base_s, cap_s=self.cap_s
                )
        return OWN, self

    def to_fields(self) -> list[object]:
        """As plain values, for the hello of a worker."""
        rules = [
            [name, None if rule is None else [rule.max_attempts, rule.base_s, rule.cap_s]]
            for name, rule in self.on.items()
        ]
        return [self.max_attempts, self.base_s, self.cap_s, rules, list(self.never)]

    @staticmethod
    def from_fields(fields: object) -> Retry:
        """From a hello; raises HandlerError when the values make no policy."""
        match fields:
            case [int(max_attempts), float() | int() as base_s, float() | int() as cap_s, [*rules], [*never]]:
                return Retry(
                    max_attempts=max_attempts,
                    base_s=base_s,
                    cap_s=cap_s,
                    on=dict(map(_rule_from, rules)),
                    never=tuple(map(_text, never)),
                )
        raise HandlerError(f"a worker declared a retry policy that makes no sense: {fields!r}")


def _rule_from(fields: Any) -> tuple[str, Retry | None]:
    match fields:
        case [str(name), None]:
            return name, None
        case [str(name), [int(max_attempts), float() | int() as base_s, float() | int() as cap_s]]:
            return name, Retry(max_attempts=max_attempts, base_s=base_s, cap_s=cap_s)
    raise HandlerError(f"a worker declared a retry rule that makes no sense: {fields!r}")


def _text(name: object) -> str:
    if isinstance(name, str):
        return name
    raise HandlerError(f"a worker declared a retry policy that makes no sense: {name!r}")


def _name(named: object) -> str:
    if isinstance(named, type) and issubclass(named, BaseException):
        return class_names(named)[0] if class_names(named) else named.__name__
    if isinstance(named, str) and named:
        return named[:NAME_CHARS_MAX]
    raise HandlerError(f"retry: {named!r} is no error class and no name of one")


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """It runs again in `after_s`. `rule` has one failure more."""

    after_s: float
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """It does not. `why`: for people; empty: the error says it all."""

    why: str = ""


def fault_of(outcome: Outcome) -> Fault:
    """What ended it, also where no runner lived to tell."""
    if outcome.status is Status.DIED:
        return Fault(classes=_DIED)
    if outcome.status is Status.TIMED_OUT:
        return Fault(classes=_TIMED_OUT)
    return Fault() if outcome.fault is None else outcome.fault


def decide(
    policy: Retry | None, fault: Fault, failures: Mapping[str, int], random: Callable[[], float]
) -> Again | GiveUp:
    """`failures`: of the attempts before this one, by rule. `random()`: from 0 to 1."""
    if fault.is_final:
        return GiveUp()
    if policy is None:
        return GiveUp(why="" if fault.after_s is None else "the handler has retry=None")
    name, rule = policy.rule(fault.classes)
    if rule is None:
        return GiveUp(why=f"{name} is never retried")
    count = failures.get(name, 0) + 1
    if count >= rule.max_attempts:
        return GiveUp(why="" if count == 1 else f"{count} attempts failed" + (f" by {name}" if name else ""))
    if fault.after_s is not None:
        return Again(after_s=min(max(0.0, fault.after_s), AFTER_MAX_S), rule=name)
    return Again(after_s=random() * ceiling_s(rule, count), rule=name)


def ceiling_s(rule: Retry, failures: int) -> float:
    """The longest wait after so many failures."""
    return min(rule.cap_s, math.ldexp(rule.base_s, min(failures - 1, 60)))
