"""`quorate submit`: one task from the command line, or a file of them with a progress bar.

Each line of the file is {"handler": "name", "args": [..] or {..}, "kind": ".."}; kind may be left out, the
handler when NAME is given. The file is checked as a whole before anything is sent, see task_file.py for how an interrupted
run is resumed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cluster.api import UNIQUE_FOR_S
from cluster.cli.outcome import (
    EXIT_REFUSED,
    ApiOption,
    DirOption,
    JsonOption,
    client_for,
    ending,
    one_sentence,
    print_json,
)
from cluster.cli.task_file import TaskFile, Totals
from cluster.client import Client, error_of, new_task
from cluster.errors import Refused, SettingsError


def submit(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The handler.", show_default=False)
    ] = None,
    args: Annotated[str, typer.Option("--args", help="JSON list or object.")] = "[]",
    kind: Annotated[str, typer.Option(help="A part of the handler's work whose cost is learnt apart.")] = "",
    unique: Annotated[
        str,
        typer.Option(
            metavar="VALUE", help="All submits of one value are one task; prints the first one's key."
        ),
    ] = "",
    unique_for_s: Annotated[
        float,
        typer.Option(
            "--unique-for", metavar="SECONDS", min=0.001, help="So long, and until it was executed."
        ),
    ] = UNIQUE_FOR_S,
    file: Annotated[Path | None, typer.Option(help="Tasks, one JSON object a line.")] = None,
    api: ApiOption = None,
    directory: DirOption = None,
    json_output: JsonOption = False,
) -> None:
    """Submit tasks; returns when the broker has them."""
    with one_sentence():
        if file is not None:
            if args != "[]" or kind or unique:
                given = "--args" if args != "[]" else "--kind" if kind else "--unique"
                raise SettingsError(f"{given} and --file were both given: put it into the file")
            tasks = TaskFile(file, default_handler=name)
            with client_for(api, directory) as client:
                totals = _submit_file(client, tasks)
            _report(totals, tasks, json_output=json_output)
            return
        if name is None:
            raise SettingsError("submit what? Give the handler's NAME, or --file tasks.jsonl")
        task = new_task(name, _parse_arguments(args), kind=kind, unique=unique, unique_for_s=unique_for_s)
        with client_for(api, directory, keys_block=1) as client:
            (answer,) = client.submit_tasks([task])
        if answer.error is not None:
            raise error_of(answer)
    if json_output:
        print_json({"key": answer.key, "handler": name, "was_bound": answer.was_bound})
    else:
        typer.echo(answer.key)


def _parse_arguments(text: str) -> list[object] | dict[str, object]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise Refused(f"--args is no JSON: {error}") from None
    if not isinstance(value, list | dict):
        raise Refused(f"--args is a JSON {type(value).__name__}: give a list or an object")
    return value


def _submit_file(client: Client, tasks: TaskFile) -> Totals:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with tasks, Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("submitting", total=tasks.count, completed=tasks.acknowledged)
        for done in tasks.submit_rest(client):
            progress.update(bar, advance=done)
    return tasks.totals


def _report(totals: Totals, tasks: TaskFile, *, json_output: bool) -> None:
    if json_output:
        print_json(
            {
                "tasks": tasks.count,
                "submitted": totals.submitted,
                "resumed": totals.resumed,
                "refused": [{"line": line, "error": error} for line, error in totals.refused],
                "state": str(tasks.state_path),
            }
        )
    else:
        typer.echo(
            f"{totals.submitted} submitted, {totals.resumed} were already; keys are in {tasks.state_path}"
        )
    if totals.refused:
        line, error = totals.refused[0]
        raise ending(f"{len(totals.refused)} tasks were refused, first line {line}: {error}", EXIT_REFUSED)
