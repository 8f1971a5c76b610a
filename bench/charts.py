"""Pictures of the figures, if matplotlib is installed (`pip install -e .[bench]`); a sentence instead if it is not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

try:
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams |= {
        "svg.fonttype": "none",
        "svg.hashsalt": "quorate",
    }  # text as text, the same bytes again
except ImportError:
    Figure = None

PICTURES = Path("build/bench")
NOT_INSTALLED = "no picture drawn: matplotlib is not installed (pip install -e '.[bench]')"
MANY = 1000  # from here on digits are grouped
OWN_COLOUR, PEER_COLOUR = "#1f6f8b", "#b8b8b8"


def draw_ledger(figures: Mapping[str, Any], peers: Mapping[str, Any]) -> str:
    """Single calls of 64 callers and of one, beside the peers'. Returns what to tell the user."""
    if Figure is None:
        return NOT_INSTALLED
    picture = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = picture.subplots(1, 2)
    rates = {
        "Quorate": figures["claims_per_s_64"],
        "Quorate_one_core": figures["claims_per_s_64_one_core"],
    } | {name: peer["calls_per_s_64"] for name, peer in peers.items()}
    waits = {"Quorate": figures["claim_p50_ms_1"]} | {
        name: peer["call_p50_ms_1"] for name, peer in peers.items() if "call_p50_ms_1" in peer
    }
    _bars(left, rates, "calls per second, 64 callers, 3 nodes")
    _bars(right, waits, "one caller: median ms (log)")
    right.set_xscale("log")
    return save(picture, "ledger")


def draw_failover(seconds: Mapping[str, list[float]]) -> str:
    """A point for each killed leader."""
    if Figure is None:
        return NOT_INSTALLED
    picture = Figure(figsize=(7, 2.6), layout="constrained")
    axes = picture.subplots()
    for place, values in enumerate(seconds.values()):
        colour = OWN_COLOUR if place == 0 else PEER_COLOUR
        axes.scatter(values, [place] * len(values), color=colour, edgecolor="black", linewidth=0.4, s=28)
    axes.set_yticks(range(len(seconds)), [name.replace("_", " ") for name in seconds])
    axes.set_ylim(len(seconds) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_title("leader killed: seconds until the next answer", fontsize=10)
    plain(axes)
    return save(picture, "failover")


def draw_latency(figures: Mapping[str, Any], peers: Mapping[str, Any]) -> str:
    """Submit call to handler start at both rates, beside the peers'."""
    if Figure is None:
        return NOT_INSTALLED
    picture = Figure(figsize=(9, 3.2), layout="constrained")
    for axes, rate in zip(picture.subplots(1, 2), (200, 1_000), strict=True):
        shown: dict[str, Any] = {}
        for percent in ("p50", "p99"):
            name = f"start_{percent}_ms_{rate}"
            shown |= {
                f"Quorate {percent}": figures[name],
                f"Quorate {percent}, 3 nodes": figures[f"{name}_3_nodes"],
            }
            shown |= {f"{peer} {percent}": one[name] for peer, one in peers.items()}
        _bars(axes, shown, f"{rate:,} tasks a second: ms from submit to start (log)")
        axes.set_xscale("log")
    return save(picture, "latency")


def draw_noop(figures: Mapping[str, Any], peers: Mapping[str, Any]) -> str:
    """Nodes beside the bare loop and the peers: rates, so the scale is logarithmic."""
    if Figure is None:
        return NOT_INSTALLED
    picture = Figure(figsize=(7, 3.6), layout="constrained")
    axes = picture.subplots()
    rates = {
        "Quorate, 1 node": figures["tasks_per_s"],
        "Quorate, 3 nodes on the same cores": figures["tasks_per_s_3_nodes"],
        "the bare loop": figures["ceiling_tasks_per_s"],
    } | {name: peer["tasks_per_s"] for name, peer in peers.items()}
    _bars(axes, rates, "tasks that do nothing, a second (log)")
    axes.set_xscale("log")
    return save(picture, "noop")


def draw_submit(figures: Mapping[str, Any]) -> str:
    """Many at once, and what one submit waits."""
    if Figure is None:
        return NOT_INSTALLED
    picture = Figure(figsize=(9, 2.4), layout="constrained")
    left, right = picture.subplots(1, 2)
    many = ("submit_many_per_s_api", "submit_many_per_s_api_running", "submit_many_per_s_embedded")
    _bars(
        left, {f"Quorate {name[18:]}": figures[name] for name in many}, "tasks stored per second, one program"
    )
    one = ("submit_one_p50_ms", "submit_one_p99_ms")
    _bars(
        right, {f"Quorate {name[11:14]}": figures[name] for name in one}, "one submit: ms until acknowledged"
    )
    return save(picture, "submit")


def _bars(axes: Any, figures: Mapping[str, Any], title: str) -> None:
    """Medians, with least and greatest as whiskers."""
    shown = {name: one for name, one in figures.items() if one["median"] is not None}
    medians = [one["median"] for one in shown.values()]
    spread = [
        [one["median"] - one["min"] for one in shown.values()],
        [one["max"] - one["median"] for one in shown.values()],
    ]
    colours = [OWN_COLOUR if name.startswith("Quorate") else PEER_COLOUR for name in shown]
    axes.barh(
        [name.replace("_", " ") for name in shown],
        medians,
        xerr=spread,
        color=colours,
        ecolor="black",
        capsize=2,
    )
    for place, one in enumerate(shown.values()):
        value = one["median"]
        text = f"  {value:,.0f}" if value >= MANY else f"  {value:.3g}"
        axes.annotate(text, (one["max"], place), fontsize=7, verticalalignment="center")
    axes.margins(x=0.15)
    axes.invert_yaxis()
    axes.set_title(title, fontsize=10)
    axes.tick_params(labelsize=8)
    plain(axes)


def plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)


def save(picture: Any, name: str, where: Path = PICTURES) -> str:
    where.mkdir(parents=True, exist_ok=True)
    path = where / f"{name}.svg"
    picture.savefig(path, metadata={"Date": None})
    return f"picture: {path}"
