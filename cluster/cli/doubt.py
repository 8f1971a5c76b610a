"""`quorate doubt list|show|resolve`: keys of which nobody can say whether their effect happened, and the operator's word on them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table

from cluster.api import DoubtView
from cluster.cli.dead import arguments, say_attempts
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
from cluster.errors import Refused

ERRORS_SHOWN = 5
KeysArgument = Annotated[list[int], typer.Argument(min=1, max=2**63 - 1, metavar="KEY..", show_default=False)]
SomeKeysArgument = Annotated[
    list[int] | None, typer.Argument(min=1, max=2**63 - 1, metavar="[KEY..]", show_default=False)
]

doubt = typer.Typer(no_args_is_help=True, help="Show and decide about tasks whose effect is unknown.")


@doubt.command("list")
def list_doubts(
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="So many, by rising keys.")] = 100,
    api: ApiOption = None,
    directory: DirOption = None,
    json_output: JsonOption = False,
) -> None:
    """Show the keys in doubt and why their checks could not tell."""
    shown: list[DoubtView] = []
    count = 0
    with one_sentence(), client_for(api, directory) as client:
        for page in client.doubts():
            count = page.total
            shown += page.doubts[: limit - len(shown)]
            if len(shown) >= limit:
                break
    if json_output:
        print_json({"count": count, "doubts": [_described(one) for one in shown]})
        return
    table = Table(title=f"{len(shown)} of {count} keys in doubt" if count else "no key is in doubt")
    for column in ("key", "attempt", "node", "session", "why"):
        table.add_column(column, no_wrap=column != "why")
    for one in shown:
        session = f"{one.session} ({'open' if one.session_open else 'closed'})"
        table.add_row(str(one.key), str(one.attempt), one.node, session, one.why)
    print_table(table)


@doubt.command("show")
def show_doubts(
    keys: KeysArgument, api: ApiOption = None, directory: DirOption = None, json_output: JsonOption = False
) -> None:
    """Show all that is known of keys in doubt: who ran them, what the check said, which task it is."""
    with one_sentence(), client_for(api, directory) as client:
        found = [one for page in client.doubts(keys, with_tasks=True) for one in page.doubts]
    if json_output:
        print_json([_described(one) for one in found])
    else:
        for one in found:
            _say(one)
    if missing := [str(key) for key in keys if key not in {one.key for one in found}]:
        raise ending(f"not in doubt: {', '.join(missing[:ERRORS_SHOWN])}", EXIT_FAILED)


@doubt.command("resolve")
def resolve_doubts(
    keys: SomeKeysArgument = None,
    executed: Annotated[
        bool, typer.Option("--executed", help="The effect is there: never run again.")
    ] = False,
    retry: Annotated[bool, typer.Option("--retry", help="The effect is not there: run it.")] = False,
    why: Annotated[
        str,
        typer.Option("--why", metavar="TEXT", help="Instead of KEYs: all with this text in their reason."),
    ] = "",
    who: Annotated[str | None, typer.Option("--who", help="Who is recorded; default: you@this-host.")] = None,
    api: ApiOption = None,
    directory: DirOption = None,
    json_output: JsonOption = False,
) -> None:
    """Decide about keys in doubt. Look at the world outside first: nobody checks this word."""
    with one_sentence():
        if executed == retry:
            raise Refused("decide what? Give either --executed or --retry")
        if bool(keys) == bool(why):
            raise Refused("which keys in doubt? Give KEYs, or --why with a part of their reason")
        decision = "executed" if executed else "retry"
        with client_for(api, directory) as client:
            chosen = list(dict.fromkeys(keys or ())) or [
                one.key
                for page in client.doubts()
                for one in page.doubts
                if why.casefold() in one.why.casefold()
            ]
            views = client.resolve_doubts(chosen, decision, who=who) if chosen else []
    failed = [view for view in views if view.error]
    if json_output:
        decided = [view.key for view in views if not view.error]
        print_json({"decision": decision, "keys": decided, "failed": [asdict(view) for view in failed]})
    else:
        said = "are executed" if executed else "may run again"
        typer.echo(f"{len(views) - len(failed)} keys {said}")
        for view in failed[:ERRORS_SHOWN]:
            typer.echo(view.error)
    if failed:
        raise ending(f"{len(failed)} keys were left as they are: {failed[0].error}", EXIT_FAILED)


def _described(one: DoubtView) -> dict[str, Any]:
    return asdict(one) | {"arguments": arguments(one.arguments)}


def _say(one: DoubtView) -> None:
    typer.echo(f"{one.key} {one.handler} {one.kind}".rstrip())
    is_open = "which is open" if one.session_open else "which is closed"
    typer.echo(
        f"  attempt {one.attempt} by session {one.session} of {one.node or 'a node that is gone'}, {is_open}"
    )
    typer.echo(f"  the check: {one.why}")
    if one.submitted_ms:
        typer.echo(f"  submitted {moment(one.submitted_ms)}")
    if one.arguments is not None:
        typer.echo(f"  arguments {arguments(one.arguments)}")
    say_attempts(one.attempts)
