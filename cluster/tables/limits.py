"""Limits: what operators changed while it runs, replicated: numbers, pauses and purges, each with who and when.

A *subject* is `handler:NAME`, `lane:NAME` or the name of a number (`workers` ..). Numbers are set and cleared; handlers and lanes are
paused and resumed, or purged: what was submitted up to that moment is dropped. The moment is the proposer's clock, as it stands in the
entry, so that all nodes agree; whose clock is wrong purges too little or too much by as much.
The state is a frozen value that is replaced as a whole: any thread may read it, and freezing it costs nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import msgpack

from cluster.routing import LANES
from consensus import CommandRefused, Context
from executor import Lane, Limits

OPCODE = 65
SUBJECTS_MAX = 1000  # of each: numbers, pauses, purges; all are sent to new nodes and shown in one table
HISTORY_MAX = 200
NAME_CHARACTERS_MAX = 200  # as the executor's
WHO_CHARACTERS_MAX = 200
PURGE = "purge:"  # `clear purge:handler:NAME` forgets a purge

NUMBERS = {  # subject -> least and greatest value
    "workers": (1, 256),
    "io-threads": (1, 1024),  # slots that a runner's table has
    "loop-tasks": (1, 1024),
    "max-backlog-s": (1, 366 * 86_400),
}
RUNNING = (1, 10_000)  # of a handler or lane at once on each node; none at all is a pause


class Verb(enum.StrEnum):
    """A `str`, as it travels in commands."""

    SET = "set"
    CLEAR = "clear"
    PAUSE = "pause"
    RESUME = "resume"
    PURGE = "purge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """`value` of SET only. `at_ms`: wall clock of the node that proposed it."""

    number: int
    at_ms: int
    who: str
    verb: Verb
    subject: str
    value: int | None = None


_NOTHING: Mapping[str, Change] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsState:
    """What is in force, each with the change that made it so. `number` counts the changes since the beginning of the group."""

    number: int = 0
    numbers: Mapping[str, Change] = field(default_factory=lambda: _NOTHING)
    paused: Mapping[str, Change] = field(default_factory=lambda: _NOTHING)
    purged: Mapping[str, Change] = field(default_factory=lambda: _NOTHING)
    history: tuple[Change, ...] = ()

    def value(self, subject: str) -> int | None:
        change = self.numbers.get(subject)
        return None if change is None else change.value

    def for_executor(self) -> Limits:
        """The part that each node's executor obeys."""
        return Limits(
            workers=self.value("workers"),
            io_threads_max=self.value("io-threads"),
            loop_tasks_max=self.value("loop-tasks"),
            handlers={name: change.value or 1 for name, change in _named("handler:", self.numbers)},
            lanes={Lane(name): change.value or 1 for name, change in _named("lane:", self.numbers)},
            paused_handlers=frozenset(name for name, _ in _named("handler:", self.paused)),
            paused_lanes=frozenset(Lane(name) for name, _ in _named("lane:", self.paused)),
        )

    def paused_handlers(self) -> frozenset[str]:
        return frozenset(name for name, _ in _named("handler:", self.paused))

    def paused_lanes(self) -> frozenset[str]:
        return frozenset(name for name, _ in _named("lane:", self.paused))

    def purged_handlers(self) -> dict[str, int]:
        """Name -> all submitted up to this moment, in ms, is dropped."""
        return {name: change.at_ms for name, change in _named("handler:", self.purged)}

    def purged_lanes(self) -> dict[str, int]:
        return {name: change.at_ms for name, change in _named("lane:", self.purged)}


class LimitsTable:
    """`state` may be read by any thread. `on_change` is called on the ledger's thread and must only set or queue."""

    name = "limits"
    version = 1
    opcodes = (OPCODE,)

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self.state = LimitsState()
        self._on_change = on_change

    def apply(self, command: list[Any], context: Context) -> Any:
        """-> [number of the change, its time in ms]; of the newest change when it changed nothing."""
        match command:
            case [int(), str(verb), str(subject), None | int() as value, str(who)] if verb in tuple(Verb):
                state = changed(self.state, Verb(verb), subject, value, who=who, at_ms=context.time_ms)
            case _:
                raise CommandRefused("malformed change of a limit")
        if state is not self.state:
            self.state = state
            self._on_change()
        newest = self.state.history[-1] if self.state.history else None
        return [self.state.number, context.time_ms if newest is None else newest.at_ms]

    def freeze(self) -> Iterator[bytes]:
        state = self.state
        return (_packed(part) for part in (state,))

    def load(self, pieces: Sequence[bytes], version: int) -> None:
        self.state = _unpacked(pieces[0]) if pieces else LimitsState()
        self._on_change()


def command(verb: Verb, subject: str, value: int | None, who: str) -> list[Any]:
    """For `KeyService.command`."""
    return [OPCODE, str(verb), subject, value, who[:WHO_CHARACTERS_MAX]]


