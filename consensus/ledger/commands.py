"""The commands of the ledger and their bytes.

One Raft entry is `[version, proposer, seq, answered_below, [command, ...]]` in msgpack. `proposer` is a random 63-bit number of one
process life; together with `seq` it identifies the entry, so that it can be proposed again when its outcome is unknown.
`answered_below`: the proposer has seen all answers below that seq. A command is `[opcode, ...]`. Keys travel as ranges:
`[first, count, gap, count, gap, count ...]`, each gap counted from the end of the run before.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgpack

VERSION = 1
ENTRY_BYTES_MAX = 60_000  # below the library's batch of 64 KiB: larger entries would travel in pieces


class Opcode(enum.IntEnum):
    BARRIER = 0  # [] -> None
    OPEN_SESSION = 1  # [node] -> session; closes the node's older session
    RENEW = 2  # [session] -> None
    CLOSE_SESSION = 3  # [session] -> None
    RESERVE = 4  # [session, count] -> first key
    EXECUTE = 5  # [session, outcome, runs] -> [session is closed, runs of keys that were executed before]


class Entry(NamedTuple):
    proposer: int
    seq: int
    answered_below: int
    commands: list[list[Any]]


def encode_entry(entry: Entry) -> bytes:
    return bytes(msgpack.packb([VERSION, *entry]))


def decode_entry(data: bytes) -> Entry:
    """Raises `ValueError` for bytes that are no entry of this version."""
    fields = msgpack.unpackb(data)
    match fields:
        case [version, int(proposer), int(seq), int(answered_below), list(commands)]:
            if version != VERSION:
                raise ValueError(f"a ledger entry has version {version}, this node knows {VERSION}")
            return Entry(proposer, seq, answered_below, commands)
        case _:
            raise ValueError("a ledger entry has unexpected fields")


def encode_runs(keys: Iterable[int]) -> list[int]:
    """`keys` in any order; doubled ones count once."""
    runs: list[int] = []
    end = 0
    for key in sorted(set(keys)):
        if runs and key == end:
            runs[-1] += 1
        else:
            runs += [key - end, 1]
        end = key + 1
    return runs


def decode_runs(runs: list[int]) -> Iterator[range]:
    end = 0
    for gap, count in zip(runs[::2], runs[1::2], strict=True):
        first = end + gap
        end = first + count
        yield range(first, end)
