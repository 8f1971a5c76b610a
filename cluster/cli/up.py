"""`quorate up`: a local cluster with its broker in the background, for trying things out and for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.outcome import JsonOption, one_sentence, print_json
from cluster.local_cluster import HANDLERS, LocalCluster


def up(
    directory: Annotated[Path, typer.Option("--dir", help="Everything of this cluster is kept here.")],
    nodes: Annotated[int, typer.Option(min=1, max=9, help="Number of nodes.")] = 3,
    handlers: Annotated[str, typer.Option(help="Modules that declare handlers: M[,M].")] = ",".join(HANDLERS),
    kafka: Annotated[str | None, typer.Option(help="H:P of a broker of yours; default: start one.")] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes of each node that may run long tasks at once.")
    ] = 1,
    prefix: Annotated[str, typer.Option(help="First part of the topics' names.")] = "quorate",
    json_output: JsonOption = False,
) -> None:
    """Start a local cluster, or what is missing of it; returns when it takes tasks."""
    with one_sentence():
        modules = tuple(part.strip() for part in handlers.split(",") if part.strip())
        cluster = LocalCluster(
            directory, nodes=nodes, handlers=modules, kafka=kafka, workers=workers, prefix=prefix
        )
        description = cluster.up()
        cluster.leave()
        if json_output:
            print_json(description)
            return
        typer.echo(f"kafka {description['kafka']}")
        for node in description["nodes"]:
            typer.echo(f"{node['name']}  api {node['api']}  pid {node['pid']}  {node['data_dir']}")
        typer.echo(f"try: quorate nodes --dir {directory}")
