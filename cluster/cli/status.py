"""`quorate status KEY ..`: where tasks are."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from cluster.api import ProgressView, TaskState, TaskStatus
from cluster.cli.outcome import ApiOption, DirOption, JsonOption, client_for, one_sentence, print_json

KeysArgument = Annotated[list[int], typer.Argument(min=1, max=2**63 - 1, metavar="KEY..", show_default=False)]


def status(
    keys: KeysArgument, api: ApiOption = None, directory: DirOption = None, json_output: JsonOption = False
) -> None:
    """Say of each task: unknown, waiting, running (and how far), done, dead or cancelled. Any node knows."""
    with one_sentence(), client_for(api, directory) as client:
        statuses = client.statuses(keys)
    if json_output:
        described = [describe(one) for one in statuses]
        print_json(described[0] if len(described) == 1 else described)
        return
    for one in statuses:
        typer.echo(sentence(one))


def sentence(one: TaskStatus) -> str:
    where = f" on {one.node}" if one.node and one.state is TaskState.RUNNING else ""
    told = one.error or (_far(one.progress) if one.progress else "")
    return f"{one.key} {one.state.value}{where}" + (f": {told}" if told else "")


def describe(one: TaskStatus) -> dict[str, object]:
    told = None if one.progress is None else asdict(one.progress)
    return {
        "key": one.key,
        "state": one.state.value,
        "error": one.error,
        "node": one.node,
        "progress": told,
    }


def _far(told: ProgressView) -> str:
    share = f" of {told.total:g} ({told.done / told.total:.0%})" if told.total else ""
    return f"{told.done:g}{share} {told.note}".rstrip()
