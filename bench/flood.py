"""What short tasks notice of a flood of long ones, judged from what handlers noted: pure, no clock of its own.

A wait runs from the submit call to the start of the handler. The work that long tasks got is counted in tasks, the parts of those under
way too, so that a window of a few seconds can be compared with another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.moments import Event, Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Flood:
    """One run. Times in seconds since just before the flood was submitted."""

    shorts: Sequence[tuple[float, float]]  # (submitted, waited), by submission
    briefs: Sequence[tuple[float, float]]  # the same of the brief runs of a handler that also runs long
    longs: Sequence[tuple[float, float | None]]  # (started, ended or not yet)
    longs_submitted: int
    not_started: int  # short ones; each is taken to have waited until the end of the run
    ended: float  # of the run: what came later was not looked at

    def waits_s(self, since: float = 0.0) -> list[float]:
        """Sorted, of the short tasks submitted from then on."""
        return sorted(wait for submitted, wait in self.shorts if submitted >= since)

    @property
    def long_done_at(self) -> float | None:
        """When the last of all long tasks had ended; None while one was left."""
        ends = [end for _, end in self.longs if end is not None]
        return max(ends) if ends and len(ends) >= self.longs_submitted else None


def read_flood(
    moments: Iterable[Moment],
    *,
    shorts: Sequence[int],
    briefs: Sequence[int] = (),
    longs: int,
    began_ns: int,
    ended_ns: int,
) -> Flood:
    """`shorts`, `briefs`: when each was submitted; `longs`: how many were. A task that ran twice counts as it began first."""
    first: dict[tuple[Event, int], int] = {}
    for moment in moments:
        if moment.at_ns <= ended_ns:
            first.setdefault((moment.event, moment.number), moment.at_ns)

    def since_ns(at_ns: int) -> float:
        return (at_ns - began_ns) / 1e9

    def waits(event: Event, submitted: Sequence[int]) -> list[tuple[float, float]]:
        return [
            (since_ns(number), (first.get((event, number), ended_ns) - number) / 1e9)
            for number in sorted(submitted)
        ]

    ends = {number: since_ns(at_ns) for (event, number), at_ns in first.items() if event is Event.LONG_ENDED}
    return Flood(
        shorts=waits(Event.SHORT_STARTED, shorts),
        briefs=waits(Event.BRIEF_STARTED, briefs),
        longs=sorted(
            (since_ns(at_ns), ends.get(number))
            for (event, number), at_ns in first.items()
            if event is Event.LONG_STARTED
        ),
        longs_submitted=longs,
        not_started=sum((Event.SHORT_STARTED, number) not in first for number in shorts),
        ended=since_ns(ended_ns),
    )


def long_work(flood: Flood, until: float, *, typical_s: float) -> float:
    """In tasks, from the start of the run: whole ones that ended by then, and of each under way the part that its time is of a whole one.

    What is under way is taken to last as long as those that ended, at least `typical_s`.
    """
    lasted = [end - start for start, end in flood.longs if end is not None]
    whole_s = max(typical_s, sum(lasted) / len(lasted) if lasted else 0.0)
    work = 0.0
    for start, end in flood.longs:
        if end is not None and end <= until:
            work += 1.0
        elif start < until:
            share_s = whole_s if end is None else max(whole_s, end - start)
            work += min(1.0, (until - start) / share_s)
    return work


def throughput_kept(flood: Flood, alone: Flood, *, typical_s: float) -> float:
    """Work that long tasks got beside short ones, as a share of what they got alone in the same time, while both runs had some left."""
    ends = [flood.ended, alone.ended, flood.long_done_at, alone.long_done_at]
    until = min(end for end in ends if end is not None)
    return long_work(flood, until, typical_s=typical_s) / long_work(alone, until, typical_s=typical_s)
