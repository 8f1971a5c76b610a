"""`quorate dead list|show|retry|discard`: tasks that failed for good, one by one or in bulk.

Each call deals with a slice of the dead topic and says how far it came; what was dealt with is settled before it is told. So a run that is
stopped in the middle loses nothing and repeats nothing: run it again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from heapq import heappush, heappushpop
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from cluster.api import AttemptView, DeadFilter, DeadView, SettledView
from cluster.cli.outcome import (
    EXIT_FAILED,
    ApiOption,
    DirOption,
    JsonOption,
    client_for,
    ending,
    moment,
    one_sentence,
    print_json,
    print_table,
)
from cluster.client import Client
from cluster.errors import Refused
from executor import PayloadError, decode_arguments

NAMES_MAX = 1000  # on one command line
ERRORS_SHOWN = 5
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY..]", help="Keys, or PARTITION:OFFSET of a record that is no task.", show_default=False
    ),
]
HandlerOption = Annotated[str, typer.Option("--handler", metavar="NAME", help="Only its tasks.")]
SinceOption = Annotated[
    str,
    typer.Option("--since", metavar="AGO|TIME", help="Died since: 90s, 15m, 2h, 3d, or 2026-01-31T12:00."),
]
ErrorOption = Annotated[str, typer.Option("--error", metavar="TEXT", help="A part of the error's text.")]
AllOption = Annotated[bool, typer.Option("--all", help="All of them, where no KEY and no filter is given.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
WhoOption = Annotated[str | None, typer.Option("--who", help="Who is recorded; default: you@this-host.")]

dead = typer.Typer(no_args_is_help=True, help="Show, retry and discard tasks that failed for good.")


@dead.command("list")
def list_dead(
    names: NamesArgument = None,
    handler: HandlerOption = "",
    since: SinceOption = "",
    error: ErrorOption = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The newest so many.")] = 50,
    api: ApiOption = None,
    directory: DirOption = None,
    json_output: JsonOption = False,
) -> None:
    """Show dead tasks that nobody has dealt with, the newest first."""
    with one_sentence(), client_for(api, directory) as client:
        shown, count = _newest(client, _filter(names, handler, since, error), limit)
    if json_output:
        print_json({"count": count, "tasks": [_described(one) for one in shown]})
        return
    table = Table(title=f"{len(shown)} of {count} dead tasks" if count else "no dead tasks")
    for column in ("key", "handler", "died", "runs", "error"):
        table.add_column(column, no_wrap=column != "error")
    for one in shown:
        table.add_row(
            _name(one),
            f"{one.handler} {one.kind}".strip() or "(no task)",
            moment(one.died_ms),
            str(len(one.attempts) or ""),
            _first_line(one.error) + (f" ({one.settled})" if one.settled else ""),
        )
    print_table(table)


@dead.command("show")
def show_dead(
    names: Annotated[list[str], typer.Argument(metavar="KEY..", show_default=False)],
    api: ApiOption = None,
    directory: DirOption = None,
    json_output: JsonOption = False,
) -> None:
    """Show all that is known of dead tasks, also of those that were dealt with."""
    chosen = _filter(names, "", "", "")
    with one_sentence(), client_for(api, directory) as client:
        found = {_name(one): one for page in client.dead(chosen, with_arguments=True) for one in page.tasks}
    if json_output:
        print_json([_described(one) for one in found.values()])
    else:
        for one in found.values():
            _say(one)
    if missing := [
        name for name in names if not any(name in (str(one.key), one.place) for one in found.values())
    ]:
        raise ending(f"no dead task: {', '.join(missing)}", EXIT_FAILED)


@dead.command("retry")
def retry_dead(
    names: NamesArgument = None,
    handler: HandlerOption = "",
    since: SinceOption = "",
    error: ErrorOption = "",
    all_of_them: AllOption = False,
    yes: YesOption = False,
    who: WhoOption = None,
    api: ApiOption = None,
    directory: DirOption = None,
    json_output: JsonOption = False,
) -> None:
    """Submit dead tasks again, each as a new task with a key of its own. Stopped in the middle: run it again, nothing is retried twice."""
    chosen = _chosen(names, handler, since, error, all_of_them)
    _confirm("Submit again", chosen, is_sure=yes or json_output)
    _settle("retry", chosen, who, api, directory, json_output)


@dead.command("discard")
def discard_dead(
    names: NamesArgument = None,
    handler: HandlerOption = "",
    since: SinceOption = "",
    error: ErrorOption = "",
    all_of_them: AllOption = False,
    yes: YesOption = False,
    who: WhoOption = None,
    api: ApiOption = None,
    directory: DirOption = None,
    json_output: JsonOption = False,
) -> None:
    """Mark dead tasks as dealt with: they are listed no more. Their records stay, `show` finds them by key."""
    chosen = _chosen(names, handler, since, error, all_of_them)
    _confirm("Discard", chosen, is_sure=yes or json_output)
    _settle("discard", chosen, who, api, directory, json_output)


def _settle(
    verb: str, chosen: DeadFilter, who: str | None, api: ApiOption, directory: DirOption, json_output: bool
) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    done: list[SettledView] = []
    failed: list[SettledView] = []
    with (
        one_sentence(),
        client_for(api, directory) as client,
        Progress(*columns, console=Console(stderr=True)) as progress,
    ):
        bar = progress.add_task(verb, total=None)
        for page in client.settle_dead(verb, chosen, who=who):
            for one in page.tasks:
                (failed if one.error else done).append(one)
            progress.update(
                bar, total=page.total, completed=page.looked, description=f"{verb}: {len(done)} done"
            )
    if json_output:
        print_json(
            {"verb": verb, "done": [asdict(one) for one in done], "failed": [asdict(one) for one in failed]}
        )
    else:
        typer.echo(f"{len(done)} {'submitted again' if verb == 'retry' else 'discarded'}")
        if verb == "retry":
            for one in done if chosen.keys else ():
                typer.echo(f"{one.key} is now {one.new_key}")
        for one in failed[:ERRORS_SHOWN]:
            typer.echo(f"{one.key or one.place}: {one.error}")
    found = {str(one.key) for one in (*done, *failed)} | {one.place for one in (*done, *failed)}
    missing = [str(name) for name in (*chosen.keys, *chosen.places) if str(name) not in found]
    if missing:
        raise ending(f"no dead task: {', '.join(missing[:ERRORS_SHOWN])}", EXIT_FAILED)
    if failed:
        raise ending(
            f"{len(failed)} were left as they are, the first because: {failed[0].error}", EXIT_FAILED
        )


def _newest(client: Client, chosen: DeadFilter, limit: int) -> tuple[list[DeadView], int]:
    """And how many there are; the topic is read from its oldest record on."""
    heap: list[tuple[int, int, DeadView]] = []
    seen: set[int | str] = set()
    with Progress(
        TextColumn("looking"), BarColumn(), console=Console(stderr=True), transient=True
    ) as progress:
        bar = progress.add_task("looking", total=None)
        for page in client.dead(chosen):
            for one in page.tasks:
                if (one.key or one.place) in seen:
                    continue
                seen.add(one.key or one.place)
                entry = (one.died_ms, len(seen), one)
                if len(heap) < limit:
                    heappush(heap, entry)
                else:
                    heappushpop(heap, entry)
            progress.update(bar, total=page.total, completed=page.looked)
    return [one for _, _, one in sorted(heap, reverse=True)], len(seen)


def _chosen(names: list[str] | None, handler: str, since: str, error: str, all_of_them: bool) -> DeadFilter:
    with one_sentence():
        if not (names or handler or since or error or all_of_them):
            raise Refused("which dead tasks? Give KEYs, --handler, --since, --error, or --all")
    return _filter(names, handler, since, error)


def _filter(names: list[str] | None, handler: str, since: str, error: str) -> DeadFilter:
    with one_sentence():
        keys: list[int] = []
        places: list[str] = []
        for name in names or ():
            if name.isdecimal() and 0 < int(name) < 2**63:
                keys.append(int(name))
            elif re.fullmatch(r"\d{1,9}:\d{1,18}", name):
                places.append(name)
            else:
                raise Refused(
                    f"{name[:40]!r} is no key, and no PARTITION:OFFSET of a record in the dead topic"
                )
        if len(names or ()) > NAMES_MAX:
            raise Refused(f"{len(names or ())} keys: give {NAMES_MAX} at most, or a filter")
        return DeadFilter(
            keys=tuple(keys), places=tuple(places), handler=handler, since_ms=_since_ms(since), error=error
        )


def _since_ms(text: str) -> int:
    if not text:
        return 0
    if ago := re.fullmatch(r"(\d{1,9})([smhd])", text):
        return int((time.time() - int(ago[1]) * UNITS_S[ago[2]]) * 1000)
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        raise Refused(
            f"--since is {text[:40]!r}: give 90s, 15m, 2h, 3d, or a time as 2026-01-31T12:00"
        ) from None


def _confirm(what: str, chosen: DeadFilter, *, is_sure: bool) -> None:
    if is_sure or chosen.keys or chosen.places:
        return
    limits = (
        f"of {chosen.handler}" if chosen.handler else "",
        f"since {moment(chosen.since_ms)}" if chosen.since_ms else "",
        f"with {chosen.error!r} in their error" if chosen.error else "",
    )
    typer.confirm(" ".join([what, "all dead tasks", *filter(None, limits)]) + "?", abort=True)


def _name(one: DeadView) -> str:
    return str(one.key) if one.key else one.place


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")


def _described(one: DeadView) -> dict[str, Any]:
    return asdict(one) | {"arguments": arguments(one.arguments)}


def _say(one: DeadView) -> None:
    typer.echo(
        f"{_name(one)} {one.handler} {one.kind}".rstrip() + (f": {one.settled}" if one.settled else "")
    )
    if one.key:
        typer.echo(f"  submitted {moment(one.submitted_ms)}, died {moment(one.died_ms)}, at {one.place}")
    if one.retry_of:
        typer.echo(f"  a retry of {one.retry_of}")
    if one.arguments is not None:
        typer.echo(f"  arguments {arguments(one.arguments)}")
    say_attempts(one.attempts)
    for line in one.error.strip().splitlines():
        typer.echo(f"  {line}")


def say_attempts(attempts: Iterable[AttemptView]) -> None:
    for run in attempts:
        typer.echo(f"  attempt {run.attempt}, {moment(run.at_ms)}, on {run.node}: {_first_line(run.error)}")


def arguments(encoded: bytes | None) -> Any:
    """For people and programs: positional and named ones; text that says so where they cannot be read."""
    if encoded is None:
        return None
    try:
        args, kwargs = decode_arguments(encoded)
    except PayloadError as unreadable:
        return f"unreadable: {unreadable}"
    return {"args": list(args), "kwargs": kwargs}
