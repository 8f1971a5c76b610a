"""Arguments and results as bytes: msgpack with three extension types, and nothing that could run code.

Known: None, bool, int (64 bit), float, str, bytes, list, tuple (comes back as a list), dict with str or int keys,
aware datetime, Decimal, UUID. Everything else is a PayloadError that names the type and the path to it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgpack

from executor.errors import PayloadError

PAYLOAD_BYTES_MAX = 900_000
DEPTH_MAX = 100
_EXT_DATETIME, _EXT_DECIMAL, _EXT_UUID = 1, 2, 3
_STR = frozenset({str})
_PLAIN = frozenset({type(None), bool, float, bytes})


def _check(value: object, path: str, depth: int) -> None:
    """Raises PayloadError for the first part of `value` that cannot be encoded."""
    kind = type(value)
    if kind in _PLAIN or kind is Decimal or kind is uuid.UUID:
        return
    if isinstance(value, int) and kind is int:
        if not -(2**63) <= value < 2**64:
            raise PayloadError(f"{path}: the int has more than 64 bits; send it as str or Decimal")
    elif isinstance(value, str) and kind is str:
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise PayloadError(f"{path}: the str is not valid Unicode ({error.reason}); send bytes") from None
    elif isinstance(value, datetime) and kind is datetime:
        if value.utcoffset() is None:
            raise PayloadError(
                f"{path}: the datetime has no time zone; give it one, e.g. tzinfo=timezone.utc"
            )
    elif depth >= DEPTH_MAX:
        raise PayloadError(
            f"{path[:200]}: nested deeper than {DEPTH_MAX} (or it contains itself); flatten it"
        )
    elif isinstance(value, list | tuple) and kind in (list, tuple):
        for index, item in enumerate(value):
            if type(item) not in _PLAIN:
                _check(item, f"{path}[{index}]", depth + 1)
    elif isinstance(value, dict) and kind is dict:
        for name, item in value.items():
            if type(name) not in (str, int):
                raise PayloadError(f"{path}: a dict key is a {type(name).__name__}; use str or int keys")
            _check(name, f"{path} key {name!r}", depth + 1)
            _check(item, f"{path}[{name!r}]", depth + 1)
    else:
        raise PayloadError(
            f"{path}: a {kind.__module__}.{kind.__qualname__} cannot be sent; convert it first"
        )


def _to_ext(value: object) -> msgpack.ExtType:
    if isinstance(value, datetime):
        return msgpack.ExtType(_EXT_DATETIME, value.isoformat().encode())
    if isinstance(value, Decimal):
        return msgpack.ExtType(_EXT_DECIMAL, str(value).encode())
    if isinstance(value, uuid.UUID):
        return msgpack.ExtType(_EXT_UUID, value.bytes)
    raise PayloadError(f"a {type(value).__qualname__} cannot be sent; convert it first")


def _from_ext(code: int, data: bytes) -> object:
    if code == _EXT_DATETIME:
        return datetime.fromisoformat(data.decode())
    if code == _EXT_DECIMAL:
        return Decimal(data.decode())
    if code == _EXT_UUID:
        return uuid.UUID(bytes=data)
    raise PayloadError(f"unknown extension type {code} in a payload; is the sender newer than this node?")


def _encode(value: object, path: str) -> bytes:
    _check(value, path, 0)
    data: bytes = msgpack.packb(value, default=_to_ext)
    if len(data) > PAYLOAD_BYTES_MAX:
        raise PayloadError(
            f"{path}: {len(data)} bytes encoded, the limit is {PAYLOAD_BYTES_MAX}; send a reference to the data"
        )
    return data


def _decode(data: bytes) -> Any:
    if len(data) > PAYLOAD_BYTES_MAX:
        raise PayloadError(f"a payload of {len(data)} bytes exceeds the limit of {PAYLOAD_BYTES_MAX}")
    try:
        return msgpack.unpackb(data, ext_hook=_from_ext, strict_map_key=False)
    except PayloadError:
        raise
    except (ValueError, TypeError, ArithmeticError, RecursionError, msgpack.UnpackException) as error:
        raise PayloadError(f"a payload of {len(data)} bytes cannot be decoded: {error!r}") from None


def encode_value(value: object) -> bytes:
    """One value as bytes; raises PayloadError."""
    return _encode(value, "value")


def decode_value(data: bytes) -> Any:
    """The value of `encode_value`, tuples as lists; raises PayloadError."""
    return _decode(data)


def encode_arguments(args: Sequence[object], kwargs: Mapping[str, object]) -> bytes:
    """The arguments of one call as bytes; raises PayloadError."""
    return _encode([list(args), dict(kwargs)], "arguments")


def decode_arguments(data: bytes) -> tuple[list[Any], dict[str, Any]]:
    """Positional and named arguments of `encode_arguments`; raises PayloadError."""
    value = _decode(data)
    # Plain checks: the same as a `match` costs 2 us, and every task passes here.
    if type(value) is list and len(value) == 2:
        args, kwargs = value
        if (
            type(args) is list
            and type(kwargs) is dict
            and (not kwargs or {type(name) for name in kwargs} == _STR)
        ):
            return args, kwargs
    raise PayloadError("the bytes are no encoded arguments; build them with encode_arguments(args, kwargs)")
