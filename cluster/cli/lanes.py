"""`quorate lanes`: what waits and runs in each lane of each node, and with --why what was decided lately, and by which numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from cluster.api import BacklogView, LanesView
from cluster.cli.outcome import (
    ApiOption,
    DirOption,
    JsonOption,
    client_for,
    moment,
    one_sentence,
    print_json,
    print_table,
    seconds,
)
from cluster.errors import Unavailable

MEBIBYTE = 1024 * 1024


def lanes(
    why: Annotated[
        bool, typer.Option("--why", help="Also the newest decisions, each with its reason.")
    ] = False,
    api: ApiOption = None,
    directory: DirOption = None,
    json_output: JsonOption = False,
) -> None:
    """Show the lanes and runners of the nodes that answer."""
    with one_sentence(), client_for(api, directory) as client:
        views = client.lanes(with_reasons=why)
        if not views:
            raise Unavailable("no node answers: check the addresses, or start them with `quorate up`")
    if json_output:
        print_json([asdict(view) for view in views])
        return
    print_table(_lanes(views))
    print_table(_runners(views))
    print_table(_backlog(views[0].backlog))
    if why:
        print_table(_reasons(views))


def _lanes(views: Sequence[LanesView]) -> Table:
    table = Table(title="lanes")
    for title in ("node", "lane", "running/slots", "queued", "backlog", "room", "mean run", "median wait"):
        table.add_column(title, no_wrap=True)
    for view in views:
        for lane in view.lanes:
            table.add_row(
                view.node,
                lane.lane,
                f"{lane.running}/{lane.slots}",
                str(lane.queued),
                seconds(lane.backlog_s),
                str(lane.room),
                seconds(lane.mean_s),
                seconds(lane.median_wait_s),
            )
    return table


def _runners(views: Sequence[LanesView]) -> Table:
    table = Table(title="runners")
    for title in ("node", "pid", "form", "for", "state", "running/slots", "memory"):
        table.add_column(title, no_wrap=True)
    for view in views:
        for one in view.runners:
            table.add_row(
                view.node,
                str(one.pid),
                one.form,
                "long" if one.is_long else "short",
                one.state,
                f"{one.running}/{one.slots}",
                f"{one.rss_bytes / MEBIBYTE:.0f} MiB",
            )
    return table


def _backlog(backlog: Sequence[BacklogView]) -> Table:
    table = Table(title="whole cluster")
    for title in ("lane", "tasks not executed", "seconds of work", ""):
        table.add_column(title, no_wrap=True)
    for one in backlog:
        table.add_row(one.lane, str(one.tasks), seconds(one.seconds), "paused" if one.paused else "")
    return table


def _reasons(views: Sequence[LanesView]) -> Table:
    table = Table(title="decisions, newest last")
    for title in ("when", "node", "what", "decision"):
        table.add_column(title, no_wrap=True)
    table.add_column("why")
    rows = sorted(
        (one.at_ms, view.node, one.subject, one.decision, one.why) for view in views for one in view.reasons
    )
    for at_ms, node, subject, decision, reason in rows:
        table.add_row(moment(at_ms), node, subject, decision, reason)
    return table
