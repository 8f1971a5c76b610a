"""Operations: how each call becomes a ledger command, and how the raw answer is read. Pure; `KeyService`, simulator and benches share it.

Each function checks its arguments here, so that a fault of the caller is an exception of the caller and no entry is proposed for it.
Answers come in the order of the keys that were asked, doubled ones included. One operation takes at most `OPERATION_KEYS_MAX` keys:
that many fit an entry whatever their numbers are.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgpack

from consensus.ledger.bindings import VALUE_CHARACTERS_MAX
from consensus.ledger.claims import WHY_CHARACTERS_MAX, ClaimKind, Decision
from consensus.ledger.commands import FIRST_FOREIGN_OPCODE, Opcode, decode_runs, encode_pairs, encode_runs
from consensus.ledger.executed import Outcome
from consensus.ledger.marks import CancelKind
from consensus.merging import PerKey

Answer = TypeVar("Answer")
OPERATION_KEYS_MAX = 4096  # (key, attempt) pairs of any size: 14 bytes each, below the 60,000 of an entry
FEW = 8  # numbers whose size is not worth measuring
FOREIGN_BYTES_MAX = 50_000  # of a command of another package's table: below the 60,000 of an entry
COMMAND_BYTES = 64  # opcode, session, outcome and the framing, with room

Pair = tuple[int, int]  # (key, after) or (key, attempt)


_CLAIM_KINDS = tuple(ClaimKind)  # by number


class ExecuteAnswer(enum.Enum):
    NEW = "new"  # this call marked it
    ALREADY = "already"  # it was marked before
    LATE = "late"  # marked now, though the session of its run is closed in the ledger
    OVERTAKEN = "overtaken"  # not marked: others have claimed it since; recorded as a possible double effect


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimAnswer:
    """`attempt` and `session`: the caller's own for go and recover, the holder's for held and stale, 0 for executed."""

    kind: ClaimKind
    attempt: int
    session: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BindAnswer:
    key: int  # the winner: not the caller's, when the value was bound before
    confirmed: bool  # the broker has acknowledged it; if not, store it again under this key


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelAnswer:
    kind: CancelKind
    session: int | None  # where it runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Generic[Answer]):
    command: Callable[[int], list[Any]]  # session -> ledger command
    read: Callable[[Any], Answer]  # raw answer of the ledger -> what the caller gets
    size_bytes: int = 32  # upper estimate of the encoded command
    needs_session: bool = False
    alone: bool = False
    per_key: PerKey | None = None  # the same command in a form that calls may share


def barrier() -> Operation[None]:
    return Operation(command=lambda _: [Opcode.BARRIER], read=lambda _: None)


def reserve(count: int) -> Operation[range]:
    return Operation(
        command=lambda session: [Opcode.RESERVE, session, count],
        read=lambda first: range(first, first + count),
        needs_session=True,
    )


def claim(pairs: Sequence[Pair]) -> Operation[list[ClaimAnswer]]:
    """(key, after): `after` is the attempt whose failure produced the record, 0 for its first."""
    rows, flat = _rows(pairs)

    def read(raw: list[int]) -> list[ClaimAnswer]:
        answers = [
            ClaimAnswer(kind=_CLAIM_KINDS[kind], attempt=attempt, session=session)
            for kind, attempt, session in zip(raw[::3], raw[1::3], raw[2::3], strict=True)
        ]
        return answers if len(answers) == len(pairs) == 1 else _in_order([key for key, _ in pairs], answers)

    return Operation(
        command=lambda session: [Opcode.CLAIM, session, flat],
        read=read,
        size_bytes=_size_bytes(flat),
        needs_session=True,
        per_key=PerKey(Opcode.CLAIM, rows, stride=3) if rows else None,
    )


def release(pairs: Sequence[Pair]) -> Operation[list[bool]]:
    """(key, attempt), not run. True: it was this session's claim and is free again."""
    return _ending(Opcode.RELEASE, pairs)


def fail(pairs: Sequence[Pair]) -> Operation[list[bool]]:
    """(key, attempt) whose retry record is acknowledged. True: it was this session's claim and has ended."""
    return _ending(Opcode.FAIL, pairs)


def _ending(opcode: Opcode, pairs: Sequence[Pair]) -> Operation[list[bool]]:
    rows, flat = _rows(pairs)
    return Operation(
        command=lambda session: [opcode, session, flat],
        read=lambda raw: _in_order([key for key, _ in pairs], [bool(own) for own in raw]),
        size_bytes=_size_bytes(flat),
        needs_session=True,
        per_key=PerKey(opcode, rows, stride=1) if rows else None,
    )


def execute(
    keys: Sequence[int] | Sequence[Pair], outcome: Outcome | str = Outcome.DONE
) -> Operation[list[ExecuteAnswer]]:
    """Keys, or (key, attempt) for those that were claimed. An unknown outcome is a `ValueError`."""
    ended = str(Outcome(outcome))
    if keys and isinstance(keys[0], tuple):
        pairs: Sequence[Pair] = keys  # type: ignore[assignment]
        opcode, flat, plain = Opcode.EXECUTE_CLAIMED, _pairs(pairs), [key for key, _ in pairs]
    else:
        plain = keys  # type: ignore[assignment]
        opcode, flat = Opcode.EXECUTE, _runs(plain)

    def read(raw: list[list[int]]) -> list[ExecuteAnswer]:
        if not any(raw):
            return [ExecuteAnswer.NEW] * len(plain)
        kinds = (ExecuteAnswer.LATE, ExecuteAnswer.ALREADY, ExecuteAnswer.OVERTAKEN)
        special = {
            key: kind
            for kind, runs in zip(kinds, raw, strict=True)
            for run in decode_runs(runs)
            for key in run
        }
        return [special.get(key, ExecuteAnswer.NEW) for key in plain]

    return Operation(
        command=lambda session: [opcode, session, ended, flat], read=read, size_bytes=_size_bytes(flat)
    )


