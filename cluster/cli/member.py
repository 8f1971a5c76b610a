"""`quorate member`: who belongs to the Raft group, and changes of it, one node at a time."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from cluster.cli.outcome import (
    ApiOption,
    DirOption,
    JsonOption,
    TimeoutOption,
    client_for,
    one_sentence,
    print_json,
)

TIMEOUT_S = 30.0  # a node that joins is fed the whole ledger first
NodeArgument = Annotated[str, typer.Argument(metavar="HOST:PORT", help="The node's --listen.")]

member = typer.Typer(no_args_is_help=True, help="Show and change the Raft group.")


@member.command("list")
def list_members(api: ApiOption = None, directory: DirOption = None, json_output: JsonOption = False) -> None:
    """Show the members, as the first node that answers knows them."""
    with one_sentence(), client_for(api, directory) as client:
        members = client.members()
    if json_output:
        print_json([asdict(one) for one in members])
        return
    for one in members:
        state = "leader" if one.is_leader else "connected" if one.connected else "not connected"
        typer.echo(f"{one.node}  {state}")


@member.command()
def add(
    node: NodeArgument,
    api: ApiOption = None,
    directory: DirOption = None,
    timeout_s: TimeoutOption = TIMEOUT_S,
    json_output: JsonOption = False,
) -> None:
    """Add a node. Start it first: quorate node --join --peers H:P,.. with the other options of its own."""
    with one_sentence(), client_for(api, directory) as client:
        group = client.add_member(node, timeout_s)
    _say(group, f"{node} belongs to the group", json_output)


@member.command()
def remove(
    node: NodeArgument,
    api: ApiOption = None,
    directory: DirOption = None,
    timeout_s: TimeoutOption = TIMEOUT_S,
    json_output: JsonOption = False,
) -> None:
    """Remove a node, running or not. Stop it afterwards."""
    with one_sentence(), client_for(api, directory) as client:
        group = client.remove_member(node, timeout_s)
    _say(group, f"{node} no longer belongs to the group", json_output)


def _say(group: list[str], sentence: str, json_output: bool) -> None:
    if json_output:
        print_json({"group": group})
    else:
        typer.echo(f"{sentence}: {', '.join(group)}")
