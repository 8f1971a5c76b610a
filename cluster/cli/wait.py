"""`quorate wait KEY ..`: returns when the tasks are executed."""

from __future__ import annotations

import typer

from cluster.api import TaskState
from cluster.cli.outcome import (
    EXIT_FAILED,
    ApiOption,
    DirOption,
    JsonOption,
    TimeoutOption,
    client_for,
    one_sentence,
    print_json,
)
from cluster.cli.status import KeysArgument, describe, sentence


def wait(
    keys: KeysArgument,
    timeout_s: TimeoutOption = 60.0,
    api: ApiOption = None,
    directory: DirOption = None,
    json_output: JsonOption = False,
) -> None:
    """Wait until all are executed. Exit 1 when one is dead or cancelled, 3 when the time is over."""
    with one_sentence(), client_for(api, directory) as client:
        client.wait(keys, timeout_s)
        statuses = client.statuses(keys)
    if json_output:
        print_json([describe(one) for one in statuses])
    else:
        for one in statuses:
            typer.echo(sentence(one))
    if any(one.state is not TaskState.DONE for one in statuses):
        raise typer.Exit(EXIT_FAILED)
