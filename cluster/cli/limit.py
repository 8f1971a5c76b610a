"""`quorate limit`, `pause`, `resume`, `purge`: what operators change while it runs, on all nodes; who and when is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from cluster.api import ChangeView, LimitsView
from cluster.cli.outcome import (
    ApiOption,
    DirOption,
    JsonOption,
    client_for,
    moment,
    one_sentence,
    print_json,
    print_table,
)

HISTORY_SHOWN = 20
WhoOption = Annotated[str | None, typer.Option("--who", help="Who is recorded; default: you@this-host.")]
WorkArgument = Annotated[str, typer.Argument(metavar="handler:NAME|lane:NAME", show_default=False)]
SubjectArgument = Annotated[
    str,
    typer.Argument(
        metavar="SUBJECT",
        help="handler:NAME or lane:NAME (tasks at once on each node), workers, io-threads, loop-tasks, max-backlog-s.",
        show_default=False,
    ),
]

limit = typer.Typer(no_args_is_help=True, help="Show and change limits, on all nodes at once.")


@limit.command("list")
def list_limits(api: ApiOption = None, directory: DirOption = None, json_output: JsonOption = False) -> None:
    """Show what is in force, and the newest changes."""
    with one_sentence(), client_for(api, directory) as client:
        view = client.limits()
    if json_output:
        print_json(asdict(view))
        return
    in_force = [*view.numbers, *view.paused, *view.purged]
    print_table(
        _table("in force", in_force) if in_force else Table(title="nothing is limited, paused or purged")
    )
    if view.history:
        print_table(_table("newest changes", view.history[-HISTORY_SHOWN:]))


@limit.command("set")
def set_limit(
    subject: SubjectArgument,
    value: Annotated[int, typer.Argument(show_default=False)],
    who: WhoOption = None,
    api: ApiOption = None,
    directory: DirOption = None,
    json_output: JsonOption = False,
) -> None:
    """Set a limit, until it is cleared."""
    with one_sentence(), client_for(api, directory) as client:
        view = client.set_limit(subject, value, who=who)
    _say(view, f"{subject} is {value} on every node", json_output)


@limit.command()
def clear(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="SUBJECT", help="As for set; purge:handler:NAME forgets a purge.", show_default=False
        ),
    ],
    who: WhoOption = None,
    api: ApiOption = None,
    directory: DirOption = None,
    json_output: JsonOption = False,
) -> None:
    """Clear a limit: from now on it is as measured, or as the node was started."""
    with one_sentence(), client_for(api, directory) as client:
        view = client.clear_limit(subject, who=who)
    _say(view, f"{subject} is not limited any more", json_output)


def pause(
    subject: WorkArgument,
    who: WhoOption = None,
    api: ApiOption = None,
    directory: DirOption = None,
    json_output: JsonOption = False,
) -> None:
    """Start nothing more of a handler or lane. What runs may end; tasks are still taken and kept."""
    with one_sentence(), client_for(api, directory) as client:
        view = client.pause(subject, who=who)
    _say(view, f"{subject} is paused: its tasks are kept until `quorate resume {subject}`", json_output)


def resume(
    subject: WorkArgument,
    who: WhoOption = None,
    api: ApiOption = None,
    directory: DirOption = None,
    json_output: JsonOption = False,
) -> None:
    """Run again what was paused."""
    with one_sentence(), client_for(api, directory) as client:
        view = client.resume(subject, who=who)
    _say(view, f"{subject} runs again", json_output)


def purge(
    subject: WorkArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    who: WhoOption = None,
    api: ApiOption = None,
    directory: DirOption = None,
    json_output: JsonOption = False,
) -> None:
    """Cancel all tasks of a handler or lane that were submitted until now and have not started. They cannot be brought back."""
    if not yes and not json_output:
        typer.confirm(f"Cancel all tasks of {subject} that have not started?", abort=True)
    with one_sentence(), client_for(api, directory) as client:
        view = client.purge(subject, who=who)
    _say(view, f"what was submitted of {subject} until now and did not start is cancelled", json_output)


def _say(view: LimitsView, sentence: str, json_output: bool) -> None:
    if json_output:
        print_json(asdict(view))
    else:
        typer.echo(sentence)


def _table(title: str, changes: Sequence[ChangeView]) -> Table:
    table = Table(title=title)
    for column in ("subject", "what", "who", "when"):
        table.add_column(column, no_wrap=True)
    for one in changes:
        what = one.verb if one.value is None else f"{one.verb} to {one.value}"
        table.add_row(one.subject, what, one.who, moment(one.at_ms))
    return table
