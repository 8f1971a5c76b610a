"""`quorate`: collects the commands. Also runs as `python -m cluster.cli.main`."""

from __future__ import annotations

from collections.abc import Callable

import typer

from cluster.cli.certs import certs
from cluster.cli.dead import dead
from cluster.cli.demo import demo
from cluster.cli.doubt import doubt
from cluster.cli.down import down
from cluster.cli.labels import labels
from cluster.cli.lanes import lanes
from cluster.cli.limit import limit, pause, purge, resume
from cluster.cli.member import member
from cluster.cli.node import node
from cluster.cli.nodes import nodes
from cluster.cli.output import output
from cluster.cli.result import result
from cluster.cli.status import status
from cluster.cli.submit import submit
from cluster.cli.up import up
from cluster.cli.wait import wait

app = typer.Typer(
    name="quorate",
    help="Distributed tasks: Raft decides what has run, Kafka keeps the tasks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
COMMANDS: tuple[Callable[..., None], ...] = (
    node,
    up,
    down,
    submit,
    status,
    wait,
    result,
    output,
    nodes,
    lanes,
    labels,
    pause,
    resume,
    purge,
    demo,
)
for command in COMMANDS:
    app.command(command.__name__)(command)
app.add_typer(dead, name="dead")
app.add_typer(doubt, name="doubt")
app.add_typer(limit, name="limit")
app.add_typer(member, name="member")
app.add_typer(certs, name="certs")

if __name__ == "__main__":
    app()
