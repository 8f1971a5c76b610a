"""Two pictures of one flood, from samples and decisions of a real run: what short tasks wait, and how large the pools are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.charts import NOT_INSTALLED, OWN_COLOUR, Figure, plain, save
from bench.grounds import LaneSample, Sample
from bench.scenarios import SCENARIOS, Run

TARGET_WAIT_MS = 20.0
BRIEF_COLOUR = "#e0a030"
LANE_COLOURS = {"cpu-short": OWN_COLOUR, "cpu-long": "#c05020", "io-short": "#5aa84f", "io-long": "#8a5ab5"}
NO_LANE = LaneSample(queued=0, running=0, slots=0)
NOTES_MAX = 6
FEW = 4


def draw_flood(run: Run, kind: str, where: Path) -> str:
    """Returns what to tell the user."""
    if Figure is None:
        return NOT_INSTALLED
    name = kind.replace(", ", "-").replace(" ", "-")
    return "\n".join(
        save(picture, f"flood-{what}-{name}", where)
        for what, picture in (("waits", _waits(run, kind)), ("pools", _pools(run, kind)))
    )


def _waits(run: Run, kind: str) -> Any:
    picture = Figure(figsize=(8, 4.2), layout="constrained")
    upper, lower = picture.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    _points(upper, run.flood.shorts, "a short task", OWN_COLOUR)
    _points(upper, run.flood.briefs, "a brief run of the\nhandler that also\nruns long", BRIEF_COLOUR)
    upper.axhline(TARGET_WAIT_MS, color="black", linewidth=0.6, linestyle=":")
    upper.set_yscale("log")
    for numbers in (upper.yaxis.set_major_formatter, upper.yaxis.set_minor_formatter):
        numbers(lambda value, _: f"{value:g}")
    upper.tick_params(which="minor", labelsize=6)
    upper.set_ylabel("waited, ms", fontsize=8)
    upper.set_title(f"10 short tasks a second{_title(kind)}", fontsize=9)
    _legend(upper)
    _lines(lower, run, lambda lane: lane.queued)
    lower.set_ylabel("queued", fontsize=8)
    _over_time((upper, lower), run)
    return picture


def _pools(run: Run, kind: str) -> Any:
    picture = Figure(figsize=(8, 5.0), layout="constrained")
    upper, middle, lower = picture.subplots(3, 1, sharex=True)
    _lines(upper, run, lambda lane: lane.slots)
    upper.set_ylabel("slots", fontsize=8)
    upper.set_title(f"the pools meanwhile: {SCENARIOS[kind.partition(', ')[0]].title}", fontsize=9)
    _lines(middle, run, lambda lane: lane.running)
    middle.set_ylabel("running", fontsize=8)
    for axes in (upper, middle):  # two beside two hundred
        axes.set_yscale("symlog", linthresh=FEW)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    forms = sorted({form for sample in run.samples for form in sample.processes})
    for form in forms:
        counts = [sample.processes.get(form, 0) for sample in run.samples]
        lower.step(_moments(run), counts, where="post", linewidth=1.2, label=form)
    lower.set_ylabel("processes", fontsize=8)
    lower.set_ylim(bottom=0)
    _legend(lower)
    _over_time((upper, middle, lower), run)
    return picture


def _title(kind: str) -> str:
    name, _, where = kind.partition(", ")
    flood = " and 200 of a second's length at once" if SCENARIOS[name].flood else ""
    return f"{flood}: {SCENARIOS[name].title}" + (f" ({where})" if where else "")


def _points(axes: Any, waits: Sequence[tuple[float, float]], label: str, colour: str) -> None:
    if waits:
        axes.scatter(
            [at for at, _ in waits], [wait * 1000 for _, wait in waits], s=8, color=colour, label=label
        )


def _lines(axes: Any, run: Run, number: Callable[[LaneSample], int]) -> None:
    """A line for each lane that had work at any time."""
    for lane, colour in LANE_COLOURS.items():
        seen = [sample.lanes.get(lane, NO_LANE) for sample in run.samples]
        if any(one.queued or one.running for one in seen):
            axes.step(_moments(run), [number(one) for one in seen], where="post", color=colour, label=lane)
    axes.set_ylim(bottom=0)
    _legend(axes)


def _legend(axes: Any) -> None:
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _moments(run: Run) -> list[float]:
    samples: Sequence[Sample] = run.samples
    return [sample.at_s - run.began_s for sample in samples]


def _over_time(all_axes: Iterable[Any], run: Run) -> None:
    """One axis of time below, and the moments at which labels changed."""
    changes = [
        (at_s - run.began_s, f"{subject.removeprefix('handler ')} {decision}")
        for at_s, subject, decision, _ in run.reasons
        if subject.startswith("handler") and decision.startswith("to ") and at_s >= run.began_s
    ][:NOTES_MAX]
    for number, axes in enumerate(all_axes):
        for at, text in changes:
            axes.axvline(at, color="#888888", linewidth=0.7, linestyle="--")
            if number == 0:
                axes.annotate(
                    text,
                    (at, 0.97),
                    xycoords=("data", "axes fraction"),
                    fontsize=6,
                    rotation=90,
                    va="top",
                    ha="right",
                )
        axes.tick_params(labelsize=8)
        plain(axes)
    axes.set_xlim(0, run.flood.ended)
    axes.set_xlabel("seconds since the flood", fontsize=8)
