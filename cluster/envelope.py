"""A task as a frozen value and as the bytes that stand in Kafka.

Layout: two magic bytes, one version byte, then msgpack `[handler, arguments, attempt, submitted_ms]`. `arguments` stays
encoded (a msgpack bin), so that a node passes it on to a worker without ever decoding what the user sent.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import msgpack

from cluster.errors import RecordError

MAGIC = b"QT"
VERSION = 1
RECORD_BYTES_MAX = 950_000  # under the broker's default message.max.bytes of 1 MiB with headers
_KEY = struct.Struct(">Q")
KEY_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """`after` is the attempt whose failure produced this record, 0 for a first submission."""

    handler: str
    arguments: bytes
    after: int = 0
    submitted_ms: int = 0


def encode_envelope(envelope: Envelope) -> bytes:
    """Raises `RecordError` when the record would be larger than `RECORD_BYTES_MAX`."""
    body = msgpack.packb([envelope.handler, envelope.arguments, envelope.after, envelope.submitted_ms])
    if len(body) > RECORD_BYTES_MAX:
        raise RecordError(
            f"task of handler {envelope.handler!r} is {len(body)} bytes, the limit is {RECORD_BYTES_MAX}: "
            "store the data elsewhere and send a reference"
        )
    return MAGIC + bytes([VERSION]) + bytes(body)


def decode_envelope(value: bytes | None) -> Envelope:
    """Raises `RecordError` for anything that is no envelope of a version that this node knows."""
    if value is None or len(value) < 4 or value[:2] != MAGIC:
        raise RecordError("the record is no Quorate task (magic bytes missing)")
    if value[2] != VERSION:
        raise RecordError(f"the record has envelope version {value[2]}, this node reads version {VERSION}")
    try:
        fields = msgpack.unpackb(value[3:], max_bin_len=RECORD_BYTES_MAX)
    except Exception as error:  # msgpack raises several unrelated classes for broken bytes
        raise RecordError(f"the record's envelope is damaged: {type(error).__name__}") from error
    match fields:
        case [str(handler), bytes(arguments), int(after), int(submitted_ms)]:
            return Envelope(handler=handler, arguments=arguments, after=after, submitted_ms=submitted_ms)
        case _:
            raise RecordError("the record's envelope has unexpected fields")


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