def changed(
    state: LimitsState, verb: Verb, subject: str, value: int | None, *, who: str, at_ms: int
) -> LimitsState:
    """The state after the change; the very same one when it changes nothing. Raises `CommandRefused`."""
    if len(who) > WHO_CHARACTERS_MAX:
        raise CommandRefused(f"the name of who changes a limit has more than {WHO_CHARACTERS_MAX} characters")
    if (verb is Verb.SET) != (value is not None):
        raise CommandRefused(
            "a limit is set to a whole number" if verb is Verb.SET else f"{verb} takes no number"
        )
    change = Change(number=state.number + 1, at_ms=at_ms, who=who, verb=verb, subject=subject, value=value)
    match verb:
        case Verb.SET:
            least, greatest = _bounds(subject)
            if not least <= (value or 0) <= greatest:
                raise CommandRefused(f"{subject} is {value}: use {least} to {greatest}")
            if state.value(subject) == value:
                return state
            return _recorded(replace(state, numbers=_with(state.numbers, change)), change)
        case Verb.CLEAR if subject.startswith(PURGE):
            gone = subject.removeprefix(PURGE)
            if gone not in state.purged:
                return state
            return _recorded(replace(state, purged=_without(state.purged, gone)), change)
        case Verb.CLEAR:
            _bounds(subject)
            if subject not in state.numbers:
                return state
            return _recorded(replace(state, numbers=_without(state.numbers, subject)), change)
        case Verb.PAUSE:
            _check_work(subject)
            if subject in state.paused:
                return state
            return _recorded(replace(state, paused=_with(state.paused, change)), change)
        case Verb.RESUME:
            _check_work(subject)
            if subject not in state.paused:
                return state
            return _recorded(replace(state, paused=_without(state.paused, subject)), change)
        case Verb.PURGE:
            _check_work(subject)
            before = state.purged.get(subject)
            if (
                before is not None and before.at_ms > at_ms
            ):  # by a faster clock: what is dropped stays dropped
                change = replace(change, at_ms=before.at_ms)
            return _recorded(replace(state, purged=_with(state.purged, change)), change)


def _recorded(state: LimitsState, change: Change) -> LimitsState:
    return replace(state, number=change.number, history=(*state.history, change)[-HISTORY_MAX:])


def _with(changes: Mapping[str, Change], change: Change) -> Mapping[str, Change]:
    if change.subject not in changes and len(changes) >= SUBJECTS_MAX:
        raise CommandRefused(
            f"{SUBJECTS_MAX} of this kind are in force already: clear, resume, or `limit clear {PURGE}..` one first"
        )
    return MappingProxyType({**changes, change.subject: change})


def _without(changes: Mapping[str, Change], subject: str) -> Mapping[str, Change]:
    return MappingProxyType({name: change for name, change in changes.items() if name != subject})


def _bounds(subject: str) -> tuple[int, int]:
    if subject in NUMBERS:
        return NUMBERS[subject]
    _check_work(subject, f"handler:NAME, lane:NAME, {', '.join(NUMBERS)}")
    return RUNNING


def _check_work(subject: str, expected: str = "handler:NAME or lane:NAME") -> None:
    what, _, name = subject.partition(":")
    if what == "lane" and name not in LANES:
        raise CommandRefused(f"no lane {name[:50]!r}: lanes are {', '.join(LANES)}")
    if what == "handler" and not 0 < len(name) <= NAME_CHARACTERS_MAX:
        raise CommandRefused(f"a handler's name has 1 to {NAME_CHARACTERS_MAX} characters")
    if what not in ("handler", "lane"):
        raise CommandRefused(f"nothing is named {subject[:50]!r}: use {expected}")


def _named(start: str, changes: Mapping[str, Change]) -> Iterator[tuple[str, Change]]:
    return (
        (subject.removeprefix(start), change)
        for subject, change in changes.items()
        if subject.startswith(start)
    )


def _packed(state: LimitsState) -> bytes:
    maps = [
        [_row(change) for change in each.values()] for each in (state.numbers, state.paused, state.purged)
    ]
    return bytes(msgpack.packb([state.number, *maps, [_row(change) for change in state.history]]))


def _row(change: Change) -> list[Any]:
    return [change.number, change.at_ms, change.who, str(change.verb), change.subject, change.value]


def _unpacked(piece: bytes) -> LimitsState:
    number, numbers, paused, purged, history = msgpack.unpackb(piece)
    maps = [
        MappingProxyType({change.subject: change for change in map(_change, rows)})
        for rows in (numbers, paused, purged)
    ]
    return LimitsState(
        number=number,
        numbers=maps[0],
        paused=maps[1],
        purged=maps[2],
        history=tuple(map(_change, history)),
    )


def _change(row: list[Any]) -> Change:
    number, at_ms, who, verb, subject, value = row
    return Change(number=number, at_ms=at_ms, who=who, verb=Verb(verb), subject=subject, value=value)
