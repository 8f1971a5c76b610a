"""`quorate nodes`: state, leader, round trips and lanes, as each living node sees them."""

from __future__ import annotations

from dataclasses import asdict

import typer
from rich.table import Table

from cluster.api import NodeView
from cluster.cli.outcome import (
    ApiOption,
    DirOption,
    JsonOption,
    client_for,
    one_sentence,
    print_json,
    print_table,
)
from cluster.errors import Unavailable


def nodes(api: ApiOption = None, directory: DirOption = None, json_output: JsonOption = False) -> None:
    """List the nodes that answer."""
    with one_sentence(), client_for(api, directory) as client:
        views = client.nodes()
        if not views:
            raise Unavailable("no node answers: check the addresses, or start them with `quorate up`")
    if json_output:
        print_json([asdict(view) for view in views])
        return
    table = Table()
    for title in ("node", "api", "state", "leader", "executed", "running/slots+queued", "round trips"):
        table.add_column(title, no_wrap=True)
    for view in views:
        table.add_row(*_row(view))
    print_table(table)
    waiting = {name: max(view.counters.get(name, 0) for view in views) for name in ("in_doubt", "dead_open")}
    if waiting["in_doubt"]:
        typer.echo(f"{waiting['in_doubt']} keys are in doubt and wait for your word: `quorate doubt list`")
    if waiting["dead_open"]:
        typer.echo(f"{waiting['dead_open']} dead tasks were not dealt with: `quorate dead list`")


def _row(view: NodeView) -> list[str]:
    lanes = "\n".join(f"{lane.lane} {lane.running}/{lane.slots}+{lane.queued}" for lane in view.lanes)
    trips = "\n".join(
        f"{peer.name} {'cut off' if not peer.connected else _milliseconds(peer.round_trip_ms)}"
        for peer in view.peers
    )
    state = "ready" if view.ready else "not ready"
    leader = "itself" if view.is_leader else view.leader or "none"
    return [view.name, view.api, state, leader, str(view.executed), lanes, trips]


def _milliseconds(round_trip_ms: float | None) -> str:
    return "connected" if round_trip_ms is None else f"{round_trip_ms:.1f} ms"