def doubt(keys: Iterable[int], why: str) -> Operation[list[int]]:
    """-> those now in doubt: claims of this session. A longer `why` is cut."""
    flat = _runs(keys)
    short = _text(why)[:WHY_CHARACTERS_MAX]
    return Operation(
        command=lambda session: [Opcode.DOUBT, session, short, flat],
        read=_listed,
        size_bytes=_size_bytes(flat) + 4 * len(short),
        needs_session=True,
    )


def resolve(keys: Iterable[int], decision: Decision) -> Operation[list[int]]:
    """An operator's word on keys in doubt -> those that were."""
    flat = _runs(keys)
    return Operation(
        command=lambda _: [Opcode.RESOLVE, decision, flat], read=_listed, size_bytes=_size_bytes(flat)
    )


def bind(value: str, key: int, until_ms: int) -> Operation[BindAnswer]:
    """The first key to claim `value` wins it until `until_ms`, and until it is executed."""
    if len(_text(value)) > VALUE_CHARACTERS_MAX:
        raise ValueError(f"a unique value has {len(value)} characters: shorten it to {VALUE_CHARACTERS_MAX}")
    return Operation(
        command=lambda _: [Opcode.BIND, value, key, until_ms],
        read=lambda raw: BindAnswer(key=raw[0], confirmed=raw[1]),
        size_bytes=COMMAND_BYTES + 4 * len(value),
    )


def confirm(value: str, key: int) -> Operation[bool]:
    """The broker has acknowledged the record of `key`. False: the binding is over, or another key has it."""
    return Operation(
        command=lambda _: [Opcode.CONFIRM, value, key],
        read=bool,
        size_bytes=COMMAND_BYTES + 4 * len(_text(value)),
    )


def cancel(keys: Sequence[int]) -> Operation[list[CancelAnswer]]:
    flat = _runs(keys)

    def read(raw: list[int]) -> list[CancelAnswer]:
        answers = [
            CancelAnswer(kind=CancelKind(kind), session=session or None)
            for kind, session in zip(raw[::2], raw[1::2], strict=True)
        ]
        return _in_order(keys, answers)

    return Operation(command=lambda _: [Opcode.CANCEL, flat], read=read, size_bytes=_size_bytes(flat))


def command(fields: Sequence[Any]) -> Operation[Any]:
    """A command of a table that another package has brought, `[opcode, ...]` in plain msgpack data -> the answer of that table."""
    if not fields or type(fields[0]) is not int or fields[0] < FIRST_FOREIGN_OPCODE:
        raise ValueError(
            f"a command for a table of your own begins with its opcode, {FIRST_FOREIGN_OPCODE} or above"
        )
    try:
        packed = msgpack.packb(list(fields))
    except (TypeError, OverflowError) as error:
        raise ValueError(f"a command must be plain msgpack data: {error}") from None
    if len(packed) > FOREIGN_BYTES_MAX:
        raise ValueError(f"a command of {len(packed)} bytes: cut it into {FOREIGN_BYTES_MAX} at a time")
    plain = msgpack.unpackb(packed, strict_map_key=False)  # the caller may go on changing what it gave
    return Operation(command=lambda _: plain, read=lambda raw: raw, size_bytes=COMMAND_BYTES + len(packed))


def change_group(before: Iterable[str], after: Iterable[str]) -> Operation[tuple[str, ...]]:
    """One node more or one less. The leader refuses it unless the group is `before`."""
    old, new = sorted(set(before)), sorted(set(after))
    if not new:
        raise ValueError("the last node of a group cannot be removed: stop it instead")
    return Operation(
        command=lambda _: [Opcode.GROUP, old, new],
        read=tuple,
        size_bytes=COMMAND_BYTES + sum(4 + 4 * len(node) for node in (*old, *new)),
        alone=True,
    )


def _runs(keys: Iterable[int]) -> list[int]:
    runs = encode_runs(keys)
    _check_count(sum(runs[1::2]) if not isinstance(keys, range) else len(keys), runs)
    return runs


def _rows(pairs: Sequence[Pair]) -> tuple[Sequence[Pair], list[int]]:
    """The pairs by rising keys, and as they travel. One pair is the common case, and callers are many."""
    if len(pairs) == 1:
        [(key, number)] = pairs
        flat = [key, number]
        _check_count(1, flat)
        return pairs, flat
    return sorted(set(pairs)), _pairs(pairs)


def _pairs(pairs: Sequence[Pair]) -> list[int]:
    flat = encode_pairs(pairs)
    _check_count(len(flat) // 2, flat)
    return flat


def _check_count(count: int, flat: list[int]) -> None:
    if count > OPERATION_KEYS_MAX:
        raise ValueError(f"{count} keys in one operation: cut them into {OPERATION_KEYS_MAX} at a time")
    if flat and min(flat) < 0:
        raise ValueError("a key or an attempt below zero")


def _size_bytes(flat: list[int]) -> int:
    if len(flat) <= FEW:
        return COMMAND_BYTES + 9 * len(flat)
    return COMMAND_BYTES + len(msgpack.packb(flat))


def _text(text: str) -> str:
    text.encode()  # raises UnicodeEncodeError, a ValueError, here and not on the ledger's thread
    return text


def _in_order(keys: list[int] | Sequence[int], answers: list[Answer]) -> list[Answer]:
    """`answers` stand in the order of rising keys."""
    by_key = dict(zip(sorted(set(keys)), answers, strict=True))
    return [by_key[key] for key in keys]


def _listed(runs: list[int]) -> list[int]:
    return [key for run in decode_runs(runs) for key in run]
