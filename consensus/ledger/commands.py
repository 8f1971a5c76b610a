"""The commands of the ledger and their bytes.

One Raft entry is `[version, proposer, seq, answered_below, time_ms, [command, ...]]` in msgpack. `proposer` is a random 63-bit number of
one process life; with `seq` it identifies the entry, so that it can be proposed again when its outcome is unknown. `answered_below`: the
proposer has seen all answers below that seq. `time_ms` is the proposer's wall clock, for the expiry of unique values and nothing else.

A command is `[opcode, ...]`. Keys travel as *runs*, `[first, count, gap, count, gap, count ...]`, each gap counted from the end of the run
before; (key, number) as *pairs*, `[first, number, gap, number ...]`, keys strictly rising. So 4096 neighbours are a few bytes and 4096
strangers fit an entry.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any, NamedTuple

import msgpack

VERSION = 2
ENTRY_BYTES_MAX = 60_000  # below the library's batch of 64 KiB: larger entries would travel in pieces
ATTEMPT_MAX = (1 << 31) - 1  # attempts are packed in 32 bits
FIRST_FOREIGN_OPCODE = 64  # below: consensus; from here on: tables that another package brings


class Opcode(enum.IntEnum):
    """What stands behind each arrow is the answer; a command that takes no effect is answered `{"refused": sentence}`."""

    BARRIER = 0  # [] -> None
    OPEN_SESSION = 1  # [node, nonce] -> session; closes the node's older one; see sessions.py for the nonce
    RENEW = 2  # [session] -> how often it was renewed
    CLOSE_SESSION = 3  # [session] -> None
    RESERVE = 4  # [session, count] -> first key
    EXECUTE = 5  # [session, outcome, runs] -> [late runs, already runs, overtaken runs]; the rest is new
    EXECUTE_CLAIMED = 6  # [session, outcome, (key, attempt) pairs] -> the same
    CLAIM = 7  # [session, (key, after) pairs] -> [kind, attempt, session] for each key, flat
    RELEASE = 8  # [session, (key, attempt) pairs] -> 1 or 0 for each key: it was this session's claim
    FAIL = 9  # [session, (key, attempt) pairs] -> 1 or 0 for each key
    DOUBT = 10  # [session, why, runs] -> runs of those now in doubt
    RESOLVE = 11  # [decision, runs] -> runs of those that were in doubt
    BIND = 12  # [value, key, until_ms] -> [winning key, confirmed]
    CONFIRM = 13  # [value, key] -> whether this key is bound
    CANCEL = 14  # [runs] -> [kind, session] for each key, flat
    GROUP = 15  # [before, after] -> after; alone in its entry


class Entry(NamedTuple):
    proposer: int
    seq: int
    answered_below: int
    time_ms: int
    commands: list[Any]


class CommandRefused(Exception):
    """Raised by a table *before* it changes anything; the machine turns it into an answer."""


def refused(reason: str) -> dict[str, str]:
    return {"refused": reason}


def session_closed(number: int) -> CommandRefused:
    """The proposer may send the same call again in its next session: it ends in words that `GroupCommit` looks for."""
    return CommandRefused(f"session {number} is closed")


def encode_entry(entry: Entry) -> bytes:
    return bytes(msgpack.packb([VERSION, *entry]))


def decode_entry(data: bytes) -> Entry:
    """Raises `ValueError` for bytes that are no entry, `NewerEntry` for one of a later version."""
    try:
        fields = msgpack.unpackb(data, strict_map_key=False)
    except Exception as error:  # msgpack raises several unrelated classes
        raise ValueError(f"a ledger entry is no msgpack: {error}") from error
    match fields:
        case [int(version), *_] if version > VERSION:
            raise NewerEntry(
                f"a ledger entry has version {version}, this node knows {VERSION}: update this node"
            )
        case [_, int(proposer), int(seq), int(answered_below), int(time_ms), list(commands)] if (
            fields[0] == VERSION and proposer >= 0 and seq >= 0 and answered_below >= 0
        ):
            return Entry(proposer, seq, answered_below, time_ms, commands)
        case _:
            raise ValueError("a ledger entry has unexpected fields")


class NewerEntry(Exception):
    """Written by a newer node: this one cannot know its effect and must stop."""


def encode_runs(keys: Iterable[int]) -> list[int]:
    """`keys` in any order; doubled ones count once."""
    if isinstance(keys, range) and keys.step == 1:
        return [keys.start, len(keys)] if keys else []
    if isinstance(keys, list) and len(keys) < 2:
        return [keys[0], 1] if keys else []
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
    bounds = list(accumulate(runs))
    return (range(first, stop) for first, stop in zip(bounds[::2], bounds[1::2], strict=True))


def encode_pairs(pairs: Iterable[tuple[int, int]]) -> list[int]:
    """In the order of their keys. Raises `ValueError` when one key comes with two numbers."""
    flat: list[int] = []
    before = 0
    for key, number in sorted(set(pairs)):
        if flat and key == before:
            raise ValueError(f"key {key} stands twice in one call, with different numbers")
        flat += [key - before, number]
        before = key
    return flat


def parse_runs(runs: Any, *, first_key: int, next_key: int, keys_max: int) -> list[int]:
    """-> `[first, stop, first, stop ...]`, rising. Raises `CommandRefused`."""
    if not isinstance(runs, list) or len(runs) % 2 or not _whole_numbers(runs):
        raise CommandRefused("malformed runs of keys")
    if not runs:
        return []
    bounds = list(accumulate(runs))
    if min(runs[1::2]) < 1 or sum(runs[1::2]) > keys_max:
        raise CommandRefused(f"a command names 1 to {keys_max} keys")
    _check_handed_out(bounds[0], bounds[-1], first_key, next_key)
    return bounds


def parse_pairs(pairs: Any, *, first_key: int, next_key: int, keys_max: int) -> list[tuple[int, int]]:
    """-> `[(key, number), ...]`, keys strictly rising. Raises `CommandRefused`."""
    match pairs:
        case [int(key), int(number)] if first_key <= key < next_key and 0 <= number <= ATTEMPT_MAX:
            return [(key, number)]  # most commands by far
    if not isinstance(pairs, list) or len(pairs) % 2 or not _whole_numbers(pairs):
        raise CommandRefused("malformed pairs of keys and numbers")
    if not pairs:
        return []
    if len(pairs) > 2 * keys_max:
        raise CommandRefused(f"a command names 1 to {keys_max} keys")
    if len(pairs) > 2 and min(pairs[2::2]) < 1:
        raise CommandRefused("a key stands twice in one command")
    if max(pairs[1::2]) > ATTEMPT_MAX:
        raise CommandRefused(f"an attempt is above {ATTEMPT_MAX}")
    keys = list(accumulate(pairs[::2]))
    _check_handed_out(keys[0], keys[-1] + 1, first_key, next_key)
    return list(zip(keys, pairs[1::2], strict=True))


def _whole_numbers(numbers: list[Any]) -> bool:
    return not numbers or (set(map(type, numbers)) == {int} and min(numbers) >= 0)


def _check_handed_out(first: int, stop: int, first_key: int, next_key: int) -> None:
    if first < first_key or stop > next_key:
        raise CommandRefused(f"keys {first} to {stop - 1} were never all handed out")
