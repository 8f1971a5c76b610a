"""A task as a frozen value and as the bytes that stand in Kafka.

Layout: two magic bytes, one version byte, then msgpack `[handler, kind, arguments, after, submitted_ms]` in version 2, and one field more,
a map of *options*, in version 3. A record without options is written as version 2: it is shorter, and nearly all are so. Version 1, which
had no kind, is still read. `arguments` stays encoded (a msgpack bin), so that a node passes it on to a worker without ever decoding what
the user sent. A node passes on options that it does not know; one that changes what must be done with the record raises the version.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgpack

from cluster.errors import RecordError

MAGIC = b"QT"
VERSION = 3
VERSION_WITHOUT_OPTIONS = 2
VERSION_WITHOUT_KIND = 1
HEAD = MAGIC + bytes([VERSION_WITHOUT_OPTIONS])
HEAD_WITH_OPTIONS = MAGIC + bytes([VERSION])
RETRY_OF = "retry_of"  # option: the dead key that this task does anew
RECORD_BYTES_MAX = 950_000  # under the broker's default message.max.bytes of 1 MiB with headers
KIND_CHARACTERS_MAX = 100  # a label of its own is kept for each: kinds are names, not data
_KEY = struct.Struct(">Q")
KEY_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """`kind`: a part of the handler's work that is measured apart. `after`: the attempt whose failure produced this record, 0 at first.
    `options`: what few records need, in plain msgpack data."""

    handler: str
    arguments: bytes
    kind: str = ""
    after: int = 0
    submitted_ms: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)


class Columns(NamedTuple):
    """The fields of many envelopes, one column each, in the order of the records."""

    handlers: Sequence[str]
    kinds: Sequence[str]
    arguments: Sequence[bytes]
    submitted_ms: Sequence[int]


def encode_envelope(envelope: Envelope, *, more_bytes: int = 0) -> bytes:
    """Raises `RecordError` when the record would be larger than `RECORD_BYTES_MAX` and `more_bytes`, or the kind is no name."""
    fields = (envelope.handler, envelope.kind, envelope.arguments, envelope.after, envelope.submitted_ms)
    if not envelope.options:
        return encode_task(*fields)
    return HEAD_WITH_OPTIONS + _checked(
        envelope.handler, envelope.kind, msgpack.packb((*fields, dict(envelope.options))), more_bytes
    )


def encode_task(handler: str, kind: str, arguments: bytes, after: int, submitted_ms: int) -> bytes:
    """`encode_envelope` without options and without the value in between, for those who store a hundred thousand a second."""
    return HEAD + _checked(handler, kind, msgpack.packb((handler, kind, arguments, after, submitted_ms)))


def _checked(handler: str, kind: str, body: bytes, more_bytes: int = 0) -> bytes:
    if len(body) > RECORD_BYTES_MAX + more_bytes:
        raise RecordError(
            f"task of handler {handler!r} is {len(body)} bytes, the limit is {RECORD_BYTES_MAX}: "
            "store the data elsewhere and send a reference"
        )
    if len(kind) > KIND_CHARACTERS_MAX:
        raise RecordError(
            f"task of handler {handler!r} has a kind of {len(kind)} characters, the limit is {KIND_CHARACTERS_MAX}: "
            "a kind names a sort of work, data belongs into the arguments"
        )
    return body


def decode_envelope(value: bytes | None) -> Envelope:
    """Raises `RecordError` for anything that is no envelope of a version that this node knows."""
    if value is None or len(value) < 4 or value[:2] != MAGIC:
        raise RecordError("the record is no Quorate task (magic bytes missing)")
    if not VERSION_WITHOUT_KIND <= value[2] <= VERSION:
        raise RecordError(
            f"the record has envelope version {value[2]}, this node reads up to version {VERSION}: update this node"
        )
    try:
        fields = msgpack.unpackb(value[3:], max_bin_len=RECORD_BYTES_MAX)
    except Exception as error:  # msgpack raises several unrelated classes for broken bytes
        raise RecordError(f"the record's envelope is damaged: {type(error).__name__}") from error
    options: Mapping[str, Any] = {}
    match value[2], fields:
        case 3, [str(handler), str(kind), bytes(arguments), int(after), int(submitted_ms), dict(options)]:
            pass
        case 2, [str(handler), str(kind), bytes(arguments), int(after), int(submitted_ms)]:
            pass
        case 1, [str(handler), bytes(arguments), int(after), int(submitted_ms)]:
            kind = ""
        case _:
            raise RecordError("the record's envelope has unexpected fields")
    return Envelope(
        handler=handler,
        kind=kind,
        arguments=arguments,
        after=after,
        submitted_ms=submitted_ms,
        options=options,
    )


def decode_columns(values: Sequence[bytes | None]) -> Columns | None:
    """All of `values` at once, a third of the cost each; None if one of them is not plainly without options: then decode each."""
    bodies: list[Any] = []
    try:
        for value in values:
            if value is None or value[:3] != HEAD:
                return None
            bodies.append(msgpack.unpackb(value[3:]))
        handlers, kinds, arguments, afters, submitted_ms = zip(*bodies, strict=True)
    except Exception:  # as in `decode_envelope`, which finds the culprit
        return None
    if any(afters):
        return None  # retries are looked at one by one
    for column, expected in (
        (handlers, str),
        (kinds, str),
        (arguments, bytes),
        (afters, int),
        (submitted_ms, int),
    ):
        if set(map(type, column)) != {expected}:
            return None
    return Columns(handlers, kinds, arguments, submitted_ms)


def encode_key(key: int) -> bytes:
    return _KEY.pack(key)


def decode_key(key: bytes | None) -> int:
    """Raises `RecordError` unless `key` is 8 bytes of a number from 1 to `KEY_MAX`."""
    if key is None or len(key) != 8:
        raise RecordError("the record's key is not a task key of 8 bytes")
    number: int = _KEY.unpack(key)[0]
    if not 0 < number <= KEY_MAX:
        raise RecordError(f"the record's key {number} is out of range")
    return number


def decode_keys(keys: Sequence[bytes | None]) -> Sequence[int] | None:
    """All of `keys` at once; None if one of them is no key."""
    try:
        joined = b"".join(keys)  # type: ignore[arg-type]
        if set(map(len, keys)) != {8}:  # type: ignore[arg-type]
            return None
    except TypeError:
        return None
    numbers: tuple[int, ...] = struct.unpack(f">{len(keys)}Q", joined)
    return numbers if min(numbers) > 0 and max(numbers) <= KEY_MAX else None
