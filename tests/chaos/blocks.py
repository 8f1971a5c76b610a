"""The judge of `reserve`: blocks of keys against the one counter that they come from (pure).

A counter is simple enough to be judged directly, over any number of calls: blocks never overlap; a block asked for after
another was answered lies above it, also within a session; and a hole between blocks is the block of a call that was never
answered. The last finds what disjointness cannot see: one call that took effect twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from tests.chaos.history import RecordedCall

OPEN_SIZES_MAX = 1 << 20


def judge_blocks(calls: Sequence[RecordedCall], *, first_key: int = 1) -> list[str]:
    """A sentence for each fault among the `reserve` calls: arguments {"count"}, answer [first, stop]."""
    asked = [call for call in calls if call.operation == "reserve"]
    answered = [call for call in asked if call.returned_ns is not None]
    lost = [int(call.arguments["count"]) for call in asked if call.returned_ns is None]
    faults = [
        f"a block of {call.arguments['count']} keys was asked for, {call.answer} was answered: {call}"
        for call in answered
        if call.answer[1] - call.answer[0] != call.arguments["count"]
    ]
    return faults + _overlaps(answered) + _disorder(answered) + _holes(answered, lost, first_key)


def _overlaps(answered: Sequence[RecordedCall]) -> list[str]:
    by_first = sorted(answered, key=lambda call: (call.answer[0], call.answer[1]))
    return [
        f"keys {second.answer[0]} to {min(first.answer[1], second.answer[1]) - 1} were handed out twice: {first} and {second}"
        for first, second in itertools.pairwise(by_first)
        if second.answer[0] < first.answer[1]
    ]


def _disorder(answered: Sequence[RecordedCall]) -> list[str]:
    """By real time, over all sessions; that includes the promise that keys rise within a session."""
    faults: list[str] = []
    by_return = sorted(answered, key=lambda call: call.returned_ns or 0)
    place, highest = 0, None
    for call in sorted(answered, key=lambda call: call.invoked_ns):
        while place < len(by_return) and (by_return[place].returned_ns or 0) < call.invoked_ns:
            if highest is None or by_return[place].answer[0] > highest.answer[0]:
                highest = by_return[place]
            place += 1
        if highest is not None and call.answer[0] < highest.answer[1]:
            faults.append(f"a later call was given lower keys: {call} after {highest}")
    return faults


def _holes(answered: Sequence[RecordedCall], lost: Sequence[int], first_key: int) -> list[str]:
    """Each hole must be a sum of unanswered calls, and all holes together not more than all of them."""
    holes: list[tuple[int, int]] = []
    end = first_key
    for first, stop in sorted(call.answer for call in answered):
        if first > end:
            holes.append((end, first))
        end = max(end, stop)
    sizes = {0}
    for count in lost:
        sizes |= {size + count for size in sizes if size + count <= OPEN_SIZES_MAX}
    faults = [
        f"keys {first} to {stop - 1} belong to no call, answered or not: a call took effect twice"
        for first, stop in holes
        if stop - first not in sizes
    ]
    if not faults and sum(stop - first for first, stop in holes) > sum(lost):
        faults.append(
            f"the holes {holes} are larger than all {len(lost)} unanswered calls: one took effect twice"
        )
    return faults
