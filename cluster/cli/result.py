"""`quorate result KEY`: what the handler returned."""

from __future__ import annotations

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


def result(
    key: Annotated[int, typer.Argument(min=1, max=2**63 - 1)],
    timeout_s: TimeoutOption = 60.0,
    api: ApiOption = None,
    directory: DirOption = None,
    json_output: JsonOption = False,
) -> None:
    """Wait for a task and print its value as JSON. Exit 1 when it is dead, 3 when the time is over."""
    with one_sentence(), client_for(api, directory) as client:
        value = client.result(key, timeout_s)
    print_json({"key": key, "result": value} if json_output else value)
