"""`quorate down`: ends a local cluster; its data stays, `quorate up` continues it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.outcome import JsonOption, one_sentence, print_json
from cluster.local_cluster import LocalCluster


def down(
    directory: Annotated[Path, typer.Option("--dir", help="As given to `quorate up`.")],
    json_output: JsonOption = False,
) -> None:
    """End the nodes and the broker of a local cluster."""
    with one_sentence():
        ended = LocalCluster.attach(directory).down()
        if json_output:
            print_json({"ended": ended})
        else:
            typer.echo(f"ended: {', '.join(ended) or 'nothing was running'}")
