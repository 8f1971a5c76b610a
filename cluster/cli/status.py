"""`quorate status KEY ..`: where tasks are."""

from __future__ import annotations

from typing import Annotated

import typer

from cluster.api import TaskStatus
from cluster.cli.outcome import ApiOption, DirOption, JsonOption, client_for, one_sentence, print_json

KeysArgument = Annotated[list[int], typer.Argument(min=1, max=2**63 - 1, metavar="KEY..", show_default=False)]


def status(
    keys: KeysArgument, api: ApiOption = None, directory: DirOption = None, json_output: JsonOption = False
) -> None:
    """Say of each task: unknown, waiting, running, done or dead."""
    with one_sentence(), client_for(api, directory) as client:
        statuses = client.statuses(keys)
    if json_output:
        described = [describe(one) for one in statuses]
        print_json(described[0] if len(described) == 1 else described)
        return
    for one in statuses:
        typer.echo(f"{one.key} {one.state.value}" + (f": {one.error}" if one.error else ""))


def describe(one: TaskStatus) -> dict[str, object]:
    return {"key": one.key, "state": one.state.value, "error": one.error, "node": one.node}
