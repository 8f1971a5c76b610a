"""`quorate output KEY`: the last part of what a task printed and logged."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from cluster.cli.outcome import (
    EXIT_FAILED,
    ApiOption,
    DirOption,
    JsonOption,
    client_for,
    ending,
    one_sentence,
    print_json,
)


def output(
    key: Annotated[int, typer.Argument(min=1, max=2**63 - 1)],
    api: ApiOption = None,
    directory: DirOption = None,
    json_output: JsonOption = False,
) -> None:
    """Show what a task wrote. The node that ran it keeps the newest in memory; exit 1 when nothing is kept."""
    with one_sentence(), client_for(api, directory) as client:
        view = client.output(key)
    if json_output:
        print_json({"key": key, "node": None, "text": None} if view is None else asdict(view))
    elif view is not None:
        typer.echo(view.text, nl=not view.text.endswith("\n"))
    if view is None:
        raise ending(
            f"nothing is kept of task {key}: it wrote nothing, has not ended, or it is too long ago",
            EXIT_FAILED,
        )
